//! Why a Dockerfile cannot be converted.

use crate::csv::CsvError;
use crate::diagnostic::{Code, Diagnostic};
use crate::expand::{ExpandCause, ExpandError};
use crate::goformat::quote;
use crate::limits::LimitReached;
use crate::mount::MountError;
use crate::platform::PlatformError;
use crate::ports::PortError;
use crate::reference::ReferenceError;
use crate::span::Span;

/// Why a Dockerfile cannot be converted. `Display` is BuildKit's wording where BuildKit refuses it, too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Nothing to build.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// A word could not be expanded.
    #[error("{0}")]
    Expand(ExpandError),
    /// The base image's name expands to nothing.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// The base image's name is no reference.
    #[error("failed to parse stage name {}: {cause}", quote(name))]
    Reference {
        /// The name, expanded.
        name: String,
        /// Its fault.
        cause: ReferenceError,
    },
    /// `--platform` could not be expanded.
    #[error("failed to process arguments for platform : {0}")]
    PlatformExpand(ExpandError),
    /// `--platform` expands to nothing.
    #[error("empty platform value from expression {0}")]
    EmptyPlatform(String),
    /// `--platform` is no platform.
    #[error("failed to parse platform {expression}: {cause}")]
    Platform {
        /// As written.
        expression: String,
        /// The fault of what it expands to.
        cause: PlatformError,
    },
    /// The stage that was asked for does not exist.
    #[error("target stage {} could not be found", quote(.0))]
    TargetNotFound(String),
    /// `--from` with something to expand.
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround"
    )]
    VariableInFrom,
    /// `--from` with a number that no stage has.
    #[error("invalid stage index {0}")]
    StageIndex(i64),
    /// Stages that need each other.
    #[error("circular dependency detected on stage: {0}")]
    Circular(String),
    /// A stage used before it is built.
    #[error("cannot copy from stage {}, it needs to be defined before current stage {}", quote(from), quote(stage))]
    CopyFromLater {
        /// The stage used.
        from: String,
        /// The stage that uses it.
        stage: String,
    },
    /// A stage mounted before it is built.
    #[error(
        "cannot mount from stage {} to {}, stage needs to be defined before current command",
        quote(from),
        quote(target)
    )]
    MountFromLater {
        /// The stage mounted.
        from: String,
        /// Where it would be mounted.
        target: String,
    },
    /// An image's trigger is not exactly one instruction.
    #[error("onbuild trigger should be a single expression")]
    TriggerCount,
    /// An image's trigger is malformed.
    #[error("{0}")]
    Trigger(String),
    /// A mount is malformed.
    #[error("{0}")]
    Mount(MountError),
    /// A mount over everything.
    #[error("invalid mount target {}", quote(.0))]
    MountTarget(String),
    /// A secret without a name.
    #[error("one of source, target required")]
    SecretUnnamed,
    /// An agent from somewhere.
    #[error("ssh does not support source")]
    SshSource,
    /// `--device`, which only the experimental frontend has.
    #[error("device feature is only supported in Dockerfile frontend 1.14.0-labs or later")]
    Device,
    /// Nothing to run.
    #[error("arguments are required")]
    NoArguments,
    /// A heredoc in a form that cannot have one.
    #[error("parsing produced an invalid run command: {0}")]
    RunHeredoc(String),
    /// `--chmod` that looks like a number and is none.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Chmod(String),
    /// `--chmod` that looks symbolic and is not.
    #[error("invalid syntax")]
    ChmodSyntax,
    /// `--checksum` with more than one source.
    #[error("checksum can't be specified for multiple sources")]
    ChecksumSources,
    /// `--checksum` with a local source.
    #[error("checksum requires HTTP(S) or Git sources")]
    ChecksumLocal,
    /// `--checksum` that is no digest.
    #[error("{0}")]
    Checksum(ReferenceError),
    /// `--checksum` and the URL disagree.
    #[error("checksum mismatch {} != {}", quote(flag), quote(url))]
    ChecksumMismatch {
        /// Of the flag.
        flag: String,
        /// Of the URL.
        url: String,
    },
    /// `--keep-git-dir` and the URL disagree.
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    /// `COPY` of a repository.
    #[error("source can't be a git ref for COPY")]
    CopyGit,
    /// `COPY` of a URL.
    #[error("source can't be a URL for COPY")]
    CopyUrl,
    /// A repository's URL with a bad query.
    #[error("{0}")]
    GitQuery(String),
    /// `EXPOSE` of something else than a port.
    #[error("{0}")]
    Port(PortError),
    /// `VOLUME` of nothing.
    #[error("VOLUME specified can not be an empty string")]
    BlankVolume,
    /// `STOPSIGNAL` of something else than a signal.
    #[error("invalid signal: {0}")]
    Signal(String),
    /// `# check=` with a bad option.
    #[error("failed to parse check options: {0}")]
    CheckOptions(String),
    /// `# check=error=true` and there are warnings.
    #[error("lint violation found for rules: {0}")]
    LintViolation(String),
    /// It costs too much (not an error in BuildKit).
    #[error("{0}")]
    Limit(LimitReached),
}

impl From<ExpandError> for ConvertError {
    fn from(error: ExpandError) -> Self {
        match error.cause {
            ExpandCause::Limit(limit) => ConvertError::Limit(limit),
            _ => ConvertError::Expand(error),
        }
    }
}

impl From<MountError> for ConvertError {
    fn from(error: MountError) -> Self {
        match error {
            MountError::Expand(error) => error.into(),
            error => ConvertError::Mount(error),
        }
    }
}

impl From<PortError> for ConvertError {
    fn from(error: PortError) -> Self {
        ConvertError::Port(error)
    }
}

impl From<LimitReached> for ConvertError {
    fn from(limit: LimitReached) -> Self {
        ConvertError::Limit(limit)
    }
}

impl ConvertError {
    /// The code of its diagnostic.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            ConvertError::NoStages | ConvertError::TargetNotFound(_) => Code::StageNotFound,
            ConvertError::Expand(_) | ConvertError::PlatformExpand(_) => Code::BadSubstitution,
            ConvertError::BlankBase(_) | ConvertError::Reference { .. } => Code::InvalidReference,
            ConvertError::EmptyPlatform(_) | ConvertError::Platform { .. } => Code::InvalidPlatform,
            ConvertError::VariableInFrom => Code::VariableInFrom,
            ConvertError::StageIndex(_) => Code::StageNotFound,
            ConvertError::Circular(_) | ConvertError::CopyFromLater { .. } | ConvertError::MountFromLater { .. } => {
                Code::StageOrder
            }
            ConvertError::TriggerCount | ConvertError::Trigger(_) => Code::InvalidTrigger,
            ConvertError::Mount(_)
            | ConvertError::MountTarget(_)
            | ConvertError::SecretUnnamed
            | ConvertError::SshSource => Code::InvalidMount,
            ConvertError::Device => Code::DeviceUnsupported,
            ConvertError::NoArguments | ConvertError::RunHeredoc(_) => Code::NothingToRun,
            ConvertError::Chmod(_) | ConvertError::ChmodSyntax => Code::InvalidMode,
            ConvertError::ChecksumSources
            | ConvertError::ChecksumLocal
            | ConvertError::Checksum(_)
            | ConvertError::ChecksumMismatch { .. } => Code::InvalidChecksum,
            ConvertError::KeepGitDir | ConvertError::CopyGit | ConvertError::CopyUrl | ConvertError::GitQuery(_) => {
                Code::InvalidRemoteSource
            }
            ConvertError::Port(_) => Code::InvalidPort,
            ConvertError::BlankVolume => Code::EmptyVolume,
            ConvertError::Signal(_) => Code::InvalidSignal,
            ConvertError::CheckOptions(_) | ConvertError::LintViolation(_) => Code::CheckFailed,
            ConvertError::Limit(_) => Code::LimitReached,
        }
    }

    /// Its diagnostic at `span`.
    #[must_use]
    pub fn diagnostic(&self, span: Span) -> Diagnostic {
        let message = self.to_string();
        let diagnostic = Diagnostic::new(self.code(), span, message.clone());
        let diagnostic = match self {
            ConvertError::Limit(_) => diagnostic,
            _ => diagnostic.buildkit(without_suggestion(&message)),
        };
        match self.help() {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }

    fn help(&self) -> Option<&'static str> {
        Some(match self {
            ConvertError::BlankBase(_) => "only ARGs before the first FROM are known here; give this one a default",
            ConvertError::Expand(ExpandError { cause, .. }) => match cause {
                ExpandCause::SingleQuote => "close the quote, or escape it to mean the character itself",
                ExpandCause::DoubleQuote => "close the quote, or escape it to mean the character itself",
                ExpandCause::MissingBrace => "close the substitution with `}`",
                ExpandCause::MissingSlash => "write ${name/pattern/replacement}, with both slashes",
                ExpandCause::UnsupportedModifier(_) => {
                    "the forms are :- - :+ + :? ? # ## % %% / and //; escape the dollar to mean the character itself"
                }
                _ => return None,
            },
            ConvertError::Reference { cause: ReferenceError::Uppercase(_), .. } => {
                "write the name of the image in small letters; if a stage is meant, it must stand before this one"
            }
            ConvertError::NoArguments => "give RUN something to run",
            ConvertError::Mount(MountError::Csv(CsvError::Empty)) => "write --mount=type=cache,target=/path",
            ConvertError::MountTarget(_) => "give the mount a target below the root: target=/path",
            ConvertError::Port(PortError::ContainerPort(text)) if text.contains(',') => {
                "separate ports with blanks, not commas"
            }
            ConvertError::Port(_) => "write a port or a range from 0 to 65535, with /tcp, /udp or /sctp if it matters",
            ConvertError::Signal(_) => "write a signal's name, such as SIGTERM, or its number",
            ConvertError::CopyUrl | ConvertError::CopyGit => "use ADD, which fetches URLs and repositories",
            ConvertError::Limit(_) => "BuildKit has no such limit; here it keeps one file from using up the memory",
            _ => return None,
        })
    }
}

/// Suggestions depend on the order of a map in BuildKit, so its messages are compared without them.
fn without_suggestion(message: &str) -> String {
    match message.rfind(" (did you mean ") {
        Some(at) if message.ends_with("?)") => message[..at].to_owned(),
        _ => message.to_owned(),
    }
}
