//! How the generations of a host stand to each other.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Generation, Kind};
use crate::plan::Step;

/// Where a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// It is under way, or was killed since and no run has come after it.
    Open,
    /// It was made.
    Done,
    /// Something of it failed.
    Failed,
    /// It was killed before its end.
    Interrupted,
    /// It was undone.
    RolledBack {
        /// By this generation.
        by: u32,
        /// Whether something was left as it is.
        in_part: bool,
    },
}

/// Where each of the generations stands, by number. A rollback that was itself rolled back undoes nothing any more.
pub fn standings(generations: &[&Generation]) -> BTreeMap<u32, Standing> {
    let mut standings: BTreeMap<u32, Standing> = BTreeMap::new();
    for generation in generations.iter().rev() {
        let number = generation.number;
        let undone = standings.contains_key(&number);
        if let (Kind::Rollback { to, kept }, Some(_), false) =
            (&generation.header.kind, generation.finished, undone)
        {
            let in_part = !kept.is_empty();
            let earlier = generations.iter().map(|earlier| earlier.number);
            for earlier in earlier.filter(|earlier| (*to..number).contains(earlier)) {
                standings.entry(earlier).or_insert(Standing::RolledBack { by: number, in_part });
            }
        }
        standings.entry(number).or_insert(match (generation.finished, generation.interrupted) {
            (Some((_, false)), _) => Standing::Done,
            (Some((_, true)), _) => Standing::Failed,
            (None, Some(_)) => Standing::Interrupted,
            (None, None) => Standing::Open,
        });
    }
    standings
}

/// What a generation changed, in a few words: `2 files, 3 attributes (bindings, sriov)`.
pub fn summary(generation: &Generation) -> String {
    let count = |of: fn(&Step) -> bool| generation.steps().filter(|(step, _)| of(step)).count();
    let attributes = count(|step| matches!(step, Step::WriteAttr { .. }));
    let commands = count(|step| matches!(step, Step::Run { .. })) + generation.followups.len();
    let files = generation.steps().count() - attributes - count(|step| matches!(step, Step::Run { .. }));
    let parts = [(files, "file"), (attributes, "attribute"), (commands, "command")];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}{}", if number == 1 { "" } else { "s" }))
        .collect();
    let resources: Vec<&str> = generation.resources().into_iter().collect();
    let what = if resources.is_empty() { String::new() } else { format!(" ({})", resources.join(", ")) };
    format!("{}{what}", if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Header, Moment, Who};
    use super::*;
    use crate::engine::Memory;

    fn generation(number: u32, kind: Kind) -> Generation {
        let who = Who { uid: 0, loginuid: None, sudo_user: None, pid: 1 };
        Generation {
            number,
            header: Header::new(kind, who, None, &[], Memory::default()),
            rounds: Vec::new(),
            followups: Vec::new(),
            finished: Some((Moment(1), false)),
            interrupted: None,
        }
    }

    fn rollback(number: u32, to: u32) -> Generation {
        generation(number, Kind::Rollback { to, kept: BTreeSet::new() })
    }

    #[test]
    fn a_rollback_that_was_rolled_back_undoes_nothing() {
        let standing = |generations: &[Generation]| -> Vec<Standing> {
            standings(&generations.iter().collect::<Vec<_>>()).into_values().collect()
        };
        let by = |by| Standing::RolledBack { by, in_part: false };
        let mut all = vec![generation(4, Kind::Apply), generation(5, Kind::Apply), rollback(6, 5)];
        assert_eq!(standing(&all), [Standing::Done, by(6), Standing::Done]);
        all.push(rollback(7, 6));
        assert_eq!(standing(&all), [Standing::Done, Standing::Done, by(7), Standing::Done]);
        all.push(rollback(8, 4));
        assert_eq!(standing(&all), [by(8), by(8), by(8), by(8), Standing::Done]);
        all[0].finished = None;
        all[4].finished = None;
        assert_eq!(standing(&all)[0], Standing::Open);
    }
}
