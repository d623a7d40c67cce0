//! `RUN --mount`.

use super::{Feature, Policy, shown};
use crate::csv;
use crate::diagnostic::{Code, Diagnostic};
use crate::goformat::to_lower;
use crate::instruction::FlagValue;
use crate::span::Span;

/// Checks a mount as it is written. Its type has to be literal, so that no variable can make it another one.
pub(super) fn check(policy: &Policy, mount: FlagValue<'_>, found: &mut Vec<Diagnostic>) {
    let Ok(fields) = csv::fields(mount.value) else { return };
    let mut kind = "bind".to_owned();
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else { continue };
        match to_lower(key).as_str() {
            "type" => kind = to_lower(value),
            "from" if !policy.allows(Feature::MountFrom) && !value.is_empty() => {
                let message = format!("a mount from `{}` is not available", shown(value));
                let help = "remove `from=`: the base image is the only one there is";
                found.push(Diagnostic::new(Code::MountFrom, place(mount, field), message).help(help));
            }
            "target" | "dst" | "destination" if is_bad_target(value) => {
                found.push(bad_target(value, place(mount, field)));
            }
            _ => {}
        }
    }
    found.extend(kind_refused(policy, &kind, mount));
}

fn kind_refused(policy: &Policy, kind: &str, mount: FlagValue<'_>) -> Option<Diagnostic> {
    let (feature, help) = match kind {
        "cache" => (Feature::CacheMount, "remove the mount"),
        "tmpfs" => (Feature::TmpfsMount, "remove the mount"),
        "bind" => (Feature::BindMount, "there is no build context to mount; `type=cache` and `type=tmpfs` need none"),
        "secret" => {
            (Feature::SecretMount, "there are no secrets at build time: hand them to the sandbox when it starts")
        }
        "ssh" => (
            Feature::SshMount,
            "there is no agent at build time: use HTTPS, or fetch the files when the sandbox starts",
        ),
        other if other.contains(['$', '"', '\'', '\\', '`']) => {
            let message = "the type of a mount has to be written out";
            let found = Diagnostic::new(Code::MountNotAvailable, mount.span(), message);
            return Some(found.help("write `type=cache` or `type=tmpfs`, without variables, quotes and escapes"));
        }
        // The conversion reports it, with BuildKit's wording.
        _ => return None,
    };
    if policy.allows(feature) {
        return None;
    }
    let message = format!("mounts of type `{kind}` are not available");
    Some(Diagnostic::new(Code::MountNotAvailable, mount.span(), message).help(help))
}

/// Place of a field, where the flag stands in the source as it is.
fn place(mount: FlagValue<'_>, field: &str) -> Span {
    match mount.value.find(field) {
        Some(at) => mount.flag.part_span(&mount.value[at..at + field.len()]),
        None => mount.span(),
    }
}

/// Whether a mount there would hide the system, or leads somewhere else than it says.
pub(super) fn is_bad_target(target: &str) -> bool {
    let target = target.trim_matches(['"', '\'']);
    let mut parts = target.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.clone().any(|part| part == "..") || target.starts_with('/') && parts.next().is_none()
}

/// Whether the flag says so without any variable.
pub(super) fn is_bad_target_as_written(flag: &str) -> bool {
    let value = flag.split_once('=').map_or("", |(_, value)| value);
    csv::fields(value).is_ok_and(|fields| {
        let targets = fields.iter().filter_map(|field| field.split_once('='));
        targets
            .filter(|(key, _)| matches!(to_lower(key).as_str(), "target" | "dst" | "destination"))
            .any(|(_, value)| is_bad_target(value))
    })
}

pub(super) fn bad_target(target: &str, span: Span) -> Diagnostic {
    let message = format!("nothing can be mounted at `{}`", shown(target));
    Diagnostic::new(Code::MountTarget, span, message).help("name a directory below `/`, without `..`")
}
