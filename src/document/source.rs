//! The text of one file, and the way from a line and column to a byte.

use std::sync::Arc;

use super::error::DocumentError;
use crate::types::Place;

/// One document as it was read: the name that messages use, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as it was named on the command line.
    pub name: Arc<str>,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Source {
    /// A document of this name and content.
    pub fn new(name: impl Into<Arc<str>>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// Every `STRIDE`th character's offset is kept, so that a column is found in constant time on a line of any length.
const STRIDE: usize = 64;

/// A source's text with its lines indexed.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) name: Arc<str>,
    pub(super) text: String,
    /// Index of the first character of each line.
    lines: Vec<usize>,
    /// Byte offset of every `STRIDE`th character.
    offsets: Vec<usize>,
}

impl Text {
    /// Indexes the lines and says what is wrong with the encoding; a text at fault is good for showing it alone.
    pub(super) fn new(source: &Source) -> (Self, Result<(), Box<DocumentError>>) {
        let bytes = &source.bytes;
        let name = Arc::clone(&source.name);
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                let text = Self::index(name, text.to_owned());
                let checked = text.check();
                (text, checked)
            }
            Err(error) => {
                let error = not_utf8(&source.name, bytes, error.valid_up_to());
                (Self::index(name, String::from_utf8_lossy(bytes).into_owned()), Err(error.into()))
            }
        }
    }

    fn check(&self) -> Result<(), Box<DocumentError>> {
        if let Some(offset) = open_brackets(&self.text) {
            return Err(DocumentError::new(
                "too-deep",
                &self.place_of(offset),
                "too many brackets stand open here",
            )
            .remedy("close the brackets")
            .into());
        }
        if self.text.starts_with('\u{feff}') {
            return Err(DocumentError::new(
                "byte-order-mark",
                &self.place_of(0),
                "the file begins with a byte-order mark",
            )
            .text("U+FEFF")
            .accepted("UTF-8 without a byte-order mark")
            .remedy(format!("remove it: sed -i '1s/^\\xEF\\xBB\\xBF//' {}", self.name))
            .into());
        }
        if let Some(offset) = self.text.find('\r') {
            let problem = "a carriage return stands here: the lines end as on Windows (CRLF)";
            return Err(DocumentError::new("carriage-return", &self.place_of(offset), problem)
                .text("U+000D")
                .accepted("lines that end with a newline alone")
                .remedy(format!("remove them: sed -i 's/\\r$//' {}", self.name))
                .into());
        }
        match self.text.char_indices().find(|(_, c)| !is_printable(*c)) {
            None => Ok(()),
            Some((offset, c)) => {
                let problem = format!("the character U+{:04X} may not stand in YAML", u32::from(c));
                Err(DocumentError::new("not-yaml", &self.place_of(offset), problem)
                    .text(c)
                    .accepted("printable text in UTF-8")
                    .remedy("remove the character; the file may be a binary or in UTF-16")
                    .into())
            }
        }
    }

    fn index(name: Arc<str>, text: String) -> Self {
        let mut lines = vec![0];
        let mut offsets = Vec::with_capacity(text.len() / STRIDE + 1);
        let mut characters = text.char_indices().enumerate().peekable();
        while let Some((index, (offset, c))) = characters.next() {
            if index % STRIDE == 0 {
                offsets.push(offset);
            }
            // The line breaks that libyaml counts.
            let ends_line = match c {
                '\r' => characters.peek().is_none_or(|(_, (_, next))| *next != '\n'),
                '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => true,
                _ => false,
            };
            if ends_line {
                lines.push(index + 1);
            }
        }
        Self { name, text, lines, offsets }
    }

    /// A place in this file.
    pub(super) fn place(&self, at: Position) -> Place {
        Place { file: Arc::clone(&self.name), line: at.line, column: at.column }
    }

    /// The byte offset of a position; the text's end where there is no such position.
    pub(super) fn offset(&self, at: Position) -> usize {
        let line = self.lines.get((at.line as usize).saturating_sub(1)).copied();
        let index = line.map(|line| line + (at.column as usize).saturating_sub(1));
        let found = index.and_then(|index| {
            let start = *self.offsets.get(index / STRIDE)?;
            let (within, _) = self.text.get(start..)?.char_indices().nth(index % STRIDE)?;
            Some(start + within)
        });
        found.unwrap_or(self.text.len())
    }

    /// The text from a position on.
    pub(super) fn from(&self, at: Position) -> &str {
        self.text.get(self.offset(at)..).unwrap_or_default()
    }

    /// The line that a position lies in, without its end.
    pub(super) fn line(&self, at: Position) -> &str {
        let (start, end) =
            (self.offset(at.line_start()), self.offset(Position { line: at.line + 1, column: 1 }));
        self.text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// The next place of `c` from a position on; linear, for the rare message.
    pub(super) fn find(&self, from: Position, c: char) -> Option<Position> {
        let start = self.offset(from);
        let place = self.place_of(start + self.text.get(start..)?.find(c)?);
        Some(Position { line: place.line, column: place.column })
    }

    /// The place of a byte offset; linear, for the rare message.
    fn place_of(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).map_or(0, |before| before.chars().count());
        let line = self.lines.partition_point(|start| *start <= before);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        self.place(Position { line: clamp(line), column: clamp(before - start + 1) })
    }
}

/// Line and column, both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The first column of the same line.
    pub(super) fn line_start(self) -> Self {
        Self { column: 1, ..self }
    }
}

fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// YAML 1.1's printable characters, which are all that libyaml's reader lets through (`yaml_parser_update_buffer`).
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// Where more brackets are open than any document needs, whatever they are part of. libyaml's time grows with the
/// square of the nesting, so this has to be seen before it looks.
fn open_brackets(text: &str) -> Option<usize> {
    const MOST: usize = 256;
    let mut open = 0_usize;
    text.bytes().position(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > MOST
    })
}

fn not_utf8(name: &Arc<str>, bytes: &[u8], valid: usize) -> DocumentError {
    let (before, rest) = bytes.split_at(valid.min(bytes.len()));
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count() + 1;
    let place = Place { file: Arc::clone(name), line: clamp(line), column: clamp(column) };
    let byte = rest.first().copied().unwrap_or_default();
    let utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    let encoding = if utf16 { "utf-16" } else { "latin1" };
    DocumentError::new("not-utf8", &place, format!("the byte 0x{byte:02x} is not UTF-8"))
        .accepted("text in UTF-8")
        .remedy(format!("convert the file, as with: iconv -f {encoding} -t utf-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<Text, Box<DocumentError>> {
        let (text, checked) = Text::new(&Source::new("t", bytes));
        checked.map(|()| text)
    }

    #[test]
    fn finds_bytes_by_line_and_column() {
        let long = "é".repeat(300);
        // A text at fault is indexed too: its faults are shown in their lines.
        let (text, _) = Text::new(&Source::new("t", format!("a\r\nbc\n{long}x\rd").as_bytes()));
        let from = |line, column| text.from(Position { line, column });
        assert!(from(2, 2).starts_with("c\n"));
        assert!(from(3, 301).starts_with("x\r"));
        assert_eq!(from(4, 1), "d");
        assert_eq!(from(9, 1), "");
    }

    #[test]
    fn names_the_place_of_a_bad_byte() {
        let error = text(b"a: b\n\xc3\xa9: \xff").unwrap_err();
        assert_eq!((error.line, error.column), (Some(2), Some(4)));
        let error = text("ab\né\u{1}".as_bytes()).unwrap_err();
        assert_eq!((error.line, error.column), (Some(2), Some(2)));
    }
}
