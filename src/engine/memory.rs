//! What is remembered between runs, in `/var/lib/reconcile/state.json`: owned items, owed follow-ups, and under
//! which boot each persisted change was made. Everything else is observed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Boots;
use crate::plan::Followup;

/// The state file's content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Version of this format.
    pub schema: u32,
    /// Owned items by resource and item.
    #[serde(default)]
    pub owned: BTreeMap<String, BTreeMap<String, Owned>>,
    /// Follow-ups that are owed.
    #[serde(default)]
    pub owed: BTreeMap<Followup, Owed>,
    /// The boot under which each persisted change was made, by resource and item.
    #[serde(default)]
    pub persisted: BTreeMap<String, BTreeMap<String, PersistedAt>>,
    /// The boots in which the unit has begun changes, until one of them reaches its target.
    #[serde(default, skip_serializing_if = "Boots::is_empty")]
    pub boots: Boots,
}

/// An item that was not there before us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// File or attribute.
    pub target: PathBuf,
    /// Value before us.
    pub before: Option<String>,
    /// Value that we wrote.
    pub written: String,
}

/// A follow-up that is owed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owed {
    /// Hash of the inputs that changed (SHA-256, hexadecimal).
    pub inputs: String,
    /// What changed: `resource: item`.
    pub because: BTreeSet<String>,
}

/// When a change was persisted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistedAt {
    /// The boot id of then; empty where there was none (`--root`).
    pub boot_id: String,
}

impl Memory {
    /// The owned items of a resource.
    pub fn owned(&self, resource: &str) -> impl Iterator<Item = (&str, &Owned)> {
        self.owned.get(resource).into_iter().flatten().map(|(item, owned)| (item.as_str(), owned))
    }

    /// One owned item.
    pub fn owned_item(&self, resource: &str, item: &str) -> Option<&Owned> {
        self.owned.get(resource)?.get(item)
    }

    /// Notes that what these changes (`resource: item`) persisted is complete only under this boot: until its follow-up
    /// had run, no boot could bring it.
    pub(super) fn persisted_now(&mut self, because: &BTreeSet<String>, boot_id: Option<&str>) {
        for (resource, item) in because.iter().filter_map(|cause| cause.split_once(": ")) {
            let at = self.persisted.get_mut(resource).and_then(|items| items.get_mut(item));
            if let Some(at) = at {
                at.boot_id = boot_id.unwrap_or_default().to_owned();
            }
        }
    }

    /// Whether `item` was persisted under another boot than `boot_id`: it has had its chance to take effect.
    pub fn booted_since(&self, resource: &str, item: &str, boot_id: Option<&str>) -> bool {
        let at = self.persisted.get(resource).and_then(|items| items.get(item));
        at.is_some_and(|at| boot_id.is_some_and(|now| !at.boot_id.is_empty() && now != at.boot_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_boot_after_the_follow_up_counts() {
        let at = PersistedAt { boot_id: "one".to_owned() };
        let items = BTreeMap::from([("iommu=pt".to_owned(), at.clone()), ("quiet".to_owned(), at)]);
        let mut memory =
            Memory { persisted: [("kernel_args".to_owned(), items)].into(), ..Memory::default() };
        let booted = |memory: &Memory, item, now| memory.booted_since("kernel_args", item, now);
        assert!(booted(&memory, "iommu=pt", Some("two")));
        // update-grub was owed over a reboot and runs only now.
        memory.persisted_now(&BTreeSet::from(["kernel_args: iommu=pt".to_owned()]), Some("two"));
        assert!(!booted(&memory, "iommu=pt", Some("two")), "it has had no chance yet");
        assert!(booted(&memory, "iommu=pt", Some("three")));
        assert!(booted(&memory, "quiet", Some("two")), "what it does not concern stays");
        assert!(!booted(&memory, "quiet", Some("one")) && !booted(&memory, "quiet", None));
        assert!(!booted(&memory, "unknown", Some("two")));
    }
}
