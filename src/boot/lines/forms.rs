//! Where in a file its command lines stand.

use std::ops::Range;

use super::Held;
use crate::formats::loader_entry;

/// Each line of the text, without its line end.
fn text_lines(text: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    text.split_inclusive(|&byte| byte == b'\n').map(move |line| {
        let content = line.iter().rev().skip_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let range = start..start + content;
        start += line.len();
        range
    })
}

/// `/etc/kernel/cmdline` as kernel-install reads it: all lines but comments.
pub(in crate::boot) fn whole(text: &[u8]) -> Vec<Held> {
    let is_comment = |line: &Range<usize>| {
        let bytes = text.get(line.clone()).unwrap_or_default();
        bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'#')
    };
    let pieces = text_lines(text).filter(|line| !line.is_empty() && !is_comment(line)).collect();
    vec![Held {
        pieces,
        new: (text.len(), if text.is_empty() || text.ends_with(b"\n") { "" } else { "\n" }, "\n"),
    }]
}

/// `/etc/kernel/cmdline` as Proxmox reads it: the first line.
pub(in crate::boot) fn first_line(text: &[u8]) -> Vec<Held> {
    vec![Held { pieces: text_lines(text).take(1).collect(), new: (0, "", "\n") }]
}

/// The `options` of a loader entry.
pub(in crate::boot) fn options(text: &[u8]) -> Vec<Held> {
    let fields = loader_entry::fields(text).into_iter().filter(|field| field.key == "options");
    let pieces = fields.map(|field| field.value).collect();
    vec![Held {
        pieces,
        new: (text.len(), if text.ends_with(b"\n") { "options " } else { "\noptions " }, "\n"),
    }]
}
