//! apt-update-separate: `apt-get install` without `apt-get update` before it in the same `RUN`.

use super::Lints;
use super::apt::Call;
use crate::diagnostic::{Code, Diagnostic};

pub(super) fn check(calls: &[Call<'_>], lints: &mut Lints) {
    let updated = calls.iter().position(Call::updates).unwrap_or(calls.len());
    for call in calls[..updated].iter().filter(|call| call.verb == "install" && needs_lists(call)) {
        let message = "packages are installed without an apt-get update in the same RUN";
        let finding = Diagnostic::new(Code::AptUpdateSeparate, call.span, message);
        lints.report(finding.help("write RUN apt-get update && apt-get install ..."));
    }
}

/// Whether a package is named, rather than only files such as `./tool.deb`.
fn needs_lists(call: &Call<'_>) -> bool {
    let mut operands = call.words.iter().filter(|word| !word.starts_with('-') && **word != call.verb);
    operands.any(|word| !word.starts_with(['.', '/', '$', '"']) && !word.ends_with(".deb"))
}
