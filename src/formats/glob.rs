//! `fnmatch(3)` without flags: how kmod compares aliases and softdep names.

/// Whether `text` matches the shell pattern `pattern`, as `fnmatch(pattern, text, 0)` in the C locale answers.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last `*`, and how much of the text that `*` has swallowed so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        let next = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(_) => one(pattern, p, byte),
            None => None,
        };
        match (next, star) {
            (Some(after), _) => (p, t) = (after, t + 1),
            (None, Some((after, swallowed))) => {
                star = Some((after, swallowed + 1));
                (p, t) = (after, swallowed + 1);
            }
            (None, None) => return false,
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// Matches one byte against the pattern element at `p`; answers where the next element begins.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => match set(pattern, p + 1, byte) {
            Some((true, after)) => Some(after),
            Some((false, _)) => None,
            // A bracket that is never closed stands for itself.
            None => (byte == b'[').then_some(p + 1),
        },
        b'\\' => (*pattern.get(p + 1)? == byte).then_some(p + 2),
        literal => (*literal == byte).then_some(p + 1),
    }
}

/// Reads the set that begins at `start` (behind the bracket): whether it has `byte`, and where it ends.
fn set(pattern: &[u8], start: usize, byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(start), Some(b'!' | b'^'));
    let first = if negated { start + 1 } else { start };
    let mut at = first;
    let mut found = false;
    loop {
        let low = match pattern.get(at)? {
            b']' if at > first => return Some((found != negated, at + 1)),
            b'\\' => {
                at += 1;
                *pattern.get(at)?
            }
            other => *other,
        };
        let high = match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                at += 2;
                *high
            }
            _ => low,
        };
        found |= (low..=high).contains(&byte);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn matches_like_fnmatch() {
        for (pattern, text) in [
            ("pci:v000010DEd*sv*sd*bc03sc00i*", "pci:v000010DEd000011BFsv000010DEsd0000100Dbc03sc00i00"),
            ("a*b*c", "axxbyyc"),
            ("*", ""),
            ("**", "x"),
            ("?b", "ab"),
            ("[a-c]x", "bx"),
            ("[!a]x", "bx"),
            ("[]]", "]"),
            ("[a-]", "-"),
            ("\\*", "*"),
            ("[x", "[x"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "b"),
            ("a*", "b"),
            ("a?", "a"),
            ("[^a]", "a"),
            ("", "a"),
            ("a", ""),
            ("*b", "ac"),
            ("\\*", "x"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
