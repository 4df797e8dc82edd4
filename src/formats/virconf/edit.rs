//! Edits: each changes one setting and leaves every other byte as it was.
//!
//! [`VirConf::with_list`] and [`VirConf::without`] are exact inverses of each other, and so are adding elements to a
//! list and taking them out again.

use std::borrow::Borrow;
use std::ops::Range;

use super::{Element, List, Value, VirConf, is_blank, is_eol};

/// A string that virConf cannot express in a list: both kinds of quotes, a line end or a NUL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" cannot be written as a virConf string", .0.escape_debug())]
pub struct Unquotable(pub String);

fn quoted(text: &str) -> Result<String, Unquotable> {
    let has = |wanted: char| text.contains(wanted);
    match (has('"'), has('\'')) {
        _ if has('\n') || has('\r') || has('\0') => Err(Unquotable(text.to_owned())),
        (false, _) => Ok(format!("\"{text}\"")),
        (true, false) => Ok(format!("'{text}'")),
        (true, true) => Err(Unquotable(text.to_owned())),
    }
}

fn all_quoted<S: Borrow<str>>(texts: &[S]) -> Result<Vec<String>, Unquotable> {
    texts.iter().map(|text| quoted(text.borrow())).collect()
}

impl VirConf<'_> {
    /// The file with a new statement `name = [elements]`, one element per line: after the commented default of
    /// `name` if there is one, else at the end.
    ///
    /// # Errors
    /// When an element cannot be quoted.
    pub fn with_list<S: Borrow<str>>(&self, name: &str, elements: &[S]) -> Result<Vec<u8>, Unquotable> {
        let eol = self.eol();
        let mut block = format!("{eol}{name} = [");
        for (index, element) in all_quoted(elements)?.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            block.push_str(&format!("{comma}{eol}    {element}"));
        }
        block.push_str(eol);
        block.push(']');
        let at = self.commented(name).map_or_else(|| self.end_of_last_line(), |(end, _)| end);
        Ok(splice(self.text, [(at..at, block)]))
    }

    /// The file without the statement that counts for `name`.
    ///
    /// A statement with lines of its own goes with them and with a comment behind it.
    pub fn without(&self, name: &str) -> Vec<u8> {
        let Some(setting) = self.get(name) else { return self.text.to_vec() };
        let byte = |at: usize| self.text.get(at).copied();
        let skip_blanks = |mut at: usize| {
            while byte(at).is_some_and(is_blank) {
                at += 1;
            }
            at
        };
        let mut line_start = setting.span.start;
        while line_start > 0 && byte(line_start - 1).is_some_and(is_blank) {
            line_start -= 1;
        }
        let starts_line = line_start == 0 || byte(line_start - 1).is_some_and(is_eol);
        let mut end = skip_blanks(setting.span.end);
        let semicolon = byte(end) == Some(b';');
        if semicolon {
            end = skip_blanks(end + 1);
        }
        if starts_line && byte(end) == Some(b'#') {
            while byte(end).is_some_and(|byte| !is_eol(byte)) {
                end += 1;
            }
        }
        let ends_line = byte(end).is_none_or(is_eol);
        let cut = match (starts_line && ends_line, semicolon) {
            (true, _) if line_start == 0 => 0..end + eol_at(self.text, end),
            (true, _) => line_start - eol_before(self.text, line_start)..end,
            (false, true) => setting.span.start..end,
            (false, false) => setting.span.clone(),
        };
        let rest = splice(self.text, [(cut, String::new())]);
        // White space alone is not a file that libvirt accepts; an empty file is.
        if rest.iter().all(|byte| is_blank(*byte) || is_eol(*byte)) { Vec::new() } else { rest }
    }

    /// The file with some elements taken out of the list `name` and others appended to it; `None` where there is no
    /// such list.
    ///
    /// # Errors
    /// When an element cannot be quoted.
    pub fn with_elements<S: Borrow<str>>(
        &self,
        name: &str,
        keep: impl Fn(&Value) -> bool,
        append: &[S],
    ) -> Result<Option<Vec<u8>>, Unquotable> {
        let append = all_quoted(append)?;
        let Some(Value::List(list)) = self.get(name).map(|setting| &setting.value) else { return Ok(None) };
        let kept: Vec<bool> = list.elements.iter().map(|element| keep(&element.value)).collect();
        let mut edits: Vec<(Range<usize>, String)> =
            removals(list, &kept).into_iter().map(|range| (range, String::new())).collect();
        if !append.is_empty() {
            let last_kept =
                list.elements.iter().zip(&kept).rev().find_map(|(element, kept)| kept.then_some(element));
            edits.push(self.appended(list, last_kept, &append));
        }
        edits.sort_by_key(|(range, _)| (range.start, range.end));
        Ok(Some(splice(self.text, edits)))
    }

    /// The text that appends to a list, in its layout: each element on a line of its own where the last one starts a
    /// line.
    fn appended(&self, list: &List, last: Option<&Element>, quoted: &[String]) -> (Range<usize>, String) {
        let Some(last) = last else { return (list.open..list.open, quoted.join(", ")) };
        let before = self.text.get(list.open..last.span.start).unwrap_or_default();
        let separator = match before.iter().rposition(|byte| is_eol(*byte)) {
            None => ", ".to_owned(),
            Some(at) => {
                let blanks = before.iter().skip(at + 1).take_while(|byte| is_blank(**byte));
                let indent: String = blanks.map(|byte| char::from(*byte)).collect();
                format!(",{}{indent}", self.eol())
            }
        };
        let text = quoted.iter().flat_map(|element| [separator.as_str(), element.as_str()]).collect();
        (last.span.end..last.span.end, text)
    }

    /// How this file ends its lines.
    fn eol(&self) -> &'static str {
        let first = self.text.iter().position(|byte| *byte == b'\n');
        match first.and_then(|at| at.checked_sub(1)).and_then(|before| self.text.get(before)) {
            Some(b'\r') => "\r\n",
            _ => "\n",
        }
    }

    /// The end of the last line, its line end not included.
    fn end_of_last_line(&self) -> usize {
        self.text.len() - eol_before(self.text, self.text.len())
    }
}

/// What goes where `kept` says no, with the commas and white space that go with it.
fn removals(list: &List, kept: &[bool]) -> Vec<Range<usize>> {
    let spans: Vec<&Range<usize>> = list.elements.iter().map(|element| &element.span).collect();
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return Vec::new() };
    let mut ranges = Vec::new();
    let Some(first_kept) = kept.iter().position(|kept| *kept) else {
        ranges.push(first.start..list.trailing_comma.unwrap_or(last.end));
        return ranges;
    };
    for (index, (pair, kept)) in spans.windows(2).zip(kept.windows(2)).enumerate() {
        let ([this, next], [this_kept, next_kept]) = (pair, kept) else { continue };
        if !this_kept && index < first_kept {
            ranges.push(this.start..next.start);
        } else if !next_kept && index >= first_kept {
            ranges.push(this.end..next.end);
        }
    }
    ranges
}

/// Length of the line end that starts at `at`.
fn eol_at(text: &[u8], at: usize) -> usize {
    match (text.get(at), text.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => 2,
        (Some(b'\r' | b'\n'), _) => 1,
        _ => 0,
    }
}

/// Length of the line end that stops at `at`.
fn eol_before(text: &[u8], at: usize) -> usize {
    match text.get(..at).unwrap_or_default() {
        [.., b'\r', b'\n'] => 2,
        [.., b'\r' | b'\n'] => 1,
        _ => 0,
    }
}

/// `text` with each range replaced; the ranges are in order and do not overlap.
fn splice(text: &[u8], edits: impl IntoIterator<Item = (Range<usize>, String)>) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut copied = 0;
    for (range, replacement) in edits {
        result.extend_from_slice(text.get(copied..range.start).unwrap_or_default());
        result.extend_from_slice(replacement.as_bytes());
        copied = range.end;
    }
    result.extend_from_slice(text.get(copied..).unwrap_or_default());
    result
}
