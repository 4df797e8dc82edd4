//! Builds a host tree from a description: one statement per line, so that a reviewer sees what a host is made of.
//!
//! `tests/guards/README.md` lists the statements. What a statement lays out (files, relative links, both directions of
//! a stack) is what the kernel shows for such a thing; nothing here knows what the program under test reads.

mod devices;
mod net;
mod system;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use reconcile::host::SimulatedHost;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(String),
    Link(String),
    Directory,
}

/// A tree that is being described.
#[derive(Debug, Default)]
pub(crate) struct Described {
    nodes: BTreeMap<String, Node>,
    /// Directories in sysfs by the name that statements use: an address, a block device, an interface.
    places: BTreeMap<String, String>,
    /// `8:2` by block device.
    numbers: BTreeMap<String, String>,
    /// The addresses that `give` named last: since the last call of [`Described::lay`].
    pub(crate) given: Vec<String>,
}

/// A statement's words: plain ones in order, `key=value` ones by key.
struct Words<'a> {
    line: &'a str,
    plain: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let (mut plain, mut options) = (Vec::new(), BTreeMap::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) if key.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                    options.insert(key, value);
                }
                _ => plain.push(word),
            }
        }
        Self { line, plain, options }
    }

    /// The nth plain word after the statement's name.
    fn at(&self, position: usize) -> &'a str {
        self.plain.get(position + 1).unwrap_or_else(|| panic!("too few words in: {}", self.line))
    }

    /// The plain word that follows `word`.
    fn after(&self, word: &str) -> Option<&'a str> {
        let position = self.plain.iter().position(|plain| *plain == word)?;
        self.plain.get(position + 1).copied()
    }

    fn option(&self, key: &str) -> Option<&'a str> {
        self.options.get(key).copied()
    }

    fn list(&self, key: &str) -> Vec<&'a str> {
        self.option(key).map(|list| list.split(',').collect()).unwrap_or_default()
    }

    fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }
}

impl Described {
    /// Writes the tree into the directory `root`.
    pub(crate) fn write(&self, root: &Path) {
        fs::create_dir_all(root).expect("the tree's root");
        for (path, node) in &self.nodes {
            let real = root.join(path.trim_start_matches('/'));
            let parent = real.parent().expect("a directory");
            fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
            let made = match node {
                Node::File(text) => fs::write(&real, text),
                Node::Link(target) => symlink(target, &real),
                Node::Directory => fs::create_dir_all(&real),
            };
            made.unwrap_or_else(|error| panic!("{}: {error}", real.display()));
        }
    }

    /// Lays the tree over a host in memory.
    pub(crate) fn put(&self, host: &mut SimulatedHost<'_>) {
        for (path, node) in &self.nodes {
            match node {
                Node::File(text) => host.put_file(path, text.as_str()),
                Node::Link(target) => host.put_link(path, target),
                Node::Directory => host.put_directory(path),
            }
        }
    }

    /// Lays a description over what is there; `bases` is the directory of the named base trees.
    pub(crate) fn lay(&mut self, text: &str, bases: &Path) {
        let mut lines = text.lines().peekable();
        let mut given = Vec::new();
        while let Some(line) = lines.next() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(path) = line.strip_suffix(':').filter(|path| path.starts_with('/')) {
                let mut content = String::new();
                while let Some(text) = lines.next_if(|next| next.starts_with('|')) {
                    let _ = writeln!(content, "{}", text[1..].strip_prefix(' ').unwrap_or(&text[1..]));
                }
                self.file(path, &content);
                continue;
            }
            let words = Words::of(line);
            match words.plain.first().copied().unwrap_or_default() {
                "base" => {
                    let path = bases.join(words.at(0));
                    let base = fs::read_to_string(&path)
                        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                    self.lay(&base, bases);
                }
                "give" => given.extend(words.plain[1..].iter().map(|word| (*word).to_owned())),
                "-" => self.remove(words.at(0)),
                "without" => self.without(words.at(0), &words.plain[2..].join(" ")),
                "function" => self.function(&words),
                "vf" => self.vf(&words),
                "block" => self.block(&words),
                "partition" => self.partition(&words),
                "stack" => self.stack(&words),
                "net" => self.net(&words),
                "address" => self.address(&words),
                "route" => self.route(&words),
                "mount" => self.mount(&words),
                "swap" => self.swap(&words),
                "udev" => self.udev(&words),
                "process" => self.process(&words),
                "fd" => self.fd(&words),
                "env" => self.env(&words),
                _ => self.plain_file(line),
            }
        }
        if !given.is_empty() {
            self.given = given;
        }
    }

    /// `/path = text`, `/path += text`, `/path -> target`, `/path/`.
    fn plain_file(&mut self, line: &str) {
        assert!(line.starts_with('/'), "no statement: {line}");
        if let Some((path, text)) = line.split_once(" += ") {
            self.append(path, text);
        } else if let Some((path, text)) = line.split_once(" = ") {
            self.file(path, &format!("{text}\n"));
        } else if let Some((path, target)) = line.split_once(" -> ") {
            self.link(path, target);
        } else if line.ends_with('/') {
            self.directory(line);
        } else {
            panic!("no statement: {line}");
        }
    }

    /// `/@sda/size`: a path below the directory of something that was described.
    fn expanded(&self, path: &str) -> String {
        let Some(rest) = path.strip_prefix("/@") else { return path.to_owned() };
        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
        format!("{}/{rest}", self.place(name))
    }

    fn set(&mut self, path: &str, node: Node) {
        let path = self.expanded(path);
        self.nodes.insert(path.trim_end_matches('/').to_owned(), node);
    }

    fn text(&self, path: &str) -> Option<&str> {
        match self.nodes.get(&self.expanded(path)) {
            Some(Node::File(text)) => Some(text),
            _ => None,
        }
    }

    fn file(&mut self, path: &str, content: &str) {
        self.set(path, Node::File(content.to_owned()));
    }

    fn append(&mut self, path: &str, line: &str) {
        let before = self.text(path).unwrap_or_default();
        let content = format!("{before}{line}\n");
        self.file(path, &content);
    }

    fn directory(&mut self, path: &str) {
        self.set(path, Node::Directory);
    }

    fn link(&mut self, path: &str, target: &str) {
        self.set(path, Node::Link(target.to_owned()));
    }

    /// A link as sysfs has them: relative, to a directory given from the root.
    fn sys_link(&mut self, path: &str, target: &str) {
        let depth = path.trim_matches('/').split('/').count() - 1;
        self.link(path, &format!("{}{}", "../".repeat(depth), target.trim_start_matches('/')));
    }

    /// Takes away what stands at a path, and everything below it.
    fn remove(&mut self, path: &str) {
        let path = self.expanded(path);
        let below = format!("{}/", path.trim_end_matches('/'));
        let before = self.nodes.len();
        self.nodes.retain(|known, _| *known != path && !known.starts_with(&below));
        assert!(self.nodes.len() < before, "nothing stands at {path}");
    }

    /// Takes the lines with `text` out of a file; there must be one.
    fn without(&mut self, path: &str, text: &str) {
        let before = self.text(path).unwrap_or_else(|| panic!("no file {path}"));
        let kept: Vec<&str> = before.lines().filter(|line| !line.contains(text)).collect();
        assert!(kept.len() < before.lines().count(), "{path} has no line with {text}");
        let content: String = kept.iter().map(|line| format!("{line}\n")).collect();
        self.file(path, &content);
    }

    /// The directory of something described, as `/sys/devices/...`. A path below it may follow.
    fn place(&self, name: &str) -> String {
        let (name, rest) = name.split_once('/').unwrap_or((name, ""));
        let place = self.places.get(name).unwrap_or_else(|| panic!("{name} is not described"));
        if rest.is_empty() { place.clone() } else { format!("{place}/{rest}") }
    }
}
