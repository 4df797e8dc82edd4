//! Unified diffs.

use std::collections::BTreeSet;

use similar::{Algorithm, TextDiff};

use crate::plan::FileState;

/// The unified diff of a file; `None` as `before` or `after` means that there is no file.
///
/// Bytes that are not UTF-8 are shown replaced. A difference that lies in line ends only is said in words, because it
/// cannot be seen.
pub fn unified(path: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> String {
    let old = String::from_utf8_lossy(before.unwrap_or_default());
    let new = String::from_utf8_lossy(after.unwrap_or_default());
    let name = |side: Option<&[u8]>| if side.is_some() { path.to_owned() } else { "/dev/null".to_owned() };
    let diff = TextDiff::configure().algorithm(Algorithm::Patience).diff_lines(&*old, &*new);
    let mut text = diff.unified_diff().context_radius(3).header(&name(before), &name(after)).to_string();
    if text.is_empty() {
        text = format!("--- {}\n+++ {}\n", name(before), name(after));
    }
    if old.contains('\r') != new.contains('\r') {
        text.push_str("(carriage returns at line ends differ)\n");
    }
    text
}

/// The unified diff of a file that is put back, with what else differs than its content in words.
pub(crate) fn restored(path: &str, before: &FileState, after: &FileState) -> String {
    let mut text = unified(path, before.bytes(), after.bytes());
    let (
        FileState::File { mode, uid, gid, xattrs, .. },
        FileState::File { mode: new_mode, uid: new_uid, gid: new_gid, xattrs: new_xattrs, .. },
    ) = (before, after)
    else {
        return text;
    };
    if mode != new_mode {
        text.push_str(&format!("(mode {mode:04o} -> {new_mode:04o})\n"));
    }
    if (uid, gid) != (new_uid, new_gid) {
        text.push_str(&format!("(owner {uid}:{gid} -> {new_uid}:{new_gid})\n"));
    }
    let names: BTreeSet<&String> = xattrs.keys().chain(new_xattrs.keys()).collect();
    let differ = names.into_iter().filter(|name| xattrs.get(*name) != new_xattrs.get(*name));
    let differ: Vec<&str> = differ.map(String::as_str).collect();
    if !differ.is_empty() {
        text.push_str(&format!("(extended attributes differ: {})\n", differ.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_new_changed_and_removed_files() {
        assert_eq!(unified("/etc/a", None, Some(b"x\n")), "--- /dev/null\n+++ /etc/a\n@@ -0,0 +1 @@\n+x\n");
        assert_eq!(
            unified("/etc/a", Some(b"x\ny"), Some(b"x\nz")),
            "--- /etc/a\n+++ /etc/a\n@@ -1,2 +1,2 @@\n x\n-y\n\\ No newline at end of file\n+z\n\\ No newline at end of file\n"
        );
        assert!(unified("/etc/a", Some(b"x\n"), None).contains("+++ /dev/null"));
    }
}
