//! `drydock manpages`: the manual, made of the description that the command line is read by.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::args::Cli;

pub(crate) fn run(dir: &Path) -> anyhow::Result<ExitCode> {
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.with_context(|| format!("can't write the manual pages to {}", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
