//! Everything that can be seen of a tree, before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a directory entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
    Other,
}

/// What the kernel tells about an entry beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) inode: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) ctime: (i64, i64),
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) content: Content,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) stamp: Stamp,
}

/// How an entry differs between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    Added,
    Removed,
    /// Bytes, link target, kind, mode or owner.
    Changed,
    /// Only times or the inode.
    Touched,
}

/// A whole tree; paths are relative to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(pub(crate) BTreeMap<PathBuf, Entry>);

impl Snapshot {
    /// Reads the tree at `root`, itself included (as the empty path).
    pub(crate) fn of(root: &Path) -> Self {
        let mut entries = BTreeMap::new();
        collect(root, Path::new(""), &mut entries);
        Self(entries)
    }

    /// What is different in `later`, times and inodes included.
    pub(crate) fn differences(&self, later: &Self) -> BTreeMap<PathBuf, Difference> {
        let removed = self.0.keys().filter(|path| !later.0.contains_key(*path));
        let mut found: BTreeMap<PathBuf, Difference> =
            removed.map(|path| (path.clone(), Difference::Removed)).collect();
        for (path, after) in &later.0 {
            match self.0.get(path) {
                None => drop(found.insert(path.clone(), Difference::Added)),
                Some(before) if before == after => {}
                Some(before) => {
                    let same = Entry { stamp: after.stamp, ..before.clone() } == *after;
                    let difference = if same { Difference::Touched } else { Difference::Changed };
                    found.insert(path.clone(), difference);
                }
            }
        }
        found
    }

    /// What is different in `later` apart from times and inodes.
    pub(crate) fn changes(&self, later: &Self) -> BTreeMap<PathBuf, Difference> {
        let mut found = self.differences(later);
        found.retain(|_, difference| *difference != Difference::Touched);
        found
    }

    /// The snapshot without what lies below these directories, and without the directories themselves.
    pub(crate) fn without(&self, directories: &[&str]) -> Self {
        let mut kept = self.0.clone();
        kept.retain(|path, _| !directories.iter().any(|directory| path.starts_with(directory)));
        Self(kept)
    }
}

fn collect(root: &Path, relative: &Path, entries: &mut BTreeMap<PathBuf, Entry>) {
    let path = root.join(relative);
    let metadata = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let kind = metadata.file_type();
    let content = if kind.is_dir() {
        Content::Directory
    } else if kind.is_symlink() {
        Content::Link(fs::read_link(&path).expect("a link's target"))
    } else if kind.is_file() {
        Content::File(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    } else {
        Content::Other
    };
    let is_directory = content == Content::Directory;
    let entry = Entry {
        content,
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        stamp: Stamp {
            inode: metadata.ino(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        },
    };
    entries.insert(relative.to_owned(), entry);
    if is_directory {
        for child in fs::read_dir(&path).expect("a directory") {
            let name = child.expect("a directory entry").file_name();
            collect(root, &relative.join(name), entries);
        }
    }
}
