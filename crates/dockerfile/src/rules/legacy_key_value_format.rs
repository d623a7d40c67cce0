//! LegacyKeyValueFormat: `ENV key value` or `LABEL key value`, without `=`.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::instruction::{Command, KeyValue};

/// Reports the pair.
pub(crate) fn report(command: &Command<'_>, pair: &KeyValue<'_>, lints: &mut Lints) {
    let keyword = command.instruction.keyword.as_str();
    let message = format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
    let span = pair.key.span.to(pair.value.span);
    lints.report(
        finding(Code::LegacyKeyValueFormat, span, message)
            .help(format!("write {keyword} {}=...; a value with blanks needs quotes then", pair.key.as_str())),
    );
}
