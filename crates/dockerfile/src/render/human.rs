//! The form for people, drawn by `annotate-snippets`.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Patch, Renderer, Snippet};

use super::excerpt::Excerpt;
use super::{Report, cut, visible};
use crate::diagnostic::{Diagnostic, Edit, Label, Severity};
use crate::source::LineIndex;
use crate::span::{Span, to_u32, to_usize};

/// Lines between a problem and a label up to which both are shown in one piece.
const NEAR_LINES: u32 = 12;

/// The most labels of one problem that are shown.
const LABELS_MAX: usize = 8;

/// The most lines an edit is shown for.
const EDIT_LINES_MAX: u32 = 8;

/// Wide enough that only our own cutting of lines takes place.
const WIDTH: usize = 1000;

/// How the arrow before a place is set off, as `annotate-snippets` does it: bold bright blue.
const ARROW: [&str; 2] = ["\x1b[1m\x1b[94m", "\x1b[0m"];

pub(super) fn text(report: &Report<'_>, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let painter = Painter { report, index: LineIndex::new(report.source), renderer, colour };
    let mut out: String = report.shown().iter().map(|one| painter.diagnostic(one)).collect();
    if report.omitted() > 0 {
        out.push_str(&format!("... and {} more\n", report.omitted()));
    }
    out
}

struct Painter<'a> {
    report: &'a Report<'a>,
    index: LineIndex<'a>,
    renderer: Renderer,
    colour: bool,
}

/// What is shown at one place.
struct Mark<'a> {
    span: Span,
    text: Option<&'a str>,
    kind: AnnotationKind,
}

impl Painter<'_> {
    /// The title, the place, the rest. The place is written here, since the columns of a cut line are not those of the source.
    fn diagnostic(&self, one: &Diagnostic) -> String {
        let level = match one.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.clone().primary_title(line(&one.message)).id(one.code.name());
        let head = self.renderer.render(&[Group::with_title(title)]);
        let mut groups = vec![self.body(Group::with_level(level), one)];
        groups.extend(self.suggestion(one));
        let body = self.renderer.render(&groups);
        // The first line of the body is the empty gutter: as wide as the line numbers, a blank, a bar.
        let gutter = body.lines().next().unwrap_or_default().matches(' ').count().saturating_sub(1);
        let [on, off] = if self.colour { ARROW } else { [""; 2] };
        format!("{head}\n{:gutter$}{on}-->{off} {}\n{body}\n\n", "", self.place(one.span))
    }

    /// The source lines with carets, then what there is to say below them.
    fn body(&self, group: Group<'static>, one: &Diagnostic) -> Group<'static> {
        let labels = || one.labels.iter().take(LABELS_MAX);
        let mut marks = vec![Mark { span: one.span, text: None, kind: AnnotationKind::Primary }];
        marks.extend(labels().filter(|label| self.is_near(one, label)).map(Mark::context));
        let mut group = group.element(self.snippet(&marks));
        for label in labels().filter(|label| !self.is_near(one, label)) {
            let note = format!("{}: {}", self.place(label.span), line(&label.message));
            group = group.element(Level::NOTE.message(note));
        }
        if let Some(help) = &one.help {
            group = group.element(Level::HELP.message(visible::lines(&cut(help)).into_owned()));
        }
        let page = visible::line(&self.report.url(one.code)).into_owned();
        group.element(Level::NOTE.with_name("see").message(page))
    }

    fn place(&self, span: Span) -> String {
        let place = self.index.position(span.start);
        format!("{}:{}:{}", visible::line(self.report.file), place.line, place.column)
    }

    fn is_near(&self, one: &Diagnostic, label: &Label) -> bool {
        self.index.line(one.span.start).abs_diff(self.index.line(label.span.start)) <= NEAR_LINES
    }

    fn snippet(&self, marks: &[Mark<'_>]) -> Snippet<'static, Annotation<'static>> {
        let spans: Vec<Span> = marks.iter().map(|mark| mark.span).collect();
        let numbers = || spans.iter().map(|span| self.index.line(span.start));
        let (first, last) = (numbers().min().unwrap_or(1), numbers().max().unwrap_or(1));
        let excerpt = Excerpt::new(self.report.source, &self.index, first..last + 1, &spans);
        let annotations: Vec<_> = marks
            .iter()
            .map(|mark| mark.kind.span(excerpt.shown(self.first_line_of(mark.span))).label(mark.text.map(line)))
            .collect();
        Snippet::source(excerpt.text).line_start(to_usize(excerpt.first_line)).annotations(annotations)
    }

    /// The part of `span` in its first line, the line's end not included: carets under one line say enough.
    fn first_line_of(&self, span: Span) -> Span {
        let line = self.index.line_span(self.index.line(span.start));
        let content = line.of(self.report.source).trim_end_matches(['\r', '\n']).len();
        let end = line.range().start + content;
        if span.range().end <= end { span } else { Span::new(span.start, to_u32(end)) }
    }

    /// The lines after the edits; nothing when they are too many or too long to be shown whole.
    fn suggestion(&self, one: &Diagnostic) -> Option<Group<'static>> {
        let spans: Vec<Span> = one.fix.iter().map(|edit| edit.span).collect();
        let first = spans.iter().map(|span| self.index.line(span.start)).min()?;
        let last = spans.iter().map(|span| self.index.line(span.end)).max()?;
        if last - first >= EDIT_LINES_MAX {
            return None;
        }
        let excerpt = Excerpt::new(self.report.source, &self.index, first..last + 1, &spans);
        if excerpt.is_cut {
            return None;
        }
        let patches: Vec<_> = one.fix.iter().map(|edit| patch(&excerpt, edit)).collect();
        let snippet = Snippet::source(excerpt.text).line_start(to_usize(excerpt.first_line)).patches(patches);
        Some(Level::HELP.secondary_title("this mends it").element(snippet))
    }
}

impl<'a> Mark<'a> {
    fn context(label: &'a Label) -> Self {
        Self { span: label.span, text: Some(&label.message), kind: AnnotationKind::Context }
    }
}

fn patch(excerpt: &Excerpt, edit: &Edit) -> Patch<'static> {
    Patch::new(excerpt.shown(edit.span), visible::lines(&cut(&edit.replacement)).into_owned())
}

fn line(text: &str) -> String {
    visible::line(&cut(text)).into_owned()
}
