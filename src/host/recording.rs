//! A host read through, with a record of what was read: what a plan was made from, so that a later run can tell
//! whether the plan still fits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{FileKind, HostError, Reach, ReadHost, StuckWrite};
use crate::initramfs::Image;
use crate::plan::{FileState, Reason};

/// A value of at most so many bytes is recorded as it is, a longer one by its hash.
const SHORT: usize = 64;

/// Of /proc only these stay as they are while a machine runs. What is concluded from the others (modules, mounts, routes,
/// processes) shows in the plan itself.
const STEADY_IN_PROC: [&str; 2] = ["/proc/cmdline", "/proc/sys/kernel/osrelease"];

/// Places whose content is a run's own, or changes from one moment to the next.
const UNSTEADY: [&str; 6] = ["/proc", "/run", "/dev", "/var/lib/reconcile", "/sys/module", "/sys/class/net"];

/// Attributes of interfaces and devices that change by themselves.
const UNSTEADY_ATTRIBUTES: [&str; 7] =
    ["flags", "operstate", "carrier", "speed", "refcnt", "uevent", "runtime_status"];

/// What was asked about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Content,
    Owner,
    Kind,
    Link,
    Names,
}

/// The answers that a plan was made from, by path; what changes by itself is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<String, BTreeMap<Question, Option<String>>>);

impl Inputs {
    fn note(&mut self, path: &Path, question: Question, answer: Option<String>) {
        if is_steady(path) {
            let answers = self.0.entry(path.to_string_lossy().into_owned()).or_default();
            answers.entry(question).or_insert(answer);
        }
    }

    fn has(&self, path: &Path, question: Question) -> bool {
        self.0.get(path.to_string_lossy().as_ref()).is_some_and(|answers| answers.contains_key(&question))
    }

    /// What is no longer as it was, one reason for each path.
    pub fn changed(&self, now: &Self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (path, before) in &self.0 {
            // A question that is no longer asked has another answer as its cause, which is told.
            let Some(after) = now.0.get(path) else { continue };
            let differs = |(question, before): (&Question, &Option<String>)| {
                let after = after.get(question)?;
                (before != after).then(|| told(*question, before.as_deref(), after.as_deref()))
            };
            let differences: Vec<String> = before.iter().filter_map(differs).collect();
            if let Some(first) = differences.first() {
                reasons.push(Reason::new("input-changed", format!("{path} {first}")));
            }
        }
        reasons
    }
}

/// How an answer differs, in words that follow the path.
fn told(question: Question, before: Option<&str>, after: Option<&str>) -> String {
    let is_hash = |text: &str| text.starts_with("sha256:");
    match (question, before, after) {
        (_, None, Some(_)) => "was not there and is there now".to_owned(),
        (_, Some(_), None) => "was there and is gone".to_owned(),
        (_, Some(before), Some(after)) if !is_hash(before) && !is_hash(after) => {
            format!("was {before:?} and is {after:?} now")
        }
        (Question::Names, ..) => "holds other names now".to_owned(),
        _ => "has another content now".to_owned(),
    }
}

fn is_steady(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    STEADY_IN_PROC.iter().any(|steady| path == Path::new(steady))
        || !(UNSTEADY.iter().any(|top| path.starts_with(top))
            || path.starts_with("/sys") && UNSTEADY_ATTRIBUTES.contains(&name))
}

/// The value itself where it is short text, else its hash.
fn digest(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= SHORT && !text.trim_end().contains(char::is_control) => {
            text.trim_end().to_owned()
        }
        _ => format!("sha256:{}", sha256(bytes)),
    }
}

/// The hash of some bytes, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads through to another host and keeps what that answers.
pub struct RecordingHost<'a> {
    host: &'a dyn ReadHost,
    inputs: RefCell<Inputs>,
}

impl<'a> RecordingHost<'a> {
    /// Nothing has been read yet.
    pub fn new(host: &'a dyn ReadHost) -> Self {
        Self { host, inputs: RefCell::default() }
    }

    /// What has been read so far.
    pub fn inputs(&self) -> Inputs {
        self.inputs.borrow().clone()
    }

    fn note<T>(
        &self,
        path: &Path,
        question: Question,
        answer: Result<T, HostError>,
        tell: impl FnOnce(&T) -> Option<String>,
    ) -> Result<T, HostError> {
        let told = match &answer {
            Ok(value) => tell(value),
            Err(error) => Some(format!("{error}: {}", error.source)),
        };
        self.inputs.borrow_mut().note(path, question, told);
        answer
    }
}

impl fmt::Debug for RecordingHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingHost").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl ReadHost for RecordingHost<'_> {
    fn locks_met(&self) -> Vec<StuckWrite> {
        self.host.locks_met()
    }

    fn reach(&self) -> Reach {
        self.host.reach()
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        let tell = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(digest);
        self.note(path, Question::Content, self.host.read(path), tell)
    }

    fn file_state(&self, path: &Path) -> Result<FileState, HostError> {
        let state = self
            .note(path, Question::Content, self.host.file_state(path), |state| state.bytes().map(digest))?;
        if let FileState::File { mode, uid, gid, .. } = &state {
            self.inputs.borrow_mut().note(path, Question::Owner, Some(format!("{mode:04o} {uid}:{gid}")));
        }
        Ok(state)
    }

    fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError> {
        let tell = |kind: &Option<FileKind>| kind.map(|kind| format!("{kind:?}").to_lowercase());
        self.note(path, Question::Kind, self.host.kind(path), tell)
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        let tell = |link: &Option<PathBuf>| link.as_ref().map(|link| link.display().to_string());
        self.note(path, Question::Link, self.host.read_link(path), tell)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        let tell =
            |names: &Option<Vec<String>>| names.as_ref().map(|names| digest(names.join(" ").as_bytes()));
        self.note(path, Question::Names, self.host.list(path), tell)
    }

    fn image(&self, path: &Path) -> Result<Option<Rc<Image>>, HostError> {
        // Its bytes are the input, read once; what they unpack to is the host's to remember.
        if !self.inputs.borrow().has(path, Question::Content) {
            self.read(path)?;
        }
        self.host.image(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{EmptyHost, SimulatedHost};

    fn recorded(content: &[(&str, &str)]) -> Inputs {
        let empty = EmptyHost(Reach::Machine);
        let mut host = SimulatedHost::new(&empty);
        host.put_file("/etc/present", "x");
        for (path, text) in content {
            host.put_file(path, *text);
        }
        let recording = RecordingHost::new(&host);
        for path in
            ["/etc/a", "/etc/b", "/proc/modules", "/proc/cmdline", "/sys/x/operstate", "/sys/x/numvfs"]
        {
            let _ = recording.read(Path::new(path));
        }
        let _ = recording.list(Path::new("/etc"));
        recording.inputs()
    }

    fn changes(before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<String> {
        recorded(before).changed(&recorded(after)).into_iter().map(|reason| reason.text).collect()
    }

    #[test]
    fn what_changed_is_named_with_its_values_where_they_are_short() {
        let long = "x".repeat(SHORT + 1);
        let longer = "x".repeat(SHORT + 2);
        assert_eq!(changes(&[("/etc/a", "1\n")], &[("/etc/a", "1\n")]), [""; 0]);
        assert_eq!(
            changes(&[("/sys/x/numvfs", "0\n")], &[("/sys/x/numvfs", "4\n")]),
            ["/sys/x/numvfs was \"0\" and is \"4\" now"]
        );
        assert_eq!(changes(&[("/etc/a", &long)], &[("/etc/a", &longer)]), ["/etc/a has another content now"]);
        assert_eq!(
            changes(&[], &[("/etc/b", "")]),
            ["/etc was \"present\" and is \"b present\" now", "/etc/b was not there and is there now"]
        );
        assert_eq!(changes(&[("/proc/cmdline", "a")], &[]), ["/proc/cmdline was there and is gone"]);
    }

    #[test]
    fn what_changes_by_itself_is_no_input() {
        let volatile = [("/proc/modules", "vfio 1\n"), ("/sys/x/operstate", "up\n")];
        assert_eq!(changes(&[], &volatile), [""; 0]);
    }

    /// An image, and how often it was read and unpacked.
    #[derive(Default)]
    struct Counting(std::cell::Cell<(u32, u32)>);

    impl ReadHost for Counting {
        fn reach(&self) -> Reach {
            Reach::Machine
        }
        fn read(&self, _: &Path) -> Result<Option<Vec<u8>>, HostError> {
            let (read, unpacked) = self.0.get();
            self.0.set((read + 1, unpacked));
            Ok(Some(b"an image".to_vec()))
        }
        fn file_state(&self, _: &Path) -> Result<FileState, HostError> {
            Ok(FileState::Absent)
        }
        fn kind(&self, _: &Path) -> Result<Option<FileKind>, HostError> {
            Ok(None)
        }
        fn read_link(&self, _: &Path) -> Result<Option<PathBuf>, HostError> {
            Ok(None)
        }
        fn list(&self, _: &Path) -> Result<Option<Vec<String>>, HostError> {
            Ok(None)
        }
        fn image(&self, _: &Path) -> Result<Option<Rc<Image>>, HostError> {
            let (read, unpacked) = self.0.get();
            self.0.set((read, unpacked + 1));
            Ok(None)
        }
    }

    #[test]
    fn an_image_is_read_once_and_unpacked_by_the_host_which_remembers_it() {
        let host = Counting::default();
        let recording = RecordingHost::new(&host);
        for _ in 0..3 {
            recording.image(Path::new("/boot/initrd.img-6.12")).unwrap();
        }
        assert_eq!(host.0.get(), (1, 3));
        assert!(recording.inputs().has(Path::new("/boot/initrd.img-6.12"), Question::Content));
    }

    #[test]
    fn a_record_survives_json() {
        let inputs = recorded(&[("/etc/a", "1"), ("/etc/b", "two\nlines\n")]);
        let json = serde_json::to_string(&inputs).unwrap();
        assert_eq!(serde_json::from_str::<Inputs>(&json).unwrap(), inputs);
    }
}
