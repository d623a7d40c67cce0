//! What a build tells its host while it goes on. Values only: how they look is the host's business.

use crate::output::Stream;

/// A moment of a build, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step begins.
    StepStarted {
        /// Its number, from 1.
        number: usize,
        /// How many steps there are.
        total: usize,
        /// The line of the Dockerfile on which the instruction starts, from 1.
        line: u32,
        /// The instruction as written, continuation lines joined.
        text: &'a str,
    },
    /// The result of this step was in the step cache; it does not run.
    StepCached,
    /// Another build is at the very same step: its result is waited for.
    StepWaiting,
    /// The sandbox of a RUN step starts.
    SandboxStarted {
        /// The name of the container.
        id: &'a str,
    },
    /// Bytes that the command wrote, as they came: a piece may end anywhere, and need not be text.
    Output {
        /// Where it was written.
        stream: Stream,
        /// What.
        bytes: &'a [u8],
    },
    /// Here is left out what the command wrote beyond [`crate::Limits::output_bytes`].
    OutputOmitted {
        /// How much, in bytes.
        bytes: u64,
    },
    /// A step is done.
    StepFinished {
        /// The identity of the image so far: 64 lower-case hexadecimal digits.
        id: &'a str,
    },
}
