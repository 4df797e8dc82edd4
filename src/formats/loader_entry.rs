//! Entries of the boot loader specification, type 1: `loader/entries/*.conf`.
//!
//! One `key value` per line, `#` begins a comment line; of the keys only `options` may come several times, and then its
//! values are joined by a blank (systemd's `boot/efi/boot.c` and `shared/bootspec.c`, GRUB's `blscfg.c`).

use std::ops::Range;

/// One line with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key.
    pub key: String,
    /// Where the value stands, without blanks around it.
    pub value: Range<usize>,
    /// The whole line, with its line end.
    pub line: Range<usize>,
}

/// Every field, in order.
pub fn fields(text: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let end = start + line.len();
        let blank = |byte: &u8| byte.is_ascii_whitespace();
        let from = start + line.iter().take_while(|byte| blank(byte)).count();
        let to = end - line.iter().rev().take_while(|byte| blank(byte)).count();
        let content = text.get(from..to.max(from)).unwrap_or_default();
        if !content.is_empty() && content.first() != Some(&b'#') {
            let key = content.iter().take_while(|byte| !blank(byte)).count();
            let gap = content.iter().skip(key).take_while(|byte| blank(byte)).count();
            let name = String::from_utf8_lossy(content.get(..key).unwrap_or_default()).into_owned();
            fields.push(Field {
                key: name,
                value: from + key + gap..to.max(from + key + gap),
                line: start..end,
            });
        }
        start = end;
    }
    fields
}

/// The first value of a key.
pub fn value(text: &[u8], key: &str) -> Option<String> {
    let field = fields(text).into_iter().find(|field| field.key == key)?;
    Some(String::from_utf8_lossy(text.get(field.value)?).into_owned())
}

/// A file's name without `.conf` and without the counter of a boot assessment: `NAME+LEFT[-DONE].conf`. `None` for a file
/// that is no entry.
pub fn id(file_name: &str) -> Option<&str> {
    let stem = file_name.strip_suffix(".conf").filter(|stem| !stem.is_empty() && !stem.starts_with('.'))?;
    let counted = stem.rsplit_once('+').filter(|(_, counter)| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match counter.split_once('-') {
            Some((left, done)) => digits(left) && digits(done),
            None => digits(counter),
        }
    });
    Some(counted.map_or(stem, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_key_and_value() {
        let text = b"# c\ntitle  Fedora Linux (6.5)\r\n\toptions root=a  ro \noptions\nlinux\t/vmlinuz";
        let read: Vec<(String, String)> = fields(text)
            .into_iter()
            .map(|field| (field.key, String::from_utf8_lossy(&text[field.value]).into_owned()))
            .collect();
        let expected = [
            ("title", "Fedora Linux (6.5)"),
            ("options", "root=a  ro"),
            ("options", ""),
            ("linux", "/vmlinuz"),
        ];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(value(text, "linux").as_deref(), Some("/vmlinuz"));
    }

    #[test]
    fn counters_are_no_part_of_the_id() {
        let cases = [
            ("a.conf", Some("a")),
            ("a+3.conf", Some("a")),
            ("a+3-0.conf", Some("a")),
            ("a+b.conf", Some("a+b")),
            ("6.1.0+1-amd64.conf", Some("6.1.0+1-amd64")),
            ("a.conf.bak", None),
            (".conf", None),
        ];
        for (name, expected) in cases {
            assert_eq!(id(name), expected, "{name}");
        }
    }
}
