//! Changing one piece of one value where it was written.

use std::ops::Range;

use super::ast::Quoting;

/// Replaces the bytes at `span`, which stand inside `quoting`, so that the shell reads `value` there; an empty value
/// removes them. `None` where that quoting cannot hold the value.
pub fn respell(text: &[u8], span: Range<usize>, quoting: Quoting, value: &str) -> Option<Vec<u8>> {
    let spelled = match quoting {
        Quoting::Single if value.contains('\'') => return None,
        Quoting::Single => value.to_owned(),
        Quoting::Double => double_quoted(value),
        Quoting::Bare => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-+./:,=@%^".contains(c) || !c.is_ascii();
            value.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\{c}") }).collect()
        }
    };
    let mut edited = text.get(..span.start)?.to_vec();
    edited.extend_from_slice(spelled.as_bytes());
    edited.extend_from_slice(text.get(span.end..)?);
    Some(edited)
}

/// The text as it stands between double quotes.
pub fn double_quoted(value: &str) -> String {
    value.chars().map(|c| if "\\\"$`".contains(c) { format!("\\{c}") } else { c.to_string() }).collect()
}
