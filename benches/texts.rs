//! Dockerfiles read again and again, for `benches/compare-dockerfiles`.
//!
//! `texts READER DIR ROUNDS` reads every file of a directory with one reader, in the order of their names, and prints a line for
//! `benches/table.py` each round: the seconds of one pass and the peak of memory. What is read is in memory before the clock starts;
//! a pass that is too short for it is repeated, and the line says the time of one. On standard error it says how many files were refused.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dockerfile::analysis::{AnalysisOptions, analyze};
use dockerfile::source::Source;
use dockerfile::{Mode, instruction, parse};
use drydock_benches::peak_memory_mib;

/// The clock runs at least so long a round.
const ROUND: Duration = Duration::from_millis(50);

/// Whether a text was taken.
type Reader = fn(&str) -> bool;

#[expect(clippy::print_stderr, reason = "this is what it is for")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let parts: Vec<&str> = args.iter().map(String::as_str).collect();
    let (reader, dir, rounds): (Reader, _, _) = match parts.as_slice() {
        ["drydock", dir, rounds] => (syntax, dir, rounds),
        ["drydock-all", dir, rounds] => (all, dir, rounds),
        ["parse-dockerfile", dir, rounds] => (|text| parse_dockerfile::parse(text).is_ok(), dir, rounds),
        _ => {
            eprintln!("usage: texts drydock|drydock-all|parse-dockerfile DIR ROUNDS");
            return ExitCode::from(2);
        }
    };
    match measure(parts[0], reader, Path::new(dir), rounds.parse().unwrap_or(5)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("texts: {dir}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The syntax tree and typed instructions: what the other readers do a part of.
fn syntax(text: &str) -> bool {
    let parsed = parse(text, Mode::Strict);
    let read = instruction::read(&parsed.dockerfile);
    black_box(read.instructions.stages.len());
    parsed.diagnostics.is_empty()
}

/// What `drydock check` does: instructions, meaning, policy and lints, too.
fn all(text: &str) -> bool {
    let options = AnalysisOptions { mode: Mode::Strict, ..AnalysisOptions::default() };
    black_box(analyze(&Source::decode(text.as_bytes()), &options).diagnostics.len());
    // Whatever there is to say of it, it was read to its end.
    true
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]
fn measure(name: &str, reader: Reader, dir: &Path, rounds: u32) -> std::io::Result<()> {
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    let texts = paths.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    let refused = texts.iter().filter(|text| !reader(text)).count();
    eprintln!("{name}: {refused} of {} files refused", texts.len());
    for _ in 0..rounds {
        let (start, mut passes) = (Instant::now(), 0_u32);
        while passes == 0 || start.elapsed() < ROUND {
            for text in &texts {
                black_box(reader(black_box(text)));
            }
            passes += 1;
        }
        println!("{name} {:.9} {}", start.elapsed().as_secs_f64() / f64::from(passes), peak_memory_mib() << 10);
    }
    Ok(())
}
