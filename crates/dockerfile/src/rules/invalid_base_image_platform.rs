//! InvalidBaseImagePlatform: the base image is for another operating system or processor than the build.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::instruction::Stage;

/// Reports a base whose platform `actual` is not the `expected` one; both written `os/architecture`.
pub(crate) fn report(stage: &Stage<'_>, expected: &str, actual: &str, lints: &mut Lints) {
    let base = stage.base.as_str();
    let message =
        format!("Base image {base} was pulled with platform \"{actual}\", expected \"{expected}\" for current build");
    lints.report(finding(Code::InvalidBaseImagePlatform, stage.base.span, message));
}
