//! The restrictions of a service that builds other people's Dockerfiles.
//!
//! [`Policy::default`] is the specification of the templates service: at most 64 KiB, one `FROM` of an allowlisted base written literally, no
//! `COPY` or `ADD`, and nothing that reaches outside the build: other images, secrets, the host's network, devices, privileges. An
//! operator loosens it by adding [`Feature`]s or tightens it by removing them and lowering the caps.
//!
//! Every violation is reported, each at its place, with what to do instead. What needs expanded values (the targets of mounts)
//! is checked by [`check_operations`] on the converted file.

mod base;
mod mounts;
mod triggers;

use std::collections::BTreeSet;

use crate::ast::Instruction;
use crate::config::ImageConfig;
use crate::convert::{Conversion, ExecMountKind, OpKind};
use crate::diagnostic::{self, Code, Diagnostic, MAX_DIAGNOSTICS};
use crate::directive::{self, detect_syntax};
use crate::instruction::{Command, CommandKind, Copy, Instructions, Network, Run, Security};
use crate::limits::Limits;
use crate::parse::Parsed;
use crate::ports::PortRange;
use crate::reference::Reference;
use crate::rules::CheckOptions;
use crate::span::{Span, Text, to_u32};

/// What a Dockerfile may not do, and how large it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Largest file in bytes. Default 64 KiB.
    pub dockerfile_bytes_max: usize,
    /// Most instructions. Default 1,000.
    pub instructions_max: usize,
    /// Most ports that `EXPOSE` may name, ranges counted out. Default 256.
    pub ports_max: usize,
    /// The images that `FROM` may name, compared in normal form. Default none, which refuses every base: an operator has to list
    /// some, or to add [`Feature::AnyBase`].
    pub allowed_bases: Vec<Reference>,
    /// What is available. Default [`Feature::CacheMount`], [`Feature::TmpfsMount`],
    /// [`Feature::NoNetwork`] and [`Feature::CheckDirective`].
    pub features: BTreeSet<Feature>,
    /// Caps on what expanding the file may cost; for [`ConvertOptions`](crate::convert::ConvertOptions).
    pub limits: Limits,
}

/// Something an operator can make available, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// More than one `FROM`.
    MultipleStages,
    /// A base that is not on the allowlist.
    AnyBase,
    /// Variables, quotes and escapes in `FROM`.
    ComputedBase,
    /// `FROM --platform`.
    Platform,
    /// `COPY <<EOF /path`, which needs no build context.
    CopyHeredoc,
    /// `COPY` of files.
    Copy,
    /// `ADD`.
    Add,
    /// `# syntax=` with any image. It is never fetched or run; without this feature only `docker/dockerfile:1` and its minor versions are
    /// accepted.
    AnySyntax,
    /// `# check=` lines that only choose rules.
    CheckDirective,
    /// `# check=` lines that make warnings errors.
    CheckErrors,
    /// `RUN --mount=type=cache`.
    CacheMount,
    /// `RUN --mount=type=tmpfs`.
    TmpfsMount,
    /// `RUN --mount=type=bind`.
    BindMount,
    /// `RUN --mount=type=secret`.
    SecretMount,
    /// `RUN --mount=type=ssh`.
    SshMount,
    /// `from=` in a mount.
    MountFrom,
    /// `RUN --network=none`.
    NoNetwork,
    /// `RUN --network=host`.
    HostNetwork,
    /// `RUN --security=insecure`.
    Insecure,
    /// `RUN --device`.
    Devices,
    /// `ONBUILD`.
    Onbuild,
    /// `ONBUILD` triggers of the base image.
    InheritedTriggers,
}

impl Default for Policy {
    fn default() -> Self {
        use Feature::{CacheMount, CheckDirective, NoNetwork, TmpfsMount};
        Self {
            dockerfile_bytes_max: 64 << 10,
            instructions_max: 1000,
            ports_max: 256,
            allowed_bases: Vec::new(),
            features: BTreeSet::from([CacheMount, CheckDirective, NoNetwork, TmpfsMount]),
            limits: Limits::default(),
        }
    }
}

impl Policy {
    /// Whether `feature` is available.
    #[must_use]
    pub fn allows(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Whether `base` is on the allowlist.
    #[must_use]
    pub fn allows_base(&self, base: &Reference) -> bool {
        let normalized = base.normalized();
        self.allowed_bases.iter().any(|allowed| allowed.normalized() == normalized)
    }
}

/// Everything the policy has against a file, in source order. `base` is the config of the base image, where it is known: it brings triggers.
#[must_use]
pub fn check(
    policy: &Policy,
    parsed: &Parsed<'_>,
    instructions: &Instructions<'_>,
    base: Option<&ImageConfig>,
) -> Vec<Diagnostic> {
    let source = parsed.dockerfile.source;
    let mut found = Vec::new();
    found.extend(too_large(policy, source));
    found.extend(too_many(policy, &parsed.dockerfile.instructions));
    found.extend(syntax(policy, source));
    found.extend(check_directive(policy, source));
    base::check(policy, parsed, &instructions.stages, &mut found);
    let mut ports = Ports::default();
    for stage in &instructions.stages {
        for command in &stage.commands {
            if found.len() > MAX_DIAGNOSTICS {
                break;
            }
            command_allowed(policy, command, &mut found);
            found.extend(ports.add(policy, command));
        }
    }
    if let (Some(base), Some(first)) = (base, instructions.stages.first()) {
        triggers::inherited(policy, &base.on_build, first.base.span, &mut found);
    }
    diagnostic::sort(&mut found);
    diagnostic::cap(&mut found);
    found
}

/// The refusal of a file that is too large.
pub(crate) fn too_large(policy: &Policy, source: &str) -> Option<Diagnostic> {
    let max = policy.dockerfile_bytes_max;
    if source.len() <= max {
        return None;
    }
    let border = (0..=max).rev().find(|&at| source.is_char_boundary(at)).unwrap_or(0);
    let message = format!("the file has {} bytes; at most {max} are taken", source.len());
    let found = Diagnostic::new(Code::DockerfileTooLarge, Span::empty(to_u32(border)), message);
    Some(found.help("move long scripts and data out of the file, and fetch them in a `RUN`"))
}

/// The refusal of a file of too many instructions.
pub(crate) fn too_many(policy: &Policy, instructions: &[Instruction<'_>]) -> Option<Diagnostic> {
    let first = instructions.get(policy.instructions_max)?;
    let message = format!("the file has more than {} instructions", policy.instructions_max);
    let found = Diagnostic::new(Code::TooManyInstructions, first.keyword.span, message);
    Some(found.help("put several commands into one `RUN`, with `&&` or a heredoc"))
}

/// The frontend BuildKit would fetch and run, by all of its notations.
fn syntax(policy: &Policy, source: &str) -> Option<Diagnostic> {
    let syntax = detect_syntax(source)?;
    if policy.allows(Feature::AnySyntax) || is_standard_frontend(syntax.image) {
        return None;
    }
    let message = format!("the frontend `{}` is not available", shown(syntax.image));
    let found = Diagnostic::new(Code::SyntaxNotAllowed, syntax.span, message);
    Some(found.help("remove the line, or write `# syntax=docker/dockerfile:1`"))
}

/// `docker/dockerfile:1`, `:1.N` or `:1.N.M`.
fn is_standard_frontend(image: &str) -> bool {
    let Ok(reference) = Reference::parse(image) else { return false };
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = reference.tag().unwrap_or_default().split('.');
    (reference.domain(), reference.path()) == ("docker.io", "docker/dockerfile")
        && parts.next() == Some("1")
        && parts.clone().count() <= 2
        && parts.all(number)
}

fn check_directive(policy: &Policy, source: &str) -> Option<Diagnostic> {
    let value = directive::detect_check(source)?;
    let start = value.as_ptr().addr() - source.as_ptr().addr();
    let span = Span::new(to_u32(start), to_u32(start + value.len()));
    let found = |message: String| Diagnostic::new(Code::CheckNotAllowed, span, message);
    if !policy.allows(Feature::CheckDirective) {
        return Some(found("`# check=` is not available".to_owned()).help("remove the line"));
    }
    match CheckOptions::parse(value) {
        // The conversion reports it, with BuildKit's wording.
        Err(_) => None,
        Ok(options) if options.error && !policy.allows(Feature::CheckErrors) => Some(
            found("`error=true` is not available: warnings never refuse a file".to_owned()).help("remove `error=true`"),
        ),
        Ok(_) => None,
    }
}

/// What a single command may not do.
fn command_allowed(policy: &Policy, command: &Command<'_>, found: &mut Vec<Diagnostic>) {
    match &command.kind {
        CommandKind::Run(run) => run_allowed(policy, run, command.instruction, found),
        CommandKind::Copy(copy) => found.extend(copy_allowed(policy, copy, command.instruction)),
        CommandKind::Add(_) if !policy.allows(Feature::Add) => found.push(add_refused(command.instruction)),
        CommandKind::Onbuild(text) => triggers::own(policy, text, command.instruction, found),
        _ => {}
    }
}

fn copy_allowed(policy: &Policy, copy: &Copy<'_>, instruction: &Instruction<'_>) -> Option<Diagnostic> {
    let inline = copy.transfer.sources.is_empty() && copy.from.is_empty();
    if policy.allows(Feature::Copy) || inline && policy.allows(Feature::CopyHeredoc) {
        return None;
    }
    let found = Diagnostic::new(
        Code::CopyNotAvailable,
        instruction.keyword.span,
        "`COPY` is not available: there is no build context",
    );
    let path = copy.transfer.dest.as_str();
    let help = if policy.allows(Feature::CopyHeredoc) {
        format!("write the file's content into the Dockerfile, with `COPY <<EOF {path}`, or fetch it in a `RUN`")
    } else {
        let path = if inline { path } else { "/path" };
        format!("write the content with `RUN cat <<'EOF' > {path}`, or fetch the file in a `RUN` with curl or git")
    };
    Some(found.help(help))
}

fn add_refused(instruction: &Instruction<'_>) -> Diagnostic {
    let remote =
        instruction.args.iter().find(|arg| arg.value.starts_with("https://") || arg.value.starts_with("http://"));
    let help = match remote {
        Some(url) => format!("fetch it in a `RUN`: `curl -fsSL {} -o FILE`", shown(&url.value)),
        None => {
            "write the content with `RUN cat <<'EOF' > /path`, or fetch the file in a `RUN` with curl or git".to_owned()
        }
    };
    Diagnostic::new(
        Code::AddNotAvailable,
        instruction.keyword.span,
        "`ADD` is not available: there is no build context",
    )
    .help(help)
}

fn run_allowed(policy: &Policy, run: &Run<'_>, instruction: &Instruction<'_>, found: &mut Vec<Diagnostic>) {
    for mount in &run.mounts {
        mounts::check(policy, *mount, found);
    }
    let flag = |name: &str| instruction.flags.iter().find(|flag| flag.value.starts_with(name)).map(|flag| flag.span);
    let mut refuse = |code, name: &str, what: &str, help: &'static str| {
        let span = flag(name).unwrap_or(instruction.keyword.span);
        found.push(Diagnostic::new(code, span, format!("`{what}` is not available")).help(help));
    };
    if run.network == Network::Host && !policy.allows(Feature::HostNetwork) {
        let help = "remove the flag: the network of a step is the service's";
        refuse(Code::HostNetworkNotAvailable, "--network", "--network=host", help);
    }
    if run.network == Network::None && !policy.allows(Feature::NoNetwork) {
        refuse(Code::HostNetworkNotAvailable, "--network", "--network=none", "remove the flag");
    }
    if run.security == Security::Insecure && !policy.allows(Feature::Insecure) {
        let help = "remove the flag: steps run without the host's privileges";
        refuse(Code::SecurityNotAvailable, "--security", "--security=insecure", help);
    }
    if !run.devices.is_empty() && !policy.allows(Feature::Devices) {
        refuse(Code::DeviceNotAvailable, "--device", "--device", "remove the flag: there are no devices to give");
    }
}

/// Ports named so far.
#[derive(Default)]
struct Ports {
    count: usize,
    reported: bool,
}

impl Ports {
    /// Counts what is written out; what variables hide is bounded by [`Limits::ports_max`].
    fn add(&mut self, policy: &Policy, command: &Command<'_>) -> Option<Diagnostic> {
        let CommandKind::Expose(ports) = &command.kind else { return None };
        for port in ports {
            let range = PortRange::parse(&port.value).map_or(1, |range| range.count());
            self.count = self.count.saturating_add(range);
            if self.count > policy.ports_max && !self.reported {
                self.reported = true;
                return Some(too_many_ports(policy, port));
            }
        }
        None
    }
}

fn too_many_ports(policy: &Policy, port: &Text<'_>) -> Diagnostic {
    let message = format!("more than {} ports are exposed", policy.ports_max);
    let found = Diagnostic::new(Code::TooManyPorts, port.span, message);
    found.help("list the ports that are used; `EXPOSE` opens none, it is a note to the reader")
}

/// What the policy has against the operations a file was converted to: the targets of mounts, variables expanded. `stages` gives the places.
#[must_use]
pub fn check_operations(conversion: &Conversion, parsed: &Parsed<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for op in &conversion.ops {
        let OpKind::Exec(exec) = &op.kind else { continue };
        let Some(instruction) = parsed.dockerfile.instructions.get(op.origin.instruction) else { continue };
        let bad = exec
            .mounts
            .iter()
            .filter(|mount| !matches!(mount.kind, ExecMountKind::Secret { .. } | ExecMountKind::Ssh { .. }));
        for mount in bad.filter(|mount| mounts::is_bad_target(&mount.dest)) {
            let flag = instruction.flags.iter().find(|flag| flag.value.starts_with("--mount"));
            let span = flag.map_or(instruction.keyword.span, |flag| flag.span);
            // Where the target is written out, it was reported already.
            if !flag.is_some_and(|flag| mounts::is_bad_target_as_written(&flag.value)) {
                found.push(mounts::bad_target(&mount.dest, span));
            }
        }
    }
    found
}

/// A text short enough to show.
fn shown(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
