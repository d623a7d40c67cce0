//! apt-missing-yes: a call of `apt-get` that would ask, and nobody to answer.

use super::Lints;
use super::apt::Call;
use crate::diagnostic::{Code, Diagnostic};

pub(super) fn check(calls: &[Call<'_>], lints: &mut Lints) {
    // `autoremove` is left out: it mostly finds nothing to do, and does not ask then.
    let asks =
        |verb: &str| matches!(verb, "install" | "remove" | "purge" | "upgrade" | "dist-upgrade" | "full-upgrade");
    for call in calls.iter().filter(|call| asks(call.verb) && !call.words.iter().any(|word| says_yes(word))) {
        let message = format!("`{}` asks for confirmation, and a build cannot answer", call.verb);
        let finding = Diagnostic::new(Code::AptMissingYes, call.span, message);
        lints.report(finding.help("add -y"));
    }
}

/// `-y`, alone or among other letters, its long forms, or `-qq`, which implies it. A variable may hold any of them.
fn says_yes(word: &str) -> bool {
    let short = word.strip_prefix('-').filter(|letters| !letters.starts_with('-') && !letters.starts_with('o'));
    let letters = short.is_some_and(|letters| letters.contains('y') || letters.contains("qq"));
    letters
        || matches!(word, "--yes" | "--assume-yes" | "--force-yes" | "-q=2" | "--quiet=2")
        || word.contains("APT::Get::Assume-Yes")
        || word.starts_with('$')
        || word.starts_with("\"$")
}
