//! virConf, the format of `/etc/libvirt/*.conf`: read as libvirt's own parser reads it, edited one value at a time.
//!
//! Rules: libvirt `src/util/virconf.c`, checked against the library by `tests/differential_virconf.rs`. A file is a
//! sequence of comments and `name = value` statements, separated by line ends or `;`. One mistake anywhere makes
//! libvirt reject the whole file, and its QEMU driver then does not start.

mod edit;
mod parse;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use edit::Unquotable;

/// A file that libvirt accepts.
#[derive(Debug, Clone)]
pub struct VirConf<'a> {
    text: &'a [u8],
    settings: Vec<Setting>,
    /// Comments that stand for themselves, from after the `#` to the line's end.
    comments: Vec<Range<usize>>,
}

/// One `name = value` statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name.
    pub name: String,
    /// Value.
    pub value: Value,
    /// Line of the name, from 1.
    pub line: usize,
    /// From the name to the end of the value.
    span: Range<usize>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number with its sign; libvirt lets too many digits wrap.
    Integer(i64),
    /// A string, as C sees it: up to the first NUL.
    String(Vec<u8>),
    /// A list.
    List(List),
}

/// A list and where its parts stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The elements in order.
    pub elements: Vec<Element>,
    /// Just after `[`.
    open: usize,
    /// Just after a comma that no element follows.
    trailing_comma: Option<usize>,
}

/// One element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its value.
    pub value: Value,
    span: Range<usize>,
}

/// Why libvirt rejects a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SyntaxError {
    /// Line, from 1; only `\n` counts, as in libvirt's messages.
    pub line: usize,
    /// libvirt's words.
    pub problem: &'static str,
}

impl<'a> VirConf<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// Where libvirt rejects the file.
    pub fn parse(text: &'a [u8]) -> Result<Self, SyntaxError> {
        parse::parse(text)
    }

    /// The file, unchanged.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// All statements in order.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The statement that counts: libvirt takes the first of several.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }

    /// The list of strings that the file's comments give as the default of `name`.
    ///
    /// libvirt's packaged files show every default as a statement with `#` before each of its lines.
    pub fn commented_list(&self, name: &str) -> Option<Vec<Vec<u8>>> {
        let (_, text) = self.commented(name)?;
        VirConf::parse(&text).ok()?.get(name)?.value.strings()
    }

    /// Where the commented default of `name` ends, and its text without the `#`s.
    fn commented(&self, name: &str) -> Option<(usize, Vec<u8>)> {
        (0..self.comments.len()).find_map(|first| self.commented_from(first, name))
    }

    fn commented_from(&self, first: usize, name: &str) -> Option<(usize, Vec<u8>)> {
        let mut text = Vec::new();
        let mut previous_end = None;
        for comment in self.comments.iter().skip(first) {
            let line = self.text.get(comment.clone())?;
            match previous_end {
                None => {
                    let rest = line.trim_ascii_start().strip_prefix(name.as_bytes())?;
                    rest.trim_ascii_start().strip_prefix(b"=")?;
                }
                // The `#` itself stands between the two; nothing but white space may besides.
                Some(end) => {
                    let between = self.text.get(end..comment.start.checked_sub(1)?)?;
                    between.iter().all(u8::is_ascii_whitespace).then_some(())?;
                }
            }
            text.extend_from_slice(line);
            text.push(b'\n');
            previous_end = Some(comment.end);
            let complete = |conf: VirConf<'_>| matches!(conf.settings(), [only] if only.name == name);
            // A list that is still open cannot parse: only a `]` is worth a try.
            if (!text.contains(&b'[') || line.contains(&b']')) && VirConf::parse(&text).is_ok_and(complete) {
                return Some((comment.end, text));
            }
        }
        None
    }
}

impl Value {
    /// The strings of a list of strings; `None` for everything that libvirt does not take as one.
    pub fn strings(&self) -> Option<Vec<Vec<u8>>> {
        let Self::List(list) = self else { return None };
        let string = |element: &Element| match &element.value {
            Self::String(bytes) => Some(bytes.clone()),
            Self::Integer(_) | Self::List(_) => None,
        };
        list.elements.iter().map(string).collect()
    }
}

/// Whether libvirt ends a line here: a lone carriage return does.
fn is_eol(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
