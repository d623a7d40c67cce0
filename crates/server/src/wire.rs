//! What goes over the wire, and how it is made of what the service has.

use drydock::{Failure, FailureCode};
use serde::{Deserialize, Serialize};
use templates::{End, Status, Template, Time};
use utoipa::ToSchema;

use crate::error::Problem;

/// JSend: it went well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Success<T> {
    /// `success`.
    status: &'static str,
    /// What was asked for.
    data: T,
}

impl<T> Success<T> {
    pub(crate) fn of(data: T) -> Self {
        Self { status: "success", data }
    }
}

/// JSend: the request can't be done as it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fail {
    /// `fail`.
    status: String,
    data: FailData,
    /// Every problem of a Dockerfile that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<Vec<Problem>>,
}

/// What is wrong with a request. Some codes bring members of their own, all of them plain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailData {
    /// A stable name for programs.
    code: String,
    /// A sentence for people.
    message: String,
    /// The field or parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The line of the Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// The character of that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// JSend: the service failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// `error`.
    status: String,
    /// A sentence for people.
    message: String,
    data: FaultData,
}

/// How to find the fault again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FaultData {
    /// A stable name for programs.
    code: String,
    /// The id of the request, as in the operator's log.
    request_id: String,
}

/// A template to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CreateTemplate {
    /// Friendly alias: `rootfs=<name>` resolves to the latest ready template with this name.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9-]+$", example = "my-python-env")]
    pub(crate) name: String,
    /// Raw Dockerfile contents, at most 64 KiB.
    #[schema(max_length = 65536, example = "FROM nodeops/sandbox:debian\nRUN apt-get update")]
    pub(crate) dockerfile: String,
    /// The base that the caller expects; must be that of FROM.
    #[serde(default)]
    pub(crate) base: Option<String>,
    /// Exact size of the image in bytes; the operator's default if it is not given.
    #[serde(default)]
    #[schema(example = 1073741824)]
    pub(crate) disk_size_bytes: Option<u64>,
    /// Run every step, even one whose result is known.
    #[serde(default)]
    pub(crate) no_cache: Option<bool>,
}

/// A template.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateView {
    /// `tpl_` and a ULID.
    #[schema(example = "tpl_01JD2Y3K4M5N6P7Q8R9S0T1V2W")]
    pub(crate) id: String,
    /// Its name; several may have the same.
    pub(crate) name: String,
    /// The base as the operator names it.
    pub(crate) base: String,
    pub(crate) status: WireStatus,
    /// Exact size of the image in bytes; 0 until ready.
    pub(crate) ext4_size_bytes: u64,
    /// RFC 3339.
    pub(crate) created_at: String,
    /// RFC 3339; null until ready.
    pub(crate) built_at: Option<String>,
    /// How often a build of it was begun.
    pub(crate) attempt: u32,
    /// Which ready version of its name it is; resolved by `name@N`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
    /// SHA-256 of the image, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rootfs_sha256: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<FailureCard>,
    /// The Dockerfile, where `include=dockerfile` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dockerfile: Option<String>,
}

/// The state of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WireStatus {
    /// Queued, not yet picked up by a builder.
    Pending,
    /// Build in progress.
    Building,
    /// Build succeeded; usable as rootfs in sandbox create.
    Ready,
    /// Build failed; `failure` and the log say why.
    Failed,
}

impl From<Status> for WireStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Building => Self::Building,
            Status::Ready => Self::Ready,
            Status::Failed => Self::Failed,
        }
    }
}

/// Why a build failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailureCard {
    /// A stable name for programs: `run_failed`, `run_signalled`, `out_of_memory`, `disk_full`, `step_timeout`, `build_timeout`,
    /// `cancelled`, `interrupted`, `base_not_found`, `base_unreachable`, `base_corrupt`, `runtime_unavailable`,
    /// `image_too_small`, `instruction_failed`, `dockerfile_refused`, `host_fault`.
    #[schema(value_type = String)]
    code: FailureCode,
    /// What happened.
    message: String,
    /// Number of the step, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    /// How many steps there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    /// Line of the Dockerfile, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// The command that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// Its exit status.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    /// What the step used of its disk and its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageView>,
    /// The last lines it wrote, at most 20; lists are without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    tail: Vec<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Whether the same build can go well when it is tried again.
    retryable: bool,
}

/// What a step used, in bytes, as far as the host can tell.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageView {
    /// Of the disk, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
    /// Of the disk at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_limit_bytes: Option<u64>,
    /// Memory at its peak, the cache of files included.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    /// Memory at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit_bytes: Option<u64>,
}

impl From<drydock::Usage> for UsageView {
    fn from(usage: drydock::Usage) -> Self {
        Self {
            disk_bytes: usage.disk_bytes,
            disk_limit_bytes: usage.disk_limit_bytes,
            memory_peak_bytes: usage.memory_peak_bytes,
            memory_limit_bytes: usage.memory_limit_bytes,
        }
    }
}

impl From<Failure> for FailureCard {
    fn from(card: Failure) -> Self {
        Self {
            code: card.code,
            message: card.message,
            step: card.step,
            steps: card.steps,
            line: card.line,
            command: card.command,
            exit_status: card.exit_status,
            signal: card.signal,
            usage: card.usage.map(UsageView::from),
            tail: card.tail,
            hint: card.hint,
            retryable: card.retryable,
        }
    }
}

impl TemplateView {
    /// One among others: without the last lines of a build that failed, of which there may be 64 KiB; details bring them.
    pub(crate) fn listed(mut template: Template) -> Self {
        if let Some(card) = &mut template.failure {
            card.tail.clear();
        }
        Self::of(template, None)
    }

    pub(crate) fn of(template: Template, dockerfile: Option<String>) -> Self {
        Self {
            id: template.id.to_string(),
            name: template.name.to_string(),
            base: template.base,
            status: template.status.into(),
            ext4_size_bytes: template.ext4_size_bytes,
            created_at: template.created_at.seconds(),
            built_at: template.built_at.map(Time::seconds),
            attempt: template.attempt,
            version: template.version,
            rootfs_sha256: template.image_digest,
            failure: template.failure.map(FailureCard::from),
            dockerfile,
        }
    }
}

/// A page of templates. The same list stands under two names, since published clients look for either.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateList<'a> {
    /// Newest first.
    pub(crate) templates: &'a [TemplateView],
    /// The same.
    pub(crate) data: &'a [TemplateView],
    pub(crate) pagination: Pagination,
}

/// Where a page is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pagination {
    /// Templates in all.
    pub(crate) total: u64,
    /// The most a page has.
    pub(crate) limit: u32,
    /// Templates before this page.
    pub(crate) offset: u64,
    /// Templates on this page.
    pub(crate) count: usize,
}

/// A template that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Destroyed {
    pub(crate) id: String,
    /// `destroyed`.
    pub(crate) status: &'static str,
}

/// What a sandbox boots.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResolvedView {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Which ready version of the name.
    pub(crate) version: Option<u64>,
    /// Exact size of the image in bytes.
    pub(crate) ext4_size_bytes: u64,
    /// SHA-256 of the image, hexadecimal.
    pub(crate) rootfs_sha256: Option<String>,
    /// What a runtime needs to start it (OCI image specification, config.md).
    #[schema(value_type = Object)]
    pub(crate) config: serde_json::Value,
}

impl ResolvedView {
    pub(crate) fn of(template: Template, config: serde_json::Value) -> Self {
        Self {
            id: template.id.to_string(),
            name: template.name.to_string(),
            version: template.version,
            ext4_size_bytes: template.ext4_size_bytes,
            rootfs_sha256: template.image_digest,
            config,
        }
    }
}

/// What a build would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanView {
    /// The base as the operator names it.
    pub(crate) base: String,
    /// Digest of the base's config.
    pub(crate) base_digest: String,
    /// The steps, in order.
    pub(crate) steps: Vec<PlannedStep>,
    /// What was found in the Dockerfile: warnings.
    pub(crate) diagnostics: Vec<Problem>,
}

/// A step that would be done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlannedStep {
    /// Line of the Dockerfile, from 1.
    pub(crate) line: u32,
    /// The instruction.
    pub(crate) text: String,
    /// Whether its result is kept; null for one that changes the config alone.
    pub(crate) cached: Option<bool>,
    /// Why it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// The service runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Up {
    pub(crate) up: bool,
}

/// The service can build.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    pub(crate) ready: bool,
    /// Why not.
    pub(crate) reason: Option<String>,
}

/// The last line of a log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FinalFrame {
    /// `true`, where the build has ended.
    r#final: bool,
    status: WireStatus,
    /// Empty: the frame adds nothing to the text.
    stream: &'static str,
    attempt: u32,
    /// The number that follows the last line.
    next: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureCard>,
}

impl From<End> for FinalFrame {
    fn from(end: End) -> Self {
        Self {
            r#final: true,
            status: end.status.into(),
            stream: "",
            attempt: end.attempt,
            next: end.next_seq,
            failure: end.failure.map(FailureCard::from),
        }
    }
}

/// One line of a log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLine {
    /// Raw output, with its newline.
    stream: String,
    /// The same without the newline.
    line: Option<String>,
    /// RFC 3339.
    ts: Option<String>,
    /// `info` or `error`.
    level: Option<String>,
    /// `stdout` or `stderr` of the command; absent for a line of the builder's own.
    source: Option<String>,
    /// The attempt that wrote it.
    attempt: Option<u32>,
    /// The step that wrote it; 0 before the first.
    step: Option<u32>,
    /// Its number, from 0; `since` takes one.
    seq: Option<u64>,
}
