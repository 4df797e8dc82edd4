//! What tests of the whole command share: a host tree to work on, the command run on it, and what became of the tree.

// Every test program compiles this module and uses its own part of it.
#![allow(dead_code)]

pub(crate) mod calls;
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

/// An initramfs image, not compressed, with the modules and files that a description lists (see `tests/cases.rs`).
pub(crate) fn image(description: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    let (mut release, mut is_unified) = ("6.1.0-37-amd64", false);
    let mut lines = description.lines().peekable();
    while let Some(line) = lines.next() {
        match line.split_once(' ') {
            None if line == "unified" => is_unified = true,
            Some(("release", name)) => release = name,
            Some(("module", name)) => {
                entry(&mut archive, &format!("usr/lib/modules/{release}/kernel/{name}.ko"), b"ELF");
            }
            Some(("file", path)) => {
                let mut content = String::new();
                while let Some(text) = lines.next_if(|next| next.starts_with("  ")) {
                    content.push_str(text.trim_start());
                    content.push('\n');
                }
                entry(&mut archive, path, content.as_bytes());
            }
            _ => assert!(line.is_empty() || line.starts_with('#'), "no line of an image: {line}"),
        }
    }
    entry(&mut archive, "TRAILER!!!", b"");
    if is_unified { unified(&archive) } else { archive }
}

/// A unified kernel image with this initramfs: a PE file, whose sections begin at multiples of 512 bytes.
fn unified(initramfs: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 64];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 64;
    image.extend(b"PE\0\0\x64\x86\x02\0");
    image.resize(64 + 24, 0);
    let sections: [(&[u8; 8], &[u8]); 2] = [(b".linux\0\0", b"MZ"), (b".initrd\0", initramfs)];
    let mut at = 512;
    for (name, content) in sections {
        let filled = content.len().next_multiple_of(512);
        image.extend(name);
        let numbers = [content.len(), 0, filled, at, 0, 0, 0, 0];
        let number = |number: &usize| u32::try_from(*number).expect("a small image").to_le_bytes();
        image.extend(numbers.iter().flat_map(number));
        at += filled;
    }
    for (_, content) in sections {
        image.resize(image.len().next_multiple_of(512), 0);
        image.extend(content);
    }
    image.resize(image.len().next_multiple_of(512), 0);
    image
}

/// One entry of a "newc" archive (cpio(5)).
fn entry(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let numbers = [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    archive.extend(b"070701");
    archive.extend(numbers.iter().flat_map(|number| format!("{number:08x}").into_bytes()));
    archive.extend(name.bytes().chain([0]));
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
