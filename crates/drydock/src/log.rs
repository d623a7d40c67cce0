//! The build log as users know it: "Step 1/2 : FROM ...", " ---> ...", output, "Successfully built ...".

use buildengine::{Event, Stream};

/// How many digits of an identity are shown.
const SHORT: usize = 12;

/// Turns events into the text of the log, piece by piece; a piece is a line with its newline, or raw output of the stream it
/// comes with.
#[derive(Debug, Default)]
pub struct Log {
    /// The stream whose last piece did not end its line.
    open: Option<Stream>,
}

impl Log {
    /// The text of one event, given to `write` with the stream of the command that it comes from, if it comes from one.
    pub fn event(&mut self, event: &Event<'_>, write: &mut dyn FnMut(Option<Stream>, &[u8])) {
        match event {
            Event::StepStarted { number, total, text, .. } => {
                self.line(&format!("Step {number}/{total} : {}", first_lines(text)), write);
            }
            Event::StepCached => self.line(" ---> Using cache", write),
            Event::StepWaiting => self.line(" ---> Waiting for another build that runs the same step", write),
            Event::SandboxStarted { id } => self.line(&format!(" ---> Running in {}", short(id)), write),
            Event::Output { stream, bytes } => {
                if let Some(&last) = bytes.last() {
                    self.open = (last != b'\n').then_some(*stream);
                }
                write(Some(*stream), bytes);
            }
            Event::OutputOmitted { bytes } => self.line(&format!("[... {bytes} bytes of output left out ...]"), write),
            Event::StepFinished { id } => self.line(&format!(" ---> {}", short(id)), write),
            _ => {}
        }
    }

    /// The last line of a build that went well.
    pub fn success(&mut self, image: &str, write: &mut dyn FnMut(Option<Stream>, &[u8])) {
        self.line(&format!("Successfully built {}", short(image)), write);
    }

    fn line(&mut self, text: &str, write: &mut dyn FnMut(Option<Stream>, &[u8])) {
        if let Some(stream) = self.open.take() {
            write(Some(stream), b"\n");
        }
        write(None, format!("{text}\n").as_bytes());
    }
}

fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..SHORT).unwrap_or(hex)
}

/// An instruction in one line: control characters of the Dockerfile do not reach a terminal.
fn first_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_the_specification() {
        let mut text = Vec::new();
        let mut log = Log::default();
        let mut write = |_: Option<Stream>, bytes: &[u8]| text.extend_from_slice(bytes);
        let id = "a1b2c3d4e5f6a1b2c3d4e5f6";
        let step = |number, text| Event::StepStarted { number, total: 2, line: 1, text };
        for event in [
            step(1, "FROM nodeops/sandbox:debian"),
            Event::StepFinished { id },
            step(2, "RUN apt-get update"),
            Event::SandboxStarted { id },
            Event::Output { stream: Stream::Stdout, bytes: b"Get:1 " },
            Event::OutputOmitted { bytes: 7 },
            Event::Output { stream: Stream::Stderr, bytes: b"done" },
            Event::StepFinished { id },
        ] {
            log.event(&event, &mut write);
        }
        log.success("sha256:9a8b7c6d5e4f00", &mut write);
        let expected = "Step 1/2 : FROM nodeops/sandbox:debian\n ---> a1b2c3d4e5f6\nStep 2/2 : RUN apt-get update\n \
                        ---> Running in a1b2c3d4e5f6\nGet:1 \n[... 7 bytes of output left out ...]\ndone\n ---> a1b2c3d4e5f6\nSuccessfully built 9a8b7c6d5e4f\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
