//! One comparison for `benches/compare-builds`: an upper directory of 20,000 files becomes a layer in a store (hashed, on the
//! disk), beside `tar -c` of the same directory into a file. They take turns; printed are medians, spreads and the ratio.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

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
        Ok(table) => println!("{table}"),
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
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first round fills the page cache and does not count.
    for round in 0..=runs {
        let (store, tar) = (scratch.join("store"), scratch.join("upper.tar"));
        let started = Instant::now();
        let made = Command::new("tar").arg("-c").arg("-f").arg(&tar).arg("-C").arg(&upper).arg(".").status()?;
        let tar_seconds = started.elapsed().as_secs_f64();
        if !made.success() {
            return Err("tar failed".into());
        }
        fs::remove_file(&tar)?;
        // What the one before still has to bring to the disk is not this one's to wait for.
        Command::new("sync").status()?;
        let started = Instant::now();
        let diff = buildengine::read_upper(&upper, None, None)?;
        Store::open(&store, Limits::default())?.commit(&diff)?;
        if round > 0 {
            ours.push(started.elapsed().as_secs_f64());
            theirs.push(tar_seconds);
        }
        fs::remove_dir_all(&store)?;
    }
    fs::remove_dir_all(&upper)?;
    let (our, their) = (summary(&mut ours), summary(&mut theirs));
    let ratio = our.1 / their.1;
    Ok(format!(
        "capture of {FILES} files  {}\ntar -c of them            {}\nratio                      {ratio:.2}",
        our.0, their.0
    ))
}

/// As text, and the median.
fn summary(seconds: &mut [f64]) -> (String, f64) {
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let spread = format!("{median:.3} s ({:.3} to {:.3})", seconds[0], seconds[seconds.len() - 1]);
    (spread, median)
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
