//! Files of `[section]` and `key=value` lines: units and `.link` files of systemd (systemd.syntax(7)), keyfiles of
//! NetworkManager, profiles of TuneD.

/// One `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How many sections of the file begin before it: two sections may have one name.
    pub ordinal: usize,
    /// The section's name; empty before the first one.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, without blanks around it and with continued lines joined by a blank.
    pub value: String,
    /// The line that it begins on, from 1.
    pub line: usize,
}

/// The entries of a file. Lines that begin with `#` or `;` are comments, and a backslash at a line's end continues it.
pub fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut section, mut ordinal) = (String::new(), 0);
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            ordinal += 1;
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(open) = whole.strip_suffix('\\') {
            let next = lines.next().map_or("", |(_, next)| next.trim());
            whole = format!("{} {next}", open.trim_end());
        }
        if let Some((key, value)) = whole.split_once('=') {
            entries.push(Entry {
                ordinal,
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
                line: number,
            });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_comments_and_continued_lines() {
        let text = "a=0\n# x=1\n[Link]\n; y=2\n SR-IOVVirtualFunctions = 4 \n[SR-IOV]\nVirtualFunction=0\n\n[SR-IOV]\nx = 1 \\\n  2\nnonsense\nlast=\\";
        let found: Vec<String> = entries(text)
            .into_iter()
            .map(|entry| {
                format!("{} {}:{}={} @{}", entry.ordinal, entry.section, entry.key, entry.value, entry.line)
            })
            .collect();
        assert_eq!(
            found,
            [
                "0 :a=0 @1",
                "1 Link:SR-IOVVirtualFunctions=4 @5",
                "2 SR-IOV:VirtualFunction=0 @7",
                "3 SR-IOV:x=1 2 @10",
                "3 SR-IOV:last= @13",
            ]
        );
    }
}
