//! What a script consists of.

use std::ops::Range;

/// A parsed script. The bytes are kept: edits replace ranges of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub(super) text: Vec<u8>,
    pub(super) list: List,
    /// Where the shell gives up; what stands before it has been parsed.
    pub error: Option<SyntaxError>,
}

impl Script {
    /// The file's bytes, exactly as they were read.
    pub fn render(&self) -> &[u8] {
        &self.text
    }
}

/// Why the shell refuses a script, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct SyntaxError {
    /// Offset of the byte that it fails at.
    pub at: usize,
    /// What is wrong.
    pub why: String,
}

/// Commands in order.
pub(super) type List = Vec<AndOr>;

/// Pipelines joined by `&&` and `||`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AndOr {
    pub(super) first: Pipeline,
    /// `true` for `&&`.
    pub(super) rest: Vec<(bool, Pipeline)>,
    pub(super) background: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pipeline {
    pub(super) negated: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// Words of redirections: they are expanded, too.
    pub(super) redirections: Vec<Word>,
    /// Whether a here-document belongs to it whose expansion may assign.
    pub(super) risky_here_document: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Simple { assignments: Vec<Assignment>, words: Vec<Word> },
    Group(List),
    Subshell,
    If { arms: Vec<(List, List)>, otherwise: List },
    Loop { condition: List, body: List },
    For { name: String, words: Vec<Word>, body: List },
    Case { word: Word, arms: Vec<List> },
    Function { name: String, body: Box<Command> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: Word,
    pub(super) at: usize,
}

/// How a byte of a value is quoted where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// Not at all, or by a backslash.
    Bare,
    /// Between single quotes.
    Single,
    /// Between double quotes.
    Double,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// One byte of the value. `escaped`: by a backslash.
    Byte { byte: u8, span: Range<usize>, quoting: Quoting, escaped: bool },
    /// Quotes that may be empty: they make a word even of nothing.
    Quotes,
    /// `$NAME` or `${…}`.
    Parameter { name: String, operation: Operation, at: usize, quoted: bool },
    /// A value that only a run can tell.
    Opaque { why: Opaque, at: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Plain,
    Length,
    /// `-`, `=`, `?`, `+`; `colon`: an empty value counts as unset.
    Default {
        operator: u8,
        colon: bool,
        word: Word,
    },
    /// `#`, `##`, `%`, `%%`.
    Strip {
        prefix: bool,
        longest: bool,
        pattern: Word,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opaque {
    /// `$(…)` or backquotes.
    Substitution,
    /// `$((…))`, with the names that it may assign.
    Arithmetic(Vec<String>),
    /// `$'…'` or `$"…"`: shells differ.
    DollarQuote,
    /// An expansion at which dash stops the whole program.
    BadSubstitution,
}

impl Word {
    /// The word's text if it consists of unquoted bytes only: what reserved words and names are made of.
    pub(super) fn bare(&self) -> Option<String> {
        let byte = |part: &Part| match part {
            Part::Byte { byte, quoting: Quoting::Bare, escaped: false, .. } => Some(*byte),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = self.parts.iter().map(byte).collect();
        bytes.and_then(|bytes| String::from_utf8(bytes).ok())
    }

    /// The word's text if nothing in it is expanded.
    pub(super) fn literal(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for part in &self.parts {
            match part {
                Part::Byte { byte, .. } => bytes.push(*byte),
                Part::Quotes => {}
                Part::Parameter { .. } | Part::Opaque { .. } => return None,
            }
        }
        Some(bytes)
    }
}

/// Whether the text can be a variable's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
