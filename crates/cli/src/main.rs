//! The command line of Drydock. Exit status 0: done; 1: the input was refused or the build failed; 2: the command line was
//! wrong; 128 + n: ended by signal n. Progress goes to standard error, results to standard output.
#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "this is the program that talks to people")]

mod args;
mod client;
mod commands;
mod diagnostics;
mod file_system;
mod output;
mod signals;
mod size;
mod sources;
mod steps;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};

/// What a server allocates and gives back in many threads stays with the arenas of the system's allocator: docs/decisions/allocator.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Clap ends with 2 on a wrong command line, and with 0 after --help.
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("DRYDOCK_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let done = signals::hear_of_children().and_then(|()| run(&cli.command));
    done.unwrap_or_else(|error| {
        if output::is_broken_pipe(&error) {
            // Whoever read our output has seen enough.
            return ExitCode::SUCCESS;
        }
        output::error(&error);
        ExitCode::FAILURE
    })
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(args) => commands::check::run(args),
        Command::Parse(args) => commands::parse::run(args),
        Command::Plan(args) => commands::plan::run(args),
        Command::Build(args) => commands::build::run(args),
        Command::Image(args) => commands::image::run(args),
        Command::Serve(args) => commands::serve::run(args),
        Command::Key(args) => commands::key::run(args),
        Command::Template(args) => commands::template::run(args),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "drydock", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Manpages { dir } => commands::manpages::run(dir),
        Command::Doctor(args) => commands::doctor::run(args),
    }
}
