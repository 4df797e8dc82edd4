//! The exit status: the first that holds.

use serde::{Serialize, Serializer};

/// What the command exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: in sync.
    InSync,
    /// 1: a step or an observation failed, or something waits for a thing that no reboot brings.
    Failed,
    /// 2: changes that a run could make now stand unmade.
    ChangesPending,
    /// 3: all that is left waits for a reboot.
    RebootPending,
    /// 4: a guard or a certainty rule refused something.
    Refused,
    /// 5: persisted, rebooted, still not in effect.
    Stuck,
    /// 64: usage.
    Usage,
    /// 65: the document is wrong.
    Document,
    /// 75: another run holds the lock.
    Locked,
}

impl ExitStatus {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::InSync => 0,
            Self::Failed => 1,
            Self::ChangesPending => 2,
            Self::RebootPending => 3,
            Self::Refused => 4,
            Self::Stuck => 5,
            Self::Usage => 64,
            Self::Document => 65,
            Self::Locked => 75,
        }
    }
}

impl Serialize for ExitStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}
