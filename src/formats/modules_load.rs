//! modules-load.d: the names that systemd-modules-load loads at boot (`modules-load.d(5)`, systemd's `modules-load.c`).

/// The directories, highest first; a file hides those of the same name in later ones (systemd's `CONF_PATHS`). Debian
/// links `/etc/modules-load.d/modules.conf` to `/etc/modules`.
pub const DIRECTORIES: [&str; 5] = [
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
];

/// systemd gives a file up at a line of this length (`LONG_LINE_MAX`).
const LONGEST_LINE: usize = 1024 * 1024;

/// Whether systemd reads a file of this name.
pub fn is_config_name(name: &str) -> bool {
    !name.starts_with('.') && name.ends_with(".conf")
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes, the end included.
    pub raw: &'a [u8],
    /// Its number, from 1.
    pub number: u32,
    /// What is loaded: the whole line without blanks at its ends. A comment begins with `#` or `;`; behind a name
    /// there are neither comments nor arguments.
    pub module: Option<String>,
}

/// Splits a file into lines; together they are the file, byte for byte.
///
/// As in systemd's `read_line`, a carriage return and a NUL end a line, too.
pub fn lines(bytes: &[u8]) -> Vec<Line<'_>> {
    let mut number = 1;
    let mut given_up = false;
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
    let mut lines = Vec::new();
    for raw in bytes.split_inclusive(ends) {
        let text =
            raw.strip_suffix(b"\n").or(raw.strip_suffix(b"\r")).or(raw.strip_suffix(b"\0")).unwrap_or(raw);
        given_up |= text.len() >= LONGEST_LINE;
        let text = String::from_utf8_lossy(text);
        let name = text.trim_matches([' ', '\t', '\n', '\r']);
        let loads = !given_up && !name.is_empty() && !name.starts_with(['#', ';']);
        lines.push(Line { raw, number, module: loads.then(|| name.to_owned()) });
        number += u32::from(raw.ends_with(b"\n"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_whole_line_is_the_name() {
        let found = lines(b"a\nb # c\n  c-d \t\n;x\n#y\r\ncr\rcr2\0nul\n\n\tf  g");
        let names: Vec<(u32, String)> =
            found.into_iter().filter_map(|line| Some((line.number, line.module?))).collect();
        let expected = [(1, "a"), (2, "b # c"), (3, "c-d"), (6, "cr"), (6, "cr2"), (6, "nul"), (8, "f  g")];
        assert_eq!(names, expected.map(|(line, name)| (line, name.to_owned())));
    }

    #[test]
    fn names_of_files() {
        assert!(is_config_name("a.conf") && is_config_name("modules.conf"));
        assert!(!is_config_name(".a.conf") && !is_config_name("a.conf~") && !is_config_name("a"));
    }

    proptest! {
        #[test]
        fn lines_are_the_file(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let rendered: Vec<u8> = lines(&bytes).iter().flat_map(|line| line.raw).copied().collect();
            prop_assert_eq!(rendered, bytes);
        }
    }
}
