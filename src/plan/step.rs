//! The closed set of effects: every change to a machine is one of these.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One effect, with the full state before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Replaces a file's content atomically; owner, mode and xattrs are kept, or those of a new file of root with
    /// `mode`. Parent directories that are missing are created.
    WriteFile {
        /// Absolute path as seen from the host's root.
        path: PathBuf,
        /// What stood there when this was planned; the executor refuses if it has changed since.
        before: FileState,
        /// The new content.
        after: Bytes,
        /// Permission bits of a new file.
        mode: u32,
    },
    /// Removes a file.
    RemoveFile {
        /// Absolute path as seen from the host's root.
        path: PathBuf,
        /// What stood there when this was planned.
        before: FileState,
    },
    /// Puts a file back to what it was: content, owner, mode, xattrs and modification time.
    RestoreFile {
        /// Absolute path as seen from the host's root.
        path: PathBuf,
        /// What stood there when this was planned; the executor refuses if it has changed since.
        before: FileState,
        /// What stands there afterwards; [`FileState::Absent`] removes the file.
        after: FileState,
    },
    /// Removes a directory that this program made, if it is empty.
    RemoveDirectory {
        /// Absolute path as seen from the host's root.
        path: PathBuf,
    },
    /// Writes a sysfs attribute; never creates one.
    WriteAttr {
        /// Absolute path as seen from the host's root.
        path: PathBuf,
        /// What the attribute read before; `None` where it cannot be read (`unbind`, `drivers_probe`).
        before: Option<String>,
        /// What is written, without the final newline.
        value: String,
        /// How long the write may take before it is left behind, in milliseconds.
        deadline_ms: u64,
    },
    /// Runs a command, never through a shell.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// How long it may take, in milliseconds.
        deadline_ms: u64,
    },
}

impl Step {
    /// The path or the command line that the step acts on.
    pub fn target(&self) -> String {
        match self {
            Self::Run { argv, .. } => argv.join(" "),
            on_path => on_path.path().map(|path| path.display().to_string()).unwrap_or_default(),
        }
    }

    /// The path that the step acts on, if it acts on one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::WriteFile { path, .. }
            | Self::RemoveFile { path, .. }
            | Self::RestoreFile { path, .. }
            | Self::RemoveDirectory { path }
            | Self::WriteAttr { path, .. } => Some(path),
            Self::Run { .. } => None,
        }
    }

    /// A write of an attribute that answers at once (`driver_override`, `sriov_drivers_autoprobe`).
    pub fn quick_attr(path: impl Into<PathBuf>, before: Option<String>, value: impl Into<String>) -> Self {
        Self::attr(path, before, value, Duration::from_secs(10))
    }

    /// A write of an attribute that may take up to `deadline` (`unbind`, `drivers_probe`, `sriov_numvfs`).
    pub fn attr(
        path: impl Into<PathBuf>,
        before: Option<String>,
        value: impl Into<String>,
        deadline: Duration,
    ) -> Self {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        Self::WriteAttr { path: path.into(), before, value: value.into(), deadline_ms }
    }
}

/// A file's full state: enough to put it back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FileState {
    /// Nothing stands there.
    Absent,
    /// A regular file (symbolic links on the way have been followed inside the root).
    File {
        /// Content.
        bytes: Bytes,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Modification time, nanoseconds since the epoch.
        mtime_ns: i64,
        /// Extended attributes (ACLs and security labels among them).
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        xattrs: BTreeMap<String, Bytes>,
    },
}

impl FileState {
    /// The content; `None` where the file is absent.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Absent => None,
            Self::File { bytes, .. } => Some(&bytes.0),
        }
    }

    /// Whether the two differ in nothing but the modification time and [what is computed](COMPUTED_XATTRS): nobody has
    /// changed the one since it was the other.
    pub fn same_but_time(&self, other: &Self) -> bool {
        let settled = |state: &Self| {
            let mut state = state.clone();
            if let Self::File { mtime_ns, xattrs, .. } = &mut state {
                *mtime_ns = 0;
                xattrs.retain(|name, _| !COMPUTED_XATTRS.contains(&name.as_str()));
            }
            state
        };
        settled(self) == settled(other)
    }
}

/// Extended attributes that the kernel computes from the content; a copy would be wrong.
pub const COMPUTED_XATTRS: [&str; 2] = ["security.ima", "security.evm"];

/// Bytes that serialise as text where they are UTF-8 and as `{"hex": "…"}` elsewhere.
///
/// Shared: hundreds of items can have one step in common, and each of their changes holds it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Arc<[u8]>);

impl Ord for Bytes {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Bytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BytesForm {
    Text(String),
    Hex { hex: String },
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match std::str::from_utf8(&self.0) {
            Ok(text) => BytesForm::Text(text.to_owned()),
            Err(_) => BytesForm::Hex { hex: self.0.iter().map(|byte| format!("{byte:02x}")).collect() },
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match BytesForm::deserialize(deserializer)? {
            BytesForm::Text(text) => Ok(text.into()),
            BytesForm::Hex { hex } => {
                let pair = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
                let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(pair).collect();
                bytes
                    .map(Self::from)
                    .ok_or_else(|| serde::de::Error::custom("not a string of hexadecimal bytes"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_json() {
        for bytes in [&b"text\n"[..], b"\xff\x00\xfe", b""] {
            let json = serde_json::to_string(&Bytes::from(bytes.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap().0[..], *bytes);
        }
    }
}
