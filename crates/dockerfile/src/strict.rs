//! The strict subset: what BuildKit accepts but nobody means.

use crate::parse::Parsed;
use crate::source::Replaced;

pub(crate) fn check(_parsed: &mut Parsed<'_>, _replaced: &[Replaced]) {}
