//! apt-lists-left: `apt-get update` leaves its package lists in the image.

use super::Lints;
use super::apt::{Call, Script};
use super::shell::each_command;
use crate::diagnostic::{Code, Diagnostic};
use crate::instruction::Run;

const LISTS: &str = "/var/lib/apt";

pub(super) fn check(script: &Script<'_>, calls: &[Call<'_>], run: &Run<'_>, lints: &mut Lints) {
    let Some(update) = calls.iter().find(|call| call.updates()) else { return };
    let mounted = run.mounts.iter().any(|mount| mount.value.contains(LISTS));
    let cleaned = calls.iter().any(|call| matches!(call.verb, "distclean" | "dist-clean"));
    if mounted || cleaned || removes_lists(script.text) {
        return;
    }
    let message = "the package lists of apt-get update stay in the image";
    let finding = Diagnostic::new(Code::AptListsLeft, update.span, message);
    lints.report(finding.help("end the RUN with && rm -rf /var/lib/apt/lists/*"));
}

/// Whether a command that removes files is given the lists' folder, be it in the quoted script of another shell.
fn removes_lists(text: &str) -> bool {
    let lists = memchr::memmem::Finder::new(LISTS);
    let mut removed = false;
    if lists.find(text.as_bytes()).is_some() {
        each_command(text, |words| {
            let words = || words.iter().map(|word| &text[word.clone()]);
            let removes = words().any(|word| matches!(word, "rm" | "find" | "xargs" | "rmdir"));
            let names_lists = |word: &str| word.len() >= LISTS.len() && lists.find(word.as_bytes()).is_some();
            removed |= words().any(|word| names_lists(word) && (removes || word.contains("rm ")));
        });
    }
    removed
}
