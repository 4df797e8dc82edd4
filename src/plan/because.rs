//! Why a guard refuses, as one word: the words in which a document consents.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What would be lost. A document consents to one loss of one device: `allow: [{device: …, because: default-route}]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// The root file system, or what boots it, is on it. There is no consent to that.
    RootDisk,
    /// A file system that is mounted, or that a boot mounts, is on it.
    Storage,
    /// Swap is on it.
    Swap,
    /// A default route leads through it.
    DefaultRoute,
    /// The route back to the client of this very session leads through it.
    SshSession,
    /// An interface of it is up and has an address.
    Address,
    /// The host's console is on it: the boot display, the framebuffer, the serial port.
    Console,
    /// The last keyboard is behind it.
    Keyboard,
    /// A guest has it open, or a running guest's definition names it.
    Guest,
    /// Another program holds it: a DRM or sound client, RDMA, DPDK.
    Holder,
    /// A function of the same IOMMU group would be left on a host driver.
    GroupCompanion,
    /// The firmware keeps memory regions of it: it cannot be assigned.
    ReservedRegion,
    /// Guests that run need the IOMMU that the change turns off.
    IommuOff,
    /// Another program manages it.
    OtherOwner,
    /// Something that would tell cannot be read.
    Unsure,
}

impl Because {
    /// Every loss, in the order of the type.
    pub const ALL: [Self; 15] = [
        Self::RootDisk,
        Self::Storage,
        Self::Swap,
        Self::DefaultRoute,
        Self::SshSession,
        Self::Address,
        Self::Console,
        Self::Keyboard,
        Self::Guest,
        Self::Holder,
        Self::GroupCompanion,
        Self::ReservedRegion,
        Self::IommuOff,
        Self::OtherOwner,
        Self::Unsure,
    ];

    /// The word, as documents and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RootDisk => "root-disk",
            Self::Storage => "storage",
            Self::Swap => "swap",
            Self::DefaultRoute => "default-route",
            Self::SshSession => "ssh-session",
            Self::Address => "address",
            Self::Console => "console",
            Self::Keyboard => "keyboard",
            Self::Guest => "guest",
            Self::Holder => "holder",
            Self::GroupCompanion => "group-companion",
            Self::ReservedRegion => "reserved-region",
            Self::IommuOff => "iommu-off",
            Self::OtherOwner => "other-owner",
            Self::Unsure => "unsure",
        }
    }

    /// Whether a document can consent to it.
    pub fn can_be_allowed(self) -> bool {
        self != Self::RootDisk
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Because {
    type Err = UnknownLoss;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|because| because.as_str() == text).ok_or(UnknownLoss)
    }
}

/// A word that names no loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no loss that a guard knows")]
pub struct UnknownLoss;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for because in Because::ALL {
            assert_eq!(because.as_str().parse(), Ok(because));
            assert_eq!(serde_json::to_value(because).unwrap(), because.as_str());
        }
        assert_eq!("the-disk".parse::<Because>(), Err(UnknownLoss));
        assert!(!Because::RootDisk.can_be_allowed());
    }
}
