//! `extlinux.conf`, as syslinux and U-Boot's `boot/pxe_utils.c` read it: one `keyword value` per line, `label` begins an
//! entry, keywords in any case.

use std::ops::Range;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// What the menu shows for it.
    pub title: Option<String>,
    /// The kernel that it loads.
    pub kernel: Option<String>,
    /// Where the value of `append` stands.
    pub append: Option<Range<usize>>,
    /// Line of `label`, from 1.
    pub line: usize,
    /// The offset behind its last line that is not blank.
    pub end: usize,
}

/// Every entry, in order.
pub fn labels(text: &[u8]) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
        let end = start + line.len();
        let blank = |byte: &u8| byte.is_ascii_whitespace();
        let from = start + line.iter().take_while(|byte| blank(byte)).count();
        let to = (end - line.iter().rev().take_while(|byte| blank(byte)).count()).max(from);
        let content = text.get(from..to).unwrap_or_default();
        let length = content.iter().take_while(|byte| !blank(byte)).count();
        let gap = content.iter().skip(length).take_while(|byte| blank(byte)).count();
        let keyword = String::from_utf8_lossy(content.get(..length).unwrap_or_default()).to_ascii_lowercase();
        let value = from + length + gap..to;
        let shown = String::from_utf8_lossy(text.get(value.clone()).unwrap_or_default()).into_owned();
        match (keyword.as_str(), labels.last_mut()) {
            ("label", _) => {
                labels.push(Label {
                    name: shown,
                    title: None,
                    kernel: None,
                    append: None,
                    line: number,
                    end,
                });
            }
            ("linux" | "kernel", Some(label)) => label.kernel = Some(shown),
            ("append", Some(label)) => label.append = Some(value),
            ("menu", Some(label)) => {
                if let Some(title) = shown.strip_prefix("label ").or(shown.strip_prefix("LABEL ")) {
                    label.title = Some(title.trim().to_owned());
                }
            }
            _ => {}
        }
        if let (false, Some(label)) = (content.is_empty() || content.starts_with(b"#"), labels.last_mut()) {
            label.end = end;
        }
        start = end;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_in_any_case() {
        let text = b"## c\ndefault l0\n\nLABEL l0\n\tMENU LABEL Debian 6.1\n\tlinux /vmlinuz\n\tappend root=a ro  quiet \n\nlabel m\n kernel /memtest\n";
        let labels = labels(text);
        assert_eq!(labels.len(), 2);
        assert_eq!(labels[0].append.clone().map(|range| &text[range]), Some(&b"root=a ro  quiet"[..]));
        assert_eq!((labels[0].kernel.as_deref(), labels[0].line), (Some("/vmlinuz"), 4));
        assert_eq!((labels[1].kernel.as_deref(), labels[1].append.clone()), (Some("/memtest"), None));
    }
}
