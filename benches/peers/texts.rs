//! Dockerfiles read by dockerfile-parser-rs: `texts DIR ROUNDS` prints the lines that `benches/texts.rs` prints, measured in the same way.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use dockerfile_parser_rs::Dockerfile;

/// The clock runs at least so long a round.
const ROUND: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, rounds] = arguments.as_slice() else { return Err("usage: texts DIR ROUNDS".into()) };
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    let texts = paths.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    let refused = texts.iter().filter(|text| text.parse::<Dockerfile>().is_err()).count();
    eprintln!("dockerfile-parser-rs: {refused} of {} files refused", texts.len());
    for _ in 0..rounds.parse::<u32>()? {
        let (start, mut passes) = (Instant::now(), 0_u32);
        while passes == 0 || start.elapsed() < ROUND {
            for text in &texts {
                let _ = black_box(black_box(text).parse::<Dockerfile>());
            }
            passes += 1;
        }
        let seconds = start.elapsed().as_secs_f64() / f64::from(passes);
        println!("dockerfile-parser-rs {seconds:.9} {}", peak_memory_kib());
    }
    Ok(())
}

/// The most memory this process has had (proc(5), VmHWM).
fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or_default()
}
