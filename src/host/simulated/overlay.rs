//! What a simulated host knows that the real one does not: nodes laid over it, keyed by canonical path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::FileKind;
use crate::plan::FileState;

/// What stands at a path of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A regular file with its full state, or an attribute.
    File(FileState),
    /// A directory that hides what the host below has there.
    Directory,
    /// A symbolic link.
    Link(PathBuf),
    /// Nothing: hides what the host below has there.
    Gone,
}

/// The nodes, in the order of their paths: a directory's content follows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Puts a node; a directory that was removed on the way is there again, empty.
    pub(super) fn put(&mut self, path: &Path, node: Node) {
        for above in path.ancestors().skip(1) {
            if self.nodes.get(above) == Some(&Node::Gone) {
                self.nodes.insert(above.to_owned(), Node::Directory);
            }
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Removes a path with all that is below it.
    pub(super) fn remove(&mut self, path: &Path) {
        let below: Vec<PathBuf> = self.below(path).map(|(path, _)| path.to_owned()).collect();
        for path in below {
            self.nodes.remove(&path);
        }
        self.nodes.insert(path.to_owned(), Node::Gone);
    }

    /// Whether the host below must not be asked about `path`: something above it was removed or made anew.
    pub(super) fn hides(&self, path: &Path) -> bool {
        path.ancestors()
            .skip(1)
            .any(|above| matches!(self.nodes.get(above), Some(Node::Gone | Node::Directory)))
    }

    /// The kind of what the overlay has at `path`; a directory is there where something stands in it.
    pub(super) fn kind(&self, path: &Path) -> Option<FileKind> {
        match self.nodes.get(path) {
            Some(Node::File(_)) => Some(FileKind::File),
            Some(Node::Directory) => Some(FileKind::Directory),
            Some(Node::Link(_)) => Some(FileKind::Link),
            Some(Node::Gone) => None,
            None => self.below(path).any(|(_, node)| *node != Node::Gone).then_some(FileKind::Directory),
        }
    }

    /// The names directly in `path` that the overlay adds (`true`) or takes away (`false`).
    pub(super) fn children<'o>(&'o self, path: &'o Path) -> impl Iterator<Item = (&'o str, bool)> {
        self.below(path).filter_map(move |(node, state)| {
            let mut rest = node.strip_prefix(path).ok()?.iter();
            let name = rest.next()?.to_str()?;
            let direct = rest.next().is_none();
            // What is deeper only shows that its directory is there.
            (direct || *state != Node::Gone).then_some((name, *state != Node::Gone))
        })
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Path, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_path(), node))
    }

    fn below<'o>(&'o self, path: &'o Path) -> impl Iterator<Item = (&'o Path, &'o Node)> {
        let from = (std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded);
        self.nodes
            .range::<Path, _>(from)
            .take_while(move |(node, _)| node.starts_with(path))
            .map(|(path, node)| (path.as_path(), node))
    }
}
