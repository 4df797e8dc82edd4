//! What tests of the whole command share: a host tree to work on, the command run on it, and what became of the tree.

// Every test program compiles this module and uses its own part of it.
#![allow(dead_code)]

pub(crate) mod command;
pub(crate) mod described;
pub(crate) mod pci_tree;
pub(crate) mod snapshot;
pub(crate) mod trace;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One of the shipped examples: `host.yaml` and `host/`.
pub(crate) fn example(name: &str) -> PathBuf {
    repository().join("examples").join(name)
}

/// Copies a tree with everything that it is made of: links as links, modes, owners, times, extended attributes.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-aT").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "cannot copy {} to {}", from.display(), to.display());
}

/// A directory with a copy of an example in it: `host/` and `host.yaml`. Gone when this is dropped.
pub(crate) fn workplace(example_name: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a temporary directory");
    let from = example(example_name);
    copy_tree(&from.join("host"), &place.path().join("host"));
    std::fs::copy(from.join("host.yaml"), place.path().join("host.yaml")).expect("the example's document");
    only_ours(&place.path().join("host.yaml"));
    place
}

/// A document that others may write is refused; in a checkout the mode depends on somebody's umask.
pub(crate) fn only_ours(document: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(document, std::fs::Permissions::from_mode(0o644)).expect("a mode");
}
