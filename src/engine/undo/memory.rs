//! What is remembered after a rollback: what was remembered before, but for what was left as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Memory, PersistedAt};

/// The memory after a return from `now` to `before`, where the items of `kept` were left as they are. What is owed now
/// is still owed; what was persisted and is persisted again waits for its boot from now on.
pub(super) fn settled(
    now: &Memory,
    before: &Memory,
    kept: &BTreeSet<(&'static str, String)>,
    boot_id: Option<&str>,
) -> Memory {
    let is_kept = |resource: &str, item: &str| {
        // Some items come in several parts: `0000:03:00.0 driver` goes with `0000:03:00.0`.
        kept.iter().any(|(of, name)| {
            *of == resource
                && item
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
    };
    let mut persisted = merged(&now.persisted, &before.persisted, is_kept);
    for (resource, items) in &mut persisted {
        for (item, at) in items {
            let unchanged = now.persisted.get(resource).and_then(|items| items.get(item)) == Some(at);
            if !unchanged {
                *at = PersistedAt { boot_id: boot_id.unwrap_or_default().to_owned() };
            }
        }
    }
    let owned = merged(&now.owned, &before.owned, is_kept);
    Memory { owned, persisted, ..now.clone() }
}

type Items<T> = BTreeMap<String, BTreeMap<String, T>>;

/// The items of `before`, but those that are kept as they are `now`.
fn merged<T: Clone>(now: &Items<T>, before: &Items<T>, is_kept: impl Fn(&str, &str) -> bool) -> Items<T> {
    let mut merged: Items<T> = BTreeMap::new();
    for (source, keeps) in [(before, false), (now, true)] {
        for (resource, items) in source {
            for (item, value) in items.iter().filter(|(item, _)| is_kept(resource, item) == keeps) {
                merged.entry(resource.clone()).or_default().insert(item.clone(), value.clone());
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Owned;

    fn memory(items: &[(&str, &str)]) -> Memory {
        let mut memory = Memory::default();
        for (item, written) in items {
            let owned = Owned { target: "/x".into(), before: None, written: (*written).to_owned() };
            memory.owned.entry("bindings".to_owned()).or_default().insert((*item).to_owned(), owned);
            let at = PersistedAt { boot_id: (*written).to_owned() };
            memory.persisted.entry("bindings".to_owned()).or_default().insert((*item).to_owned(), at);
        }
        memory
    }

    #[test]
    fn what_was_left_as_it_is_stays_ours() {
        let now = memory(&[("a", "2"), ("b", "2"), ("b driver", "2"), ("bc", "2")]);
        let before = memory(&[("a", "1"), ("c", "1")]);
        let kept = BTreeSet::from([("bindings", "b".to_owned())]);
        let settled = settled(&now, &before, &kept, Some("3"));
        let written: Vec<(&str, &str)> =
            settled.owned("bindings").map(|(item, owned)| (item, owned.written.as_str())).collect();
        assert_eq!(written, [("a", "1"), ("b", "2"), ("b driver", "2"), ("c", "1")]);
        let boots: Vec<&str> = settled.persisted["bindings"].values().map(|at| at.boot_id.as_str()).collect();
        assert_eq!(boots, ["3", "2", "2", "3"]);
    }
}
