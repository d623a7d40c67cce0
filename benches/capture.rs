//! One comparison for `benches/compare-builds`: an upper directory of 20,000 files becomes a layer in a store (hashed, on the
//! disk), beside `tar -c` of the same directory into a file. They take turns; printed are lines for `benches/table.py`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use drydock_benches::peak_memory_mib;
use ocilayers::{Limits, Store};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const FILES: usize = 20_000;
const DIRECTORIES: usize = 500;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [scratch, runs] = args.as_slice() else {
        eprintln!("usage: capture SCRATCH_DIR RUNS");
        return ExitCode::from(2);
    };
    match compare(Path::new(scratch), runs.parse().unwrap_or(5)) {
        Ok(lines) => print!("{lines}"),
        Err(error) => {
            eprintln!("capture: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn compare(scratch: &Path, runs: usize) -> Result<String, Failure> {
    let upper = scratch.join("upper");
    make(&upper)?;
    let mut lines = String::new();
    // The first round fills the page cache and does not count.
    for round in 0..=runs {
        let (store, tar) = (scratch.join("store"), scratch.join("upper.tar"));
        let started = Instant::now();
        let made = Command::new("tar").arg("-c").arg("-f").arg(&tar).arg("-C").arg(&upper).arg(".").status()?;
        let theirs = started.elapsed().as_secs_f64();
        if !made.success() {
            return Err("tar failed".into());
        }
        fs::remove_file(&tar)?;
        // What the one before still has to bring to the disk is not this one's to wait for.
        Command::new("sync").status()?;
        let started = Instant::now();
        let diff = buildengine::read_upper(&upper, None, None)?;
        let read = started.elapsed().as_secs_f64();
        Store::open(&store, Limits::default())?.commit(&diff)?;
        let ours = started.elapsed().as_secs_f64();
        if round > 0 {
            writeln!(
                lines,
                "tar {theirs:.4}\ndrydock {ours:.4} {}\ndrydock-reading {read:.4}",
                peak_memory_mib() << 10
            )?;
        }
        fs::remove_dir_all(&store)?;
    }
    fs::remove_dir_all(&upper)?;
    Ok(lines)
}

/// Files as packages have them: many small ones, some of 100 KiB.
fn make(upper: &Path) -> std::io::Result<()> {
    for directory in 0..DIRECTORIES {
        fs::create_dir_all(upper.join(format!("usr/share/package-{directory}/data")))?;
    }
    for file in 0..FILES {
        let len = if file % 50 == 0 { 100_000 } else { 200 + file * 7_919 % 9_000 };
        let bytes: Vec<u8> = (0..len).map(|at| u8::try_from((at * 31 + file) % 251).expect("below 251")).collect();
        fs::write(upper.join(format!("usr/share/package-{}/data/file-{file}", file % DIRECTORIES)), bytes)?;
    }
    Ok(())
}
