//! What a run did to the machine, seen from outside and in one order: attribute writes and commands come from the
//! reacting kernel, file changes from inotify, whose queue is emptied before each of those is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write to an attribute, its path without links, and the kernel's answer; `None` while there is none.
    Attribute { path: String, value: String, answer: Option<Result<(), Errno>> },
    /// A command with its arguments, and whether it succeeded.
    Command { argv: Vec<String>, success: bool },
    /// A file that now has another content, or none.
    File { path: String, gone: bool },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute { path, value, answer } => {
                write!(f, "attribute {path} {value}")?;
                match answer {
                    Some(Ok(())) => Ok(()),
                    Some(Err(errno)) => write!(f, " -> {errno:?}"),
                    None => write!(f, " -> no answer"),
                }
            }
            Self::Command { argv, success } => {
                write!(f, "command {}{}", argv.join(" "), if *success { "" } else { " -> failed" })
            }
            Self::File { path, gone } => write!(f, "file {path}{}", if *gone { " gone" } else { "" }),
        }
    }
}

/// Watches every directory of the machine's tree for files that change.
#[derive(Debug)]
pub struct FileWatch {
    inotify: Inotify,
    root: PathBuf,
    directories: BTreeMap<WatchDescriptor, PathBuf>,
    /// Files that came into being while being watched, and have not been counted as a change yet.
    fresh: BTreeSet<PathBuf>,
}

/// Not configuration: the machine's own file systems, what the product keeps for itself, what this harness put there.
const UNWATCHED: [&str; 7] = ["sys", "proc", "dev", "run", "tmp", ".live", "var/lib/reconcile"];

impl FileWatch {
    /// Watches the tree at `root`.
    pub fn new(root: &Path) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        let mut watch =
            Self { inotify, root: root.to_owned(), directories: BTreeMap::new(), fresh: BTreeSet::new() };
        watch.add(Path::new(""), None);
        watch
    }

    /// The file changes since the last call. A temporary file that comes and goes is none.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut changes = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                let (Some(above), Some(name)) = (self.directories.get(&event.wd), event.name) else {
                    continue;
                };
                let relative = above.join(name);
                let created = event.mask.contains(AddWatchFlags::IN_CREATE);
                let gone = event.mask.intersects(AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM);
                if event.mask.contains(AddWatchFlags::IN_ISDIR) {
                    if created || event.mask.contains(AddWatchFlags::IN_MOVED_TO) {
                        self.add(&relative, Some(&mut changes));
                    }
                } else if created {
                    self.fresh.insert(relative);
                } else if gone && self.fresh.remove(&relative) {
                    forget(&mut changes, &relative);
                } else {
                    push(&mut changes, &relative, gone);
                }
            }
        }
        self.fresh.clear();
        changes
    }

    /// Watches a directory and those below it; `found` takes the files that were there before the watch was.
    fn add(&mut self, relative: &Path, mut found: Option<&mut Vec<Event>>) {
        if UNWATCHED.iter().any(|name| relative == Path::new(name)) {
            return;
        }
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        let Ok(wd) = self.inotify.add_watch(&self.root.join(relative), flags) else { return };
        self.directories.insert(wd, relative.to_owned());
        let mut entries: Vec<_> =
            fs::read_dir(self.root.join(relative)).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let below = relative.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.add(&below, found.as_deref_mut()),
                Ok(kind) if kind.is_file() => {
                    if let Some(found) = &mut found {
                        push(found, &below, false);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Several events of one file are one change, at the place of the last.
fn push(changes: &mut Vec<Event>, relative: &Path, gone: bool) {
    forget(changes, relative);
    changes.push(Event::File { path: absolute(relative), gone });
}

fn forget(changes: &mut Vec<Event>, relative: &Path) {
    let path = absolute(relative);
    changes.retain(|event| !matches!(event, Event::File { path: earlier, .. } if *earlier == path));
}

fn absolute(relative: &Path) -> String {
    format!("/{}", relative.display())
}
