//! What is wrong with a document: every problem with its place, what would be accepted, and what to do.

use std::collections::BTreeMap;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, Title};
use serde::Serialize;

use super::source::{Position, Text};
use crate::types::Place;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DocumentError {
    /// Stable kebab-case code, such as `unknown-key`.
    pub code: &'static str,
    /// The file as it was named on the command line.
    pub file: String,
    /// Line from 1; `None` where the file as a whole is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The text at fault as it is written; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What is wrong, in one sentence without a final period.
    pub problem: String,
    /// What would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Other places that have a part in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// The line at fault, for people.
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// Another place that has a part in a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// `file:line:column`.
    pub place: String,
    /// What stands there.
    pub note: String,
    #[serde(skip)]
    file: String,
    #[serde(skip)]
    at: Position,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// One line of a file and the bytes of it that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    span: std::ops::Range<usize>,
    /// Whether the line is longer.
    cut: bool,
}

impl DocumentError {
    /// A problem at a place.
    pub fn new(code: &'static str, place: &Place, problem: impl Into<String>) -> Self {
        let whole = Self::of_file(code, place.file.as_ref(), problem);
        Self { line: Some(place.line), column: Some(place.column), ..whole }
    }

    /// A problem of a file as a whole.
    pub fn of_file(code: &'static str, file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            code,
            file: file.into(),
            line: None,
            column: None,
            text: String::new(),
            problem: visible(&problem.into(), 400),
            accepted: None,
            remedy: None,
            related: Vec::new(),
            excerpt: None,
        }
    }

    /// Adds the text at fault.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = visible(&text.into(), 200);
        self
    }

    /// Adds what would be accepted.
    #[must_use]
    pub fn accepted(mut self, accepted: impl Into<String>) -> Self {
        self.accepted = Some(accepted.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds another place that has a part in the problem.
    #[must_use]
    pub fn related(mut self, place: &Place, note: impl Into<String>) -> Self {
        self.related.push(Related {
            place: place.to_string(),
            note: note.into(),
            file: place.file.to_string(),
            at: Position { line: place.line, column: place.column },
            excerpt: None,
        });
        self
    }

    fn position(&self) -> Option<Position> {
        Some(Position { line: self.line?, column: self.column? })
    }

    fn render(&self, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(self.problem.as_str()).id(self.code);
        let mut group =
            located(title, &self.file, self.position(), self.excerpt.as_ref(), AnnotationKind::Primary);
        if let Some(accepted) = &self.accepted {
            group = group.element(Level::NOTE.with_name("accepted").message(accepted.as_str()));
        }
        if let Some(remedy) = &self.remedy {
            group = group.element(Level::HELP.message(remedy.as_str()));
        }
        let mut groups = vec![group];
        for related in &self.related {
            let note = Level::NOTE.secondary_title(related.note.as_str());
            let (at, excerpt) = (Some(related.at), related.excerpt.as_ref());
            groups.push(located(note, &related.file, at, excerpt, AnnotationKind::Context));
        }
        renderer.render(&groups)
    }

    fn whereabouts(&self) -> String {
        self.position()
            .map_or_else(|| self.file.clone(), |at| format!("{}:{}:{}", self.file, at.line, at.column))
    }
}

impl fmt::Display for DocumentError {
    /// One line: `file:line:column: error[code]: problem; accepted: …; remedy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: error[{}]: {}", self.whereabouts(), self.code, self.problem)?;
        for related in &self.related {
            write!(f, " ({}: {})", related.place, related.note)?;
        }
        if let Some(accepted) = &self.accepted {
            write!(f, "; accepted: {accepted}")?;
        }
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; help: {remedy}"))
    }
}

/// A text for a terminal: control characters escaped, what is long cut.
fn visible(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == longest {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

impl Excerpt {
    /// Longer lines are shown as the neighbourhood of the fault.
    const WIDTH: usize = 120;

    fn new(text: &Text, at: Position, fault: &str) -> Self {
        let whole = text.line(at);
        let boundary = |index: usize| {
            let index = index.min(whole.len());
            (index.saturating_sub(3)..=index)
                .rev()
                .find(|index| whole.is_char_boundary(*index))
                .unwrap_or(index)
        };
        let start = text.offset(at).saturating_sub(text.offset(at.line_start())).min(whole.len());
        let (from, to) = if whole.len() <= Self::WIDTH {
            (0, whole.len())
        } else {
            (boundary(start.saturating_sub(Self::WIDTH / 2)), boundary(start + Self::WIDTH / 2))
        };
        let line = whole.get(from..to).unwrap_or_default();
        let length = faulty(line.get(start - from..).unwrap_or_default(), fault);
        let span = start - from..start - from + length;
        Self { line: line.to_owned(), span, cut: line.len() < whole.len() }
    }
}

/// A title with its place and the line there.
fn located<'a>(
    title: Title<'a>,
    file: &'a str,
    at: Option<Position>,
    excerpt: Option<&'a Excerpt>,
    kind: AnnotationKind,
) -> Group<'a> {
    let (Some(at), Some(excerpt)) = (at, excerpt) else {
        return title.element(at.map_or(Origin::path(file), |at| Origin::path(file).line(at.line as usize)));
    };
    let snippet = Snippet::source(excerpt.line.as_str())
        .line_start(at.line as usize)
        .annotation(kind.span(excerpt.span.clone()));
    if !excerpt.cut {
        return title.element(snippet.path(file));
    }
    // The snippet would count the column from where the line was cut.
    let origin = Origin::path(file).line(at.line as usize).char_column(at.column as usize);
    title.element(origin).element(snippet)
}

/// How much of a line's rest is the value at fault: the value itself, its quoted form, or what ends where a plain scalar
/// or a bracket ends. Good enough for an underline.
fn faulty(rest: &str, fault: &str) -> usize {
    if !fault.is_empty() && rest.starts_with(fault) {
        return fault.len();
    }
    let to_the =
        |last: char| rest.char_indices().skip(1).find(|(_, c)| *c == last).map(|(index, _)| index + 1);
    let end = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => to_the(quote),
        Some('[' | '{') => {
            let mut open = 0_i32;
            rest.char_indices().find_map(|(index, c)| {
                open += i32::from(matches!(c, '[' | '{')) - i32::from(matches!(c, ']' | '}'));
                (open == 0).then_some(index + 1)
            })
        }
        _ => [" #", ", ", ": ", "]", "}"].iter().filter_map(|end| rest.find(end)).min(),
    };
    rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest).trim_end().len()
}

/// All problems of all documents of one run; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DocumentErrors {
    errors: Vec<DocumentError>,
}

impl DocumentErrors {
    /// Sorts the problems by place, in the order of the files, and attaches the lines at fault.
    pub(super) fn new(mut errors: Vec<DocumentError>, texts: &[Text]) -> Self {
        let order: BTreeMap<&str, (usize, &Text)> =
            texts.iter().enumerate().map(|(index, text)| (text.name.as_ref(), (index, text))).collect();
        errors
            .sort_by_key(|error| (order.get(error.file.as_str()).map(|(index, _)| *index), error.position()));
        errors.dedup();
        for error in &mut errors {
            let at = error.position().zip(order.get(error.file.as_str()));
            error.excerpt = at.map(|(at, (_, text))| Excerpt::new(text, at, &error.text));
            for related in &mut error.related {
                let text = order.get(related.file.as_str());
                related.excerpt = text.map(|(_, text)| Excerpt::new(text, related.at, ""));
            }
        }
        Self { errors }
    }

    /// The problems, in the order of the files and by place.
    pub fn errors(&self) -> &[DocumentError] {
        &self.errors
    }

    /// All problems with the lines at fault, for people; `color` adds terminal escapes.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for error in &self.errors {
            out.push_str(&error.render(&renderer));
            out.push_str("\n\n");
        }
        let count = self.errors.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        out.push_str(&format!("{count} {noun} in the document; nothing was touched\n"));
        out
    }
}

impl fmt::Display for DocumentErrors {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentErrors {}
