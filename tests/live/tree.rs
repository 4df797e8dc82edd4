//! The file tree behind the reacting /sys and /proc: directories, links and small files in memory.
//!
//! Paths are absolute (`/sys/...`, `/proc/...`). A node that was taken out keeps its number, which is never given to
//! another, so an open file notices that its function has gone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The number of a node; [`ROOT`] is the directory that holds `sys` and `proc`.
pub type Ino = u64;

/// The top directory.
pub const ROOT: Ino = 1;

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    Dir(BTreeMap<String, Ino>),
    Link(String),
    File { bytes: Vec<u8>, mode: u16 },
}

/// A node, its name and the directory that holds it.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub parent: Ino,
    pub kind: Kind,
}

/// The whole tree.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        let root = Node { name: String::new(), parent: ROOT, kind: Kind::Dir(BTreeMap::new()) };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1 }
    }

    /// Takes in a directory of the disk at `at`; what is there already stays.
    pub fn load(&mut self, at: &str, from: &Path) {
        self.put_dir(at);
        let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            let name = entry.file_name().unwrap().to_str().unwrap();
            let path = format!("{at}/{name}");
            let metadata = fs::symlink_metadata(&entry).unwrap();
            if metadata.is_symlink() {
                self.put_link(&path, fs::read_link(&entry).unwrap().to_str().unwrap());
            } else if metadata.is_dir() {
                self.load(&path, &entry);
            } else {
                let mode = (metadata.permissions().mode() & 0o777) as u16;
                self.put_file(&path, fs::read(&entry).unwrap(), mode);
            }
        }
    }

    /// A node by number, `None` once it has been taken out.
    pub fn node(&self, ino: Ino) -> Option<&Node> {
        let node = self.nodes.get(&ino)?;
        let mut above = ino;
        while above != ROOT {
            let child = self.nodes.get(&above)?;
            let Kind::Dir(names) = &self.nodes.get(&child.parent)?.kind else { return None };
            if names.get(&child.name) != Some(&above) {
                return None;
            }
            above = child.parent;
        }
        Some(node)
    }

    /// The number of what stands at `path`, links not followed.
    pub fn find(&self, path: &str) -> Option<Ino> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Kind::Dir(names) = &self.nodes.get(&at)?.kind else { return None };
            at = *names.get(name)?;
        }
        Some(at)
    }

    /// Whether anything stands at `path`, links not followed.
    pub fn exists(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// The path of a node.
    pub fn path(&self, ino: Ino) -> String {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let node = &self.nodes[&at];
            names.push(node.name.as_str());
            at = node.parent;
        }
        names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
    }

    /// Where `path` leads when every link on it is followed.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut done: Vec<String> = Vec::new();
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => drop(done.pop()),
                _ => done.push(name),
            }
            let here = format!("/{}", done.join("/"));
            if let Kind::Link(target) = &self.nodes.get(&self.find(&here)?)?.kind {
                links += 1;
                if links > 40 {
                    return None;
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                todo.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        Some(format!("/{}", done.join("/")))
    }

    /// The names in a directory.
    pub fn list(&self, path: &str) -> Vec<String> {
        let node = self.find(path).map(|ino| &self.nodes[&ino].kind);
        let Some(Kind::Dir(names)) = node else { return Vec::new() };
        names.keys().cloned().collect()
    }

    /// A file's text without its final newline.
    pub fn text(&self, path: &str) -> Option<String> {
        let Kind::File { bytes, .. } = &self.nodes[&self.find(path)?].kind else { return None };
        Some(String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned())
    }

    /// The last component of what a link points at.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let Kind::Link(target) = &self.nodes[&self.find(path)?].kind else { return None };
        target.rsplit('/').next().map(str::to_owned)
    }

    /// Makes a directory and those above it.
    pub fn put_dir(&mut self, path: &str) -> Ino {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Kind::Dir(names) = &self.nodes[&at].kind else { panic!("{path}: not below a directory") };
            at = match names.get(name) {
                Some(ino) => *ino,
                None => self.add(at, name, Kind::Dir(BTreeMap::new())),
            };
        }
        at
    }

    /// Puts a file with this content; one that stands there keeps its number and its mode.
    pub fn put_file(&mut self, path: &str, content: impl Into<Vec<u8>>, new_mode: u16) {
        if let Some(ino) = self.find(path) {
            if let Some(Node { kind: Kind::File { bytes, .. }, .. }) = self.nodes.get_mut(&ino) {
                *bytes = content.into();
            }
            return;
        }
        self.put(path, Kind::File { bytes: content.into(), mode: new_mode });
    }

    /// Sets the mode of a file.
    pub fn set_mode(&mut self, path: &str, new_mode: u16) {
        let Some(ino) = self.find(path) else { return };
        if let Some(Node { kind: Kind::File { mode, .. }, .. }) = self.nodes.get_mut(&ino) {
            *mode = new_mode;
        }
    }

    /// Puts a link, in the place of one that stands there.
    pub fn put_link(&mut self, path: &str, target: &str) {
        self.take(path);
        self.put(path, Kind::Link(target.to_owned()));
    }

    /// Puts a link whose target is the absolute path `to`, written relative as sysfs does.
    pub fn put_relative_link(&mut self, path: &str, to: &str) {
        let (dir, _) = path.rsplit_once('/').unwrap();
        let (from, to): (Vec<_>, Vec<_>) = (dir.split('/').collect(), to.split('/').collect());
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let up = vec![".."; from.len() - common];
        let target: Vec<&str> = up.into_iter().chain(to[common..].iter().copied()).collect();
        self.put_link(path, &target.join("/"));
    }

    /// Takes out what stands at `path`, with all that is below it.
    pub fn take(&mut self, path: &str) -> Option<Ino> {
        let ino = self.find(path)?;
        let Node { name, parent, .. } = self.nodes[&ino].clone();
        let Some(Node { kind: Kind::Dir(names), .. }) = self.nodes.get_mut(&parent) else { return None };
        names.remove(&name);
        Some(ino)
    }

    /// Puts back what was taken out, in the directory that it came from.
    pub fn put_back(&mut self, ino: Ino) {
        let Node { name, parent, .. } = self.nodes[&ino].clone();
        if let Some(Node { kind: Kind::Dir(names), .. }) = self.nodes.get_mut(&parent) {
            names.insert(name, ino);
        }
    }

    fn put(&mut self, path: &str, kind: Kind) {
        let (dir, name) = path.rsplit_once('/').unwrap();
        let parent = self.put_dir(dir);
        self.add(parent, name, kind);
    }

    fn add(&mut self, parent: Ino, name: &str, kind: Kind) -> Ino {
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, Node { name: name.to_owned(), parent, kind });
        let Some(Node { kind: Kind::Dir(names), .. }) = self.nodes.get_mut(&parent) else {
            panic!("{parent} is no directory")
        };
        names.insert(name.to_owned(), ino);
        ino
    }
}
