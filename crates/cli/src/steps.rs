//! A build log as a person wants to see it: each step a line, the last lines of the running one below it, gone once it is done.
//! Where nobody looks (no terminal) the log is printed as it comes.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Lines of output that are shown of the running step.
const SHOWN: usize = 8;

/// Shows a log on standard error.
pub(crate) struct Steps {
    terminal: bool,
    columns: usize,
    step: Option<(String, Instant)>,
    last: VecDeque<String>,
    drawn: usize,
}

impl Steps {
    pub(crate) fn new() -> Self {
        let stderr = io::stderr();
        // A terminal that does not know its width says 0.
        let columns = rustix::termios::tcgetwinsize(&stderr).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { 80 } else { columns.max(20) };
        Self { terminal: stderr.is_terminal(), columns, step: None, last: VecDeque::new(), drawn: 0 }
    }

    /// A piece of the log, a line or a part of one.
    pub(crate) fn piece(&mut self, stream: &str) -> io::Result<()> {
        if !self.terminal {
            return io::stderr().lock().write_all(stream.as_bytes());
        }
        let text = stream.trim_end_matches('\n');
        if text.starts_with("Step ") && text.contains(" : ") {
            self.done(true)?;
            self.step = Some((text.to_owned(), Instant::now()));
        } else if text.starts_with(" ---> Using cache") {
            self.last.push_back("cached".to_owned());
        } else if !text.starts_with(" ---> ") {
            self.last.push_back(text.to_owned());
        }
        if self.last.len() > SHOWN {
            self.last.pop_front();
        }
        self.draw()
    }

    /// The step that ran is done; its output is folded away, or stays if it failed.
    pub(crate) fn done(&mut self, well: bool) -> io::Result<()> {
        self.erase()?;
        if let Some((text, begun)) = self.step.take() {
            let (sign, colour) = if well { ("\u{2713}", "32") } else { ("\u{2717}", "31") };
            let time = format!("{:.1} s", begun.elapsed().as_secs_f64());
            let text = self.cut(&text, time.len() + 4);
            writeln!(io::stderr(), "\x1b[{colour}m{sign}\x1b[0m {text}  \x1b[2m{time}\x1b[0m")?;
        }
        if !well {
            for line in &self.last {
                writeln!(io::stderr(), "  {}", self.cut(line, 2))?;
            }
        }
        self.last.clear();
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        self.erase()?;
        let mut text = String::new();
        if let Some((step, _)) = &self.step {
            text += &format!("\x1b[1m\u{25b8} {}\x1b[0m\n", self.cut(step, 2));
            self.drawn += 1;
        }
        for line in &self.last {
            text += &format!("  \x1b[2m{}\x1b[0m\n", self.cut(line, 2));
            self.drawn += 1;
        }
        io::stderr().lock().write_all(text.as_bytes())
    }

    fn erase(&mut self) -> io::Result<()> {
        let text = "\x1b[1A\x1b[2K".repeat(self.drawn);
        self.drawn = 0;
        io::stderr().lock().write_all(text.as_bytes())
    }

    /// What fits into a line, without what a terminal would obey.
    fn cut(&self, text: &str, used: usize) -> String {
        let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        visible.take(self.columns.saturating_sub(used + 1)).collect()
    }
}
