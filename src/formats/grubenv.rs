//! GRUB's environment block: 1024 bytes of `NAME=VALUE` lines, filled up with `#`.
//!
//! The rules are those of `grub-core/lib/envblk.c`: a fixed first line, a backslash before backslashes and line ends in
//! values, lines that begin with `#` are comments.

use std::ops::Range;

const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where its value stands, as it is written.
    pub value: Range<usize>,
}

/// The block's variables; `None` where it is no environment block.
pub fn variables(block: &[u8]) -> Option<Vec<Variable>> {
    let mut at = block.starts_with(SIGNATURE).then_some(SIGNATURE.len())?;
    let mut variables = Vec::new();
    while let Some(&byte) = block.get(at) {
        let mut end = at;
        while let Some(&byte) = block.get(end) {
            match byte {
                b'\\' => end += 2,
                b'\n' => break,
                _ => end += 1,
            }
        }
        let end = end.min(block.len());
        let line = block.get(at..end).unwrap_or_default();
        if byte != b'#'
            && let Some(equals) = line.iter().position(|&byte| byte == b'=')
        {
            let name = String::from_utf8_lossy(line.get(..equals).unwrap_or_default()).into_owned();
            variables.push(Variable { name, value: at + equals + 1..end });
        }
        at = end + 1;
    }
    Some(variables)
}

/// The value of a variable without the escapes.
pub fn value(block: &[u8], name: &str) -> Option<Vec<u8>> {
    let variable = variables(block)?.into_iter().find(|variable| variable.name == name)?;
    let mut value = Vec::new();
    let mut bytes = block.get(variable.value)?.iter();
    while let Some(&byte) = bytes.next() {
        value.extend(if byte == b'\\' { bytes.next().copied() } else { Some(byte) });
    }
    Some(value)
}

/// The block with another text in the place of a part of it, in the size that it had; `None` where that has no room.
pub fn resized(block: &[u8], size: usize) -> Option<Vec<u8>> {
    let content = block.iter().rposition(|&byte| byte != b'#').map_or(0, |last| last + 1);
    let mut resized = block.get(..content)?.to_vec();
    if content > size {
        return None;
    }
    resized.resize(size, b'#');
    Some(resized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_with_their_escapes() {
        let block = b"# GRUB Environment Block\n# WARNING: Do not edit\nsaved_entry=a-1\nkernelopts=root=a ro b\\\\c \nx=1\\\ny\n####";
        let names: Vec<String> =
            variables(block).unwrap().into_iter().map(|variable| variable.name).collect();
        assert_eq!(names, ["saved_entry", "kernelopts", "x"]);
        assert_eq!(value(block, "kernelopts").unwrap(), b"root=a ro b\\c ");
        assert_eq!(value(block, "x").unwrap(), b"1\ny");
        assert_eq!(variables(b"saved_entry=a\n"), None);
    }

    #[test]
    fn the_size_stays() {
        let block = b"# GRUB Environment Block\na=1\n#########";
        assert_eq!(resized(block, block.len()).unwrap(), block);
        assert_eq!(
            resized(b"# GRUB Environment Block\na=1234\n#########", block.len()).unwrap().len(),
            block.len()
        );
        assert_eq!(
            resized(b"# GRUB Environment Block\na=12345678901234567890\n#########", block.len()),
            None
        );
    }
}
