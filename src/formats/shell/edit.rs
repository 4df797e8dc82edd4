//! Changing one piece of one value where it was written.

use std::ops::Range;

use super::ast::{Kind, Quoting, Script};

/// Replaces the bytes at `pieces`, which are in order and begin inside `quoting`, so that the shell reads `value` there;
/// an empty value removes them. Quotes and line continuations between two pieces stay, because what follows may stand in
/// them; anything else there goes. `None` where that quoting cannot hold the value, or the pieces are not in order.
pub fn respell(text: &[u8], pieces: &[Range<usize>], quoting: Quoting, value: &str) -> Option<Vec<u8>> {
    let spelled = match quoting {
        Quoting::Single if value.contains('\'') => return None,
        Quoting::Single => value.to_owned(),
        Quoting::Double => double_quoted(value),
        Quoting::Bare => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-+./:,=@%^".contains(c) || !c.is_ascii();
            value.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\{c}") }).collect()
        }
    };
    let mut at = pieces.first()?.start;
    let mut edited = text.get(..at)?.to_vec();
    edited.extend_from_slice(spelled.as_bytes());
    for piece in pieces {
        let between = text.get(at..piece.start)?;
        if is_syntax(between) {
            edited.extend_from_slice(between);
        }
        at = piece.end;
    }
    edited.extend_from_slice(text.get(at..)?);
    Some(edited)
}

/// Whether the bytes are quotes and line continuations only.
fn is_syntax(mut bytes: &[u8]) -> bool {
    while let [b'"' | b'\'', rest @ ..] | [b'\\', b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes.is_empty()
}

/// The text as it stands between double quotes.
pub fn double_quoted(value: &str) -> String {
    value.chars().map(|c| if "\\\"$`".contains(c) { format!("\\{c}") } else { c.to_string() }).collect()
}

impl Script {
    /// The text of the value that the last assignment of `name` gives it, quotes included; of commands at the top level
    /// only.
    pub fn last_assignment(&self, name: &str) -> Option<Range<usize>> {
        let commands = self.list.iter().flat_map(|and_or| &and_or.first.commands);
        let assignments = commands.filter_map(|command| match &command.kind {
            Kind::Simple { assignments, words } if words.is_empty() => Some(assignments),
            _ => None,
        });
        let last = assignments.flatten().rfind(|assignment| assignment.name == name)?;
        let start = last.at + name.len() + 1;
        (start <= last.value.span.end).then_some(start..last.value.span.end)
    }
}
