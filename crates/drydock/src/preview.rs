//! What a build would do, before it does anything.

use buildengine::{Cancel, Forecast, plan};
use dockerfile::analysis::Analysis;
use dockerfile::render::{JsonAnswer, Report};
use dockerfile::source::Source;
use ocilayers::{Digest, Image, Store};
use serde::Serialize;

use crate::config;
use crate::error::Error;
use crate::fingerprint;
use crate::request::Request;

/// What a build would do.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    /// The base as the host named it.
    pub base: String,
    /// Digest of the base's config, 64 hexadecimal digits: its identity.
    pub base_id: String,
    /// The steps, in order.
    pub steps: Vec<PreviewStep>,
    /// Hash of all that the image is made of, 64 hexadecimal digits: builds with the same one may share an image.
    pub fingerprint: String,
    /// What was found in the Dockerfile: warnings.
    pub answer: JsonAnswer,
}

/// A step that would be done.
#[derive(Clone, Debug, Serialize)]
pub struct PreviewStep {
    /// Line of the Dockerfile, from 1.
    pub line: u32,
    /// The instruction, continuation lines joined.
    pub text: String,
    /// Whether its result is kept; `None` for one that changes the config alone.
    pub cached: Option<bool>,
    /// Why it runs: what differs from the nearest earlier run of the same instruction.
    pub reason: Option<String>,
}

/// Every problem of the Dockerfile, and whether it is accepted. Looks at nothing but the text.
#[must_use]
pub fn check(request: &Request<'_>) -> Checked {
    let source = Source::decode(request.dockerfile);
    match request.accept(&source, None) {
        Ok(analysis) => {
            let base = request.base_of(&analysis).ok().map(|base| base.name.clone());
            Checked { base, answer: answer(&source, &analysis) }
        }
        Err(Error::Refused { diagnostics }) => problems(&source, &diagnostics),
        Err(_) => unreachable!("accept fails with a refusal alone"),
    }
}

/// What was found in a Dockerfile.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The base as the host named it, if the file is accepted and it is one of the host's.
    pub base: Option<String>,
    /// The problems.
    pub answer: JsonAnswer,
}

/// The problems of a refusal, each with its place.
#[must_use]
pub fn problems_of(dockerfile: &[u8], diagnostics: &[dockerfile::diagnostic::Diagnostic]) -> JsonAnswer {
    problems(&Source::decode(dockerfile), diagnostics).answer
}

/// What is said of an accepted file.
fn answer(source: &Source<'_>, analysis: &Analysis<'_>) -> JsonAnswer {
    let base = analysis.conversion.base.as_deref();
    Report { base, ..Report::new("Dockerfile", source.text(), &analysis.diagnostics) }.json()
}

fn problems(source: &Source<'_>, diagnostics: &[dockerfile::diagnostic::Diagnostic]) -> Checked {
    Checked { base: None, answer: Report::new("Dockerfile", source.text(), diagnostics).json() }
}

/// The steps of a build, and which of them are kept from earlier ones. Opens the base, runs nothing and makes nothing.
///
/// # Errors
/// The Dockerfile is refused, or the base can't be opened.
pub fn preview(request: &Request<'_>, cancel: &Cancel) -> Result<Preview, Error> {
    let source = Source::decode(request.dockerfile);
    let base = request.base_of(&request.accept(&source, None)?)?;
    let image = Image::open_with(&base.place, &request.open_options(cancel))?;
    let analysis = request.accept(&source, Some(config::of_base(base, image.config())?))?;
    let plan = plan::lower(&analysis.dockerfile, &analysis.conversion)?;

    let store = Store::open(&request.state.join("layers"), request.limits).map_err(Error::State)?;
    let sandbox = request.sandbox();
    let engine = request.engine(&store, &sandbox);
    let forecasts = engine.forecast(&plan, &config::diff_ids(image.config()))?;
    let base_id = Digest::of(image.config()).hex();
    let steps = plan.steps.iter().zip(forecasts).map(|(step, forecast)| PreviewStep {
        line: step.line,
        text: step.text.clone(),
        cached: match &forecast {
            Forecast::ConfigOnly => None,
            forecast => Some(*forecast == Forecast::Cached),
        },
        reason: reason(&forecast, request.no_cache),
    });
    Ok(Preview {
        base: base.name.clone(),
        steps: steps.collect(),
        fingerprint: fingerprint::of(request, &base_id),
        answer: answer(&source, &analysis),
        base_id,
    })
}

/// Why a step runs; none when it does not.
fn reason(forecast: &Forecast, no_cache: bool) -> Option<String> {
    match forecast {
        Forecast::Runs { .. } if no_cache => Some("the cache is not to be used".to_owned()),
        Forecast::Runs { changed: None } => Some("this instruction has not run yet".to_owned()),
        Forecast::Runs { changed: Some(names) } if names.is_empty() => {
            Some("its earlier result is too old or was dropped".to_owned())
        }
        Forecast::Runs { changed: Some(names) } => {
            let (shown, rest) = names.split_at(names.len().min(REASONS_MAX));
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            Some(format!("since its last run this changed: {}{more}", shown.join(", ")))
        }
        Forecast::RunsAfterAnother => Some("a step before it runs".to_owned()),
        _ => None,
    }
}

/// How many changed inputs a reason names.
const REASONS_MAX: usize = 8;
