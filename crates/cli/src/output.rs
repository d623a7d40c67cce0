//! What people see of errors and results.

use std::io::{self, IsTerminal};
use std::path::Path;

/// Prints an error with its causes: the first line says what happened, each further line why.
pub(crate) fn error(error: &anyhow::Error) {
    let label = if io::stderr().is_terminal() { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    eprintln!("{label} {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

/// Prints what a failed step used, below its error.
pub(crate) fn used(text: &str) {
    eprintln!("  used: {text}");
}

/// Prints what to do about an error, below it.
pub(crate) fn hint(text: &str) {
    eprintln!("  hint: {text}");
}

/// Prints a line of a result. A reader that went away is an error like any other, not a panic.
pub(crate) fn line(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    use std::io::Write;
    writeln!(io::stdout().lock(), "{text}")
}

/// Whether the reader of our output went away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Reads a text from a file or standard input (`-`), at most `max` bytes and one more.
pub(crate) fn read_bounded(path: &Path, max: u64) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;

    use anyhow::Context;
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(max + 1).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("can't open {}", path.display()))?;
        file.take(max + 1).read_to_end(&mut bytes)
    };
    read.with_context(|| format!("can't read {}", path.display()))?;
    Ok(bytes)
}

/// The most memory this process has had, in bytes (proc(5), VmHWM).
pub(crate) fn peak_memory() -> Option<u64> {
    let kilobytes: u64 = process_status("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// What the kernel says of this process under a name (proc(5), /proc/PID/status).
pub(crate) fn process_status(name: &str) -> Option<String> {
    let status = std::fs::read("/proc/self/status").ok()?;
    let status = String::from_utf8_lossy(&status);
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}
