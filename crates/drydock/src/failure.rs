//! The failure card: why a build has no image, as a value that a program can act on and a person can read.

use buildengine::Usage;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The last lines of output that a card keeps.
const TAIL_LINES: usize = 20;

/// The most characters of a message. It may quote a value of the Dockerfile, and cards are kept and listed by the hundred.
const MESSAGE_CHARACTERS: usize = 2_000;

/// What kind of failure it is; stable names, snake_case in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureCode {
    /// The Dockerfile was refused.
    DockerfileRefused,
    /// A command ended with a status other than 0.
    RunFailed,
    /// A command was ended by a signal.
    RunSignalled,
    /// A command needed more memory than it may use.
    OutOfMemory,
    /// A command wrote more than it may.
    DiskFull,
    /// A command ran longer than it may.
    StepTimeout,
    /// The build as a whole ran longer than it may.
    BuildTimeout,
    /// Somebody asked to stop.
    Cancelled,
    /// The host of the build went away, more often than it is tried again.
    Interrupted,
    /// The base image is not where it should be.
    BaseNotFound,
    /// The registry of the base image can't be reached or does not answer as it should.
    BaseUnreachable,
    /// The base image is damaged.
    BaseCorrupt,
    /// No OCI runtime works on the host, or it failed.
    RuntimeUnavailable,
    /// The content does not fit into the image.
    ImageTooSmall,
    /// An instruction names a user, a directory or a thing that can't be used.
    InstructionFailed,
    /// The host is at fault.
    HostFault,
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub code: FailureCode,
    /// What happened, in a sentence; of a very long one its beginning.
    pub message: String,
    /// Number of the step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// How many steps there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Line of the Dockerfile, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The command that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What the step used, and what it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The last lines it wrote, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same build can go well when it is tried again.
    pub retryable: bool,
}

impl Failure {
    /// A card that knows no step.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        use FailureCode::{BaseUnreachable, BuildTimeout, Cancelled, HostFault, Interrupted, RuntimeUnavailable};
        Self {
            code,
            message: cut(message.into()),
            step: None,
            steps: None,
            line: None,
            command: None,
            exit_status: None,
            signal: None,
            usage: None,
            tail: Vec::new(),
            hint: None,
            retryable: matches!(
                code,
                BaseUnreachable | BuildTimeout | Cancelled | HostFault | Interrupted | RuntimeUnavailable
            ),
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The card of an error.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Refused { .. } => Self::new(FailureCode::DockerfileRefused, explain(error)),
            Error::Cancelled => Self::new(FailureCode::Cancelled, explain(error)),
            Error::TimeOver { .. } => {
                Self::new(FailureCode::BuildTimeout, explain(error)).hint("do less in one image, or give it more time")
            }
            Error::UnknownBase { .. } | Error::BaseConfig { .. } => {
                Self::new(FailureCode::BaseNotFound, explain(error))
            }
            Error::Layers(source) => of_layers(source, explain(error)),
            Error::Build(source) => of_step(source),
            Error::Write(ext4writer::Error::NoSpace { .. } | ext4writer::Error::NotEnoughInodes { .. }) => {
                Self::new(FailureCode::ImageTooSmall, explain(error))
                    .hint("ask for a larger disk, or remove files in a RUN")
            }
            Error::State(_) | Error::Write(_) | Error::Read { .. } | Error::Rootfs { .. } | Error::Verify(_) => {
                Self::new(FailureCode::HostFault, explain(error))
            }
        }
    }
}

fn of_layers(error: &ocilayers::Error, message: String) -> Failure {
    use ocilayers::Error as Layers;
    let code = match error {
        Layers::Missing { .. } | Layers::Selection(_) | Layers::Reference(_) => FailureCode::BaseNotFound,
        Layers::Registry { .. } => FailureCode::BaseUnreachable,
        Layers::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => FailureCode::BaseNotFound,
        Layers::File { .. } | Layers::Threads(_) => FailureCode::HostFault,
        _ => FailureCode::BaseCorrupt,
    };
    Failure::new(code, message)
}

fn of_step(error: &buildengine::Error) -> Failure {
    use buildengine::{Error as Engine, PassedLimit};
    match error {
        Engine::CommandFailed { step, steps, line, command, status, usage, tail } => {
            let signal = (*status > 128 && *status <= 128 + 64).then(|| *status - 128);
            let code = if signal.is_some() { FailureCode::RunSignalled } else { FailureCode::RunFailed };
            let message = match signal {
                Some(signal) => format!("the command was ended by signal {signal}"),
                None => format!("the command ended with exit status {status}"),
            };
            let mut card = Failure::new(code, message);
            (card.step, card.steps, card.line) = (Some(*step), Some(*steps), Some(*line));
            (card.command, card.signal) = (Some(command.clone()), signal);
            card.exit_status = signal.is_none().then_some(*status);
            card.hint = hint(*status, tail);
            card.retryable = network_trouble(tail);
            card.usage = Some(**usage);
            card.tail = last(tail);
            card
        }
        Engine::LimitPassed { step, steps, line, limit, why, usage, tail } => {
            let (code, hint) = match limit {
                PassedLimit::Memory => {
                    (FailureCode::OutOfMemory, "use less at once: fewer parallel jobs, smaller steps")
                }
                PassedLimit::Disk => (FailureCode::DiskFull, "remove caches and downloads in the RUN that makes them"),
                PassedLimit::Time => (FailureCode::StepTimeout, "split the step, or find what it waits for"),
            };
            let mut card = Failure::new(code, format!("the command failed: {why}")).hint(hint);
            (card.step, card.steps, card.line) = (Some(*step), Some(*steps), Some(*line));
            card.usage = Some(**usage);
            card.tail = last(tail);
            card
        }
        Engine::Unsupported { line, what } => of_instruction(*line, what.clone()),
        Engine::User { line, why } => of_instruction(*line, why.clone()),
        Engine::WorkingDirectory { line, path, why } => {
            of_instruction(*line, format!("the working directory '{path}' can't be used: {why}"))
        }
        Engine::Unrepresentable { .. } => Failure::new(FailureCode::InstructionFailed, error.to_string()),
        Engine::Cancelled => Failure::new(FailureCode::Cancelled, error.to_string()),
        Engine::NoRuntime { .. }
        | Engine::Lacking { .. }
        | Engine::Network { .. }
        | Engine::Runtime { .. }
        | Engine::Start { .. } => Failure::new(FailureCode::RuntimeUnavailable, explain(error)),
        Engine::Layers(source) => of_layers(source, explain(error)),
        _ => Failure::new(FailureCode::HostFault, explain(error)),
    }
}

/// The card of an instruction that can't be carried out. Its line stands beside the message, not in it.
fn of_instruction(line: u32, message: String) -> Failure {
    let mut card = Failure::new(FailureCode::InstructionFailed, message);
    card.line = Some(line);
    card
}

/// An error and its causes in one line.
#[must_use]
pub fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MESSAGE_CHARACTERS) {
        text.replace_range(at.., " [...]");
    }
    text
}

fn last(lines: &[String]) -> Vec<String> {
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}

/// What the output says, what it means, and what to do: the first rule that fits.
const HINTS: [(&[&str], &str); 10] = [
    (
        &["unable to locate package", "has no installation candidate"],
        "run `apt-get update` in the same RUN, before the install; then check the name of the package",
    ),
    // Before "failed to fetch", which apt says of it too.
    (
        &["temporary failure resolving", "temporary failure in name resolution", "could not resolve", "bad address"],
        "a name could not be resolved: check it, or try again",
    ),
    (
        &["404  not found", "failed to fetch"],
        "the package lists are older than the mirror: run `apt-get update` in the same RUN as the install",
    ),
    (
        &["(no such package)", "unable to select packages"],
        "check the name of the package, and install with `apk add --no-cache`, which reads the index anew",
    ),
    (&["sudo: not found", "sudo: command not found"], "steps run as root unless USER says otherwise: leave sudo out"),
    (
        &["externally-managed-environment"],
        "Debian's Python is managed by apt: install into a virtual environment (python3 -m venv), or with apt",
    ),
    (
        &["no space left on device"],
        "the disk of the step is full: remove caches and downloads in the RUN that makes them",
    ),
    (
        &["certificate verify failed", "unable to get local issuer certificate", "is not trusted", "unknown authority"],
        "install ca-certificates before anything is fetched by HTTPS",
    ),
    (
        &["are you root?", "permission denied"],
        "the step runs as the USER of the Dockerfile: change the user for this step, or the owner of the files",
    ),
    (&["exec format error"], "the program is made for another processor"),
];

fn hint(status: i32, tail: &[String]) -> Option<String> {
    let output = tail.join("\n").to_lowercase();
    let by_both = match status {
        127 if [
            "bash: not found",
            "bash: no such file",
            "\"bash\": executable file not found",
            "bash\": no such file",
        ]
        .iter()
        .any(|sign| output.contains(sign)) =>
        {
            Some("there is no bash in this base: write for `sh`, or install bash first")
        }
        126 if output.contains("permission denied") => Some(NOT_EXECUTABLE),
        _ => None,
    };
    let said = HINTS.iter().find(|(signs, _)| signs.iter().any(|sign| output.contains(sign))).map(|(_, hint)| *hint);
    let by_status = || match status {
        126 => Some(NOT_EXECUTABLE),
        127 => Some("the command was not found: install it, or check its name and PATH"),
        137 => Some("the command was killed; often that is too little memory"),
        _ => None,
    };
    by_both.or(said).or_else(by_status).map(str::to_owned)
}

const NOT_EXECUTABLE: &str = "the file can't be executed: give it `chmod +x`, and check its first line";

/// Whether the output tells of a network that may work the next time.
fn network_trouble(tail: &[String]) -> bool {
    let output = tail.join("\n").to_lowercase();
    ["temporary failure", "could not resolve", "connection timed out", "connection reset", "503  service"]
        .iter()
        .any(|sign| output.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(status: i32, line: &str) -> Failure {
        Failure::of(&Error::Build(buildengine::Error::CommandFailed {
            step: 2,
            steps: 3,
            line: 4,
            command: "make".to_owned(),
            status,
            usage: Box::default(),
            tail: vec![line.to_owned(); 30],
        }))
    }

    #[test]
    fn what_a_step_left_is_no_fault_of_the_base() {
        let why = fstree::ApplyFault::Tree(fstree::TreeError::TooManyNodes { max: 9 });
        let apply = |layer: &str| {
            let source = fstree::ApplyError { path: b"many/1".to_vec(), why: why.clone() };
            ocilayers::Error::Apply { layer: layer.to_owned(), source }
        };
        let entry = |layer: &str| {
            let why = fstree::tar::Fault::Limit { what: "entries before it", max: 9 };
            let source = fstree::tar::TarError::Entry { offset: 0, name: b"many/1".to_vec(), why };
            ocilayers::Error::Archive { layer: layer.to_owned(), source }
        };
        let of_base = ["sha256:base".to_owned()];
        let wraps: [fn(ocilayers::Error) -> Error; 2] = [Error::Layers, |error| Error::Build(error.into())];
        let card = |error: Error| Failure::of(&error.of_step(&of_base));
        let faults: [&dyn Fn(&str) -> ocilayers::Error; 2] = [&apply, &entry];
        for of_layer in faults {
            for of_error in wraps {
                let made = card(of_error(of_layer("sha256:made")));
                assert_eq!(made.code, FailureCode::InstructionFailed);
                assert!(made.message.contains("many/1") && made.message.contains('9'), "{}", made.message);
                assert_eq!(card(of_error(of_layer("sha256:base"))).code, FailureCode::BaseCorrupt);
            }
        }
    }

    #[test]
    fn a_command_that_fails() {
        let card = failed(100, "E: Unable to locate package pyhton3");
        assert_eq!((card.code, card.step, card.steps, card.line), (FailureCode::RunFailed, Some(2), Some(3), Some(4)));
        assert_eq!((card.exit_status, card.signal, card.tail.len()), (Some(100), None, 20));
        assert!(card.hint.unwrap().contains("apt-get update"));
        assert!(!card.retryable);
        assert!(failed(100, "Temporary failure resolving 'deb.example'").retryable);
    }

    #[test]
    fn signals_and_statuses() {
        let card = failed(139, "");
        assert_eq!((card.code, card.exit_status, card.signal), (FailureCode::RunSignalled, None, Some(11)));
        assert!(failed(127, "/bin/sh: bash: not found").hint.unwrap().contains("no bash"));
        assert!(failed(126, "").hint.unwrap().contains("chmod"));
        assert_eq!(failed(1, "error: it").hint, None);
    }

    #[test]
    fn what_tools_say_and_what_to_do() {
        let cases: [(i32, &str, &str); 12] = [
            (100, "E: Unable to locate package nodejs-lts", "apt-get update"),
            (100, "E: Package 'python' has no installation candidate", "apt-get update"),
            (
                100,
                "E: Failed to fetch http://deb/pool/c/curl.deb  404  Not Found [IP: 10.0.0.1 80]",
                "older than the mirror",
            ),
            (1, "error: externally-managed-environment", "python3 -m venv"),
            (1, "tar: usr/lib/x: Cannot write: No space left on device", "disk"),
            (60, "curl: (60) SSL certificate problem: unable to get local issuer certificate", "ca-certificates"),
            (5, "ERROR: The certificate of 'deb' is not trusted.", "ca-certificates"),
            (6, "curl: (6) Could not resolve host: deb.example", "resolved"),
            (1, "  foo (no such package):\n    required by: world[foo]", "apk add --no-cache"),
            (127, "/bin/sh: 1: sudo: not found", "leave sudo out"),
            (127, "/bin/sh: bash: not found", "no bash"),
            (126, "/bin/sh: 1: ./run.sh: Permission denied", "chmod +x"),
        ];
        for (status, said, wanted) in cases {
            let hint = failed(status, said).hint.unwrap_or_default();
            assert!(hint.contains(wanted), "{said}: {hint}");
        }
    }

    #[test]
    fn an_instruction_that_can_not_be_carried_out() {
        let why = format!("there is no user '{}'", "\u{e9}".repeat(100_000));
        let card = Failure::of(&Error::Build(buildengine::Error::User { line: 3, why }));
        assert_eq!((card.code, card.line), (FailureCode::InstructionFailed, Some(3)));
        assert!(card.message.starts_with("there is no user '\u{e9}"), "the line is not said twice: {}", card.message);
        assert!(card.message.chars().count() < 2_010 && card.message.ends_with(" [...]"));
    }

    #[test]
    fn a_card_survives_json() {
        let card = failed(2, "x");
        let text = serde_json::to_string(&card).unwrap();
        assert!(text.contains(r#""code":"run_failed""#), "{text}");
        assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), card);
    }
}
