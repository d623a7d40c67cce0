//! apt-lists-left: `apt-get update` leaves its package lists in the image.

use super::Lints;
use super::apt::{Call, Script};
use super::shell::commands;
use crate::diagnostic::{Code, Diagnostic};
use crate::instruction::Run;

const LISTS: &str = "/var/lib/apt";

pub(super) fn check(script: &Script<'_>, calls: &[Call<'_>], run: &Run<'_>, lints: &mut Lints) {
    let Some(update) = calls.iter().find(|call| call.verb == "update") else { return };
    let mounted = run.mounts.iter().any(|mount| mount.value.contains(LISTS));
    if mounted || removes_lists(script.text) {
        return;
    }
    let message = "the package lists of apt-get update stay in the image";
    let finding = Diagnostic::new(Code::AptListsLeft, update.span, message);
    lints.report(finding.help("end the RUN with && rm -rf /var/lib/apt/lists/*"));
}

/// Whether any command but apt itself is given the lists' folder: `rm`, `find -delete`, a clean-up function.
fn removes_lists(text: &str) -> bool {
    text.contains(LISTS)
        && commands(text).iter().any(|words| {
            let text = |word: &std::ops::Range<usize>| &text[word.clone()];
            let removes = words.iter().any(|word| matches!(text(word), "rm" | "find" | "xargs" | "rmdir"));
            removes && words.iter().any(|word| text(word).contains(LISTS))
        })
}
