//! A host that is asked each question once: for as long as nobody writes to it, the first answer holds.
//!
//! One observation looks at the same files for many reasons: what boots decides about arguments, initramfs and guards;
//! a function is read for its own sake and as a member of a group. With this between them and the host they may all ask,
//! each file is read once, and all of them have seen the same host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::{FileKind, HostError, Needs, Reach, ReadHost, StuckWrite};
use crate::initramfs::Image;
use crate::plan::FileState;

/// The answers to one kind of question, by path.
#[derive(Debug)]
struct Answers<T>(RefCell<BTreeMap<OsString, T>>);

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Clone> Answers<T> {
    /// The known answer, else what `ask` says. A question that was not answered is asked again.
    fn once(&self, path: &Path, ask: impl FnOnce() -> Result<T, HostError>) -> Result<T, HostError> {
        if let Some(known) = self.0.borrow().get(path.as_os_str()) {
            return Ok(known.clone());
        }
        let answer = ask()?;
        self.0.borrow_mut().insert(path.as_os_str().to_owned(), answer.clone());
        Ok(answer)
    }
}

/// Reads through to another host, and keeps what that answers.
pub struct CachedHost<'a> {
    host: &'a dyn ReadHost,
    contents: Answers<Option<Vec<u8>>>,
    states: Answers<FileState>,
    kinds: Answers<Option<FileKind>>,
    links: Answers<Option<PathBuf>>,
    names: Answers<Option<Vec<String>>>,
}

impl<'a> CachedHost<'a> {
    /// Nothing has been asked yet.
    pub fn new(host: &'a dyn ReadHost) -> Self {
        Self {
            host,
            contents: Answers::default(),
            states: Answers::default(),
            kinds: Answers::default(),
            links: Answers::default(),
            names: Answers::default(),
        }
    }
}

impl fmt::Debug for CachedHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedHost").finish_non_exhaustive()
    }
}

impl ReadHost for CachedHost<'_> {
    fn locks_met(&self) -> Vec<StuckWrite> {
        self.host.locks_met()
    }

    fn reach(&self) -> Reach {
        self.host.reach()
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.contents.once(path, || self.host.read(path))
    }

    fn file_state(&self, path: &Path) -> Result<FileState, HostError> {
        self.states.once(path, || self.host.file_state(path))
    }

    fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError> {
        self.kinds.once(path, || self.host.kind(path))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.links.once(path, || self.host.read_link(path))
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        self.names.once(path, || self.host.list(path))
    }

    fn image(&self, path: &Path) -> Result<Option<Rc<Image>>, HostError> {
        self.host.image(path)
    }

    fn needs(&self) -> Option<Arc<Needs>> {
        self.host.needs()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A host that answers every question by how many were asked, and refuses the first.
    #[derive(Default)]
    struct Counting(Cell<usize>);

    impl Counting {
        fn asked(&self, path: &Path) -> Result<String, HostError> {
            self.0.set(self.0.get() + 1);
            match self.0.get() {
                1 => Err(HostError::new("read", path, std::io::Error::from(std::io::ErrorKind::TimedOut))),
                nth => Ok(nth.to_string()),
            }
        }
    }

    impl ReadHost for Counting {
        fn reach(&self) -> Reach {
            Reach::Tree
        }
        fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
            self.asked(path).map(|text| Some(text.into_bytes()))
        }
        fn file_state(&self, path: &Path) -> Result<FileState, HostError> {
            self.asked(path).map(|_| FileState::Absent)
        }
        fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError> {
            self.asked(path).map(|_| None)
        }
        fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
            self.asked(path).map(|text| Some(text.into()))
        }
        fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
            self.asked(path).map(|text| Some(vec![text]))
        }
    }

    #[test]
    fn each_question_is_asked_until_it_is_answered_and_then_never_again() {
        let counting = Counting::default();
        let host = CachedHost::new(&counting);
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        assert!(host.text(a).is_err());
        for _ in 0..2 {
            assert_eq!(host.text(a).unwrap().as_deref(), Some("2"));
            assert_eq!(host.text(b).unwrap().as_deref(), Some("3"));
            assert_eq!(host.link_name(a).unwrap().as_deref(), Some("4"));
            assert_eq!(host.list(a).unwrap(), Some(vec!["5".to_owned()]));
            // What is not there is an answer, too.
            assert!(!host.exists(a).unwrap());
            assert_eq!(host.file_state(a).unwrap(), FileState::Absent);
        }
        assert_eq!(counting.0.get(), 7);
    }
}
