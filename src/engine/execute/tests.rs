use std::path::{Path, PathBuf};

use super::*;
use crate::document::Document;
use crate::engine::Silent;
use crate::engine::generations::Entry;
use crate::host::{EmptyHost, FileKind, HostError, Reach, ReadHost};
use crate::plan::{Disruption, FileState, OwnedItem, Reason};

/// Accepts steps unless their target is among `failing`; remembers what was made durable, and after how many steps.
#[derive(Default)]
struct Script {
    failing: Vec<&'static str>,
    hanging: Vec<&'static str>,
    executed: Vec<String>,
    remembered: Vec<(usize, Memory)>,
    recorded: Vec<(usize, Entry)>,
    remembered_before_rounds: Vec<usize>,
}

impl ReadHost for Script {
    fn reach(&self) -> Reach {
        Reach::Machine
    }
    fn read(&self, _: &Path) -> Result<Option<Vec<u8>>, HostError> {
        Ok(None)
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
}

impl Host for Script {
    fn execute(&mut self, step: &Step) -> Result<(), StepError> {
        let target = step.target();
        self.executed.push(target.clone());
        if self.failing.contains(&target.as_str()) {
            return Err(StepError::Unsupported("refused".to_owned()));
        }
        if self.hanging.contains(&target.as_str()) {
            return Err(StepError::Hung {
                path: target.into(),
                value: String::new(),
                seconds: 1,
                pid: 1,
                waits: String::new(),
            });
        }
        Ok(())
    }
    fn remember(&mut self, memory: &Memory) -> Result<(), StepError> {
        self.remembered.push((self.executed.len(), memory.clone()));
        Ok(())
    }
    fn record(&mut self, entry: &Entry) -> Result<(), StepError> {
        if matches!(entry, Entry::Round(_)) {
            self.remembered_before_rounds.push(self.remembered.len());
        }
        self.recorded.push((self.executed.len(), entry.clone()));
        Ok(())
    }
    fn as_read(&self) -> &dyn ReadHost {
        self
    }
}

fn attempt(item: &str, targets: &[&str]) -> Attempt {
    let steps = targets.iter().map(|target| Step::quick_attr(*target, None, "1")).collect();
    let mut change = Change::new(Phase::Live, steps, Disruption::Nothing, Reason::new("test", "a test"));
    change.followups.insert(Followup::LibvirtRestart);
    change.owns.push(OwnedItem {
        item: item.to_owned(),
        target: "/sys/x".into(),
        before: Some("0".to_owned()),
        written: Some("1".to_owned()),
    });
    Attempt { resource: "test", item: item.to_owned(), origin: None, change }
}

/// Runs one round and returns what is remembered after it.
fn run(host: &mut Script, attempts: &[Attempt], mut memory: Memory) -> (Vec<ChangeOutcome>, Memory) {
    let empty = EmptyHost(Reach::Machine);
    let facts = Facts::gather(&Document::default(), &empty, None).unwrap();
    let mut ledger = Ledger { memory: &mut memory, scope: Scope::Full };
    let outcomes = batch(attempts, host, &mut ledger, &facts, &mut Silent).unwrap();
    (outcomes, memory)
}

#[test]
fn what_is_owned_and_owed_is_durable_before_the_first_step() {
    let mut host = Script::default();
    let (outcomes, memory) = run(&mut host, &[attempt("a", &["/sys/a"])], Memory::default());
    assert_eq!(outcomes, [ChangeOutcome::Applied]);
    let [(0, first)] = host.remembered.as_slice() else { panic!("{:?}", host.remembered) };
    assert!(first.owned_item("test", "a").is_some() && first.owed.contains_key(&Followup::LibvirtRestart));
    assert_eq!(*first, memory);
}

#[test]
fn a_round_is_recorded_before_its_first_step_and_each_step_behind_it() {
    let mut host = Script { failing: vec!["/sys/b"], ..Script::default() };
    let attempts =
        [attempt("a", &["/sys/a"]), attempt("b", &["/sys/b", "/sys/c"]), attempt("c", &["/sys/a"])];
    let _ = run(&mut host, &attempts, Memory::default());
    assert_eq!(host.remembered_before_rounds, [0], "what is ours is noted only when it can be undone");
    let (0, Entry::Round(round)) = &host.recorded[0] else { panic!("{:?}", host.recorded) };
    let targets: Vec<String> = round.steps.iter().map(Step::target).collect();
    assert_eq!(targets, ["/sys/a", "/sys/b", "/sys/c"]);
    let steps: Vec<&[usize]> = round.changes.iter().map(|change| change.steps.as_slice()).collect();
    assert_eq!(steps, [&[0][..], &[1, 2], &[0]]);
    let error = || Some("refused".to_owned());
    let ended = |step, error| Entry::Ended { step, error, left: None };
    let lines = [
        (0, Entry::Began { step: 0 }),
        (1, ended(0, None)),
        (1, Entry::Began { step: 1 }),
        (2, ended(1, error())),
    ];
    assert_eq!(host.recorded[1..], lines);
    let (mut idle, bookkeeping) = (Script::default(), attempt("a", &[]));
    let _ = run(&mut idle, &[bookkeeping], Memory::default());
    assert_eq!(idle.recorded, [], "nothing was about to change");
}

#[test]
fn a_failed_step_skips_the_rest_of_its_change_only() {
    let mut host = Script { failing: vec!["/sys/a"], ..Script::default() };
    let attempts = [attempt("a", &["/sys/a", "/sys/a2"]), attempt("b", &["/sys/b"])];
    let (outcomes, memory) = run(&mut host, &attempts, Memory::default());
    assert!(matches!(outcomes.as_slice(), [ChangeOutcome::Failed { .. }, ChangeOutcome::Applied]));
    assert_eq!(host.executed, ["/sys/a", "/sys/b"]);
    assert!(memory.owned_item("test", "a").is_none(), "nothing of it happened");
    assert!(memory.owned_item("test", "b").is_some());
}

#[test]
fn a_change_that_left_a_mark_stays_ours() {
    for host in [
        Script { failing: vec!["/sys/a2"], ..Script::default() },
        Script { hanging: vec!["/sys/a"], ..Script::default() },
    ] {
        let mut host = host;
        let (_, memory) = run(&mut host, &[attempt("a", &["/sys/a", "/sys/a2"])], Memory::default());
        assert!(memory.owned_item("test", "a").is_some());
        assert!(memory.owed.contains_key(&Followup::LibvirtRestart));
    }
}

#[test]
fn nothing_made_leaves_the_memory_as_it_was() {
    let mut host = Script { failing: vec!["/sys/a"], ..Script::default() };
    let (_, known) = run(&mut Script::default(), &[attempt("a", &["/sys/a"])], Memory::default());
    for before in [Memory::default(), known] {
        let (_, after) = run(&mut host, &[attempt("a", &["/sys/a"])], before.clone());
        assert_eq!(after.owned, before.owned);
        assert_eq!(after.persisted, before.persisted);
        assert_eq!(after.owed.keys().collect::<Vec<_>>(), before.owed.keys().collect::<Vec<_>>());
    }
}

#[test]
fn a_step_that_several_items_share_is_made_once() {
    let mut host = Script::default();
    let (outcomes, _) =
        run(&mut host, &[attempt("a", &["/sys/a"]), attempt("b", &["/sys/a"])], Memory::default());
    assert_eq!(outcomes, [ChangeOutcome::Applied, ChangeOutcome::Applied]);
    assert_eq!(host.executed, ["/sys/a"]);
}

#[test]
fn the_value_before_the_first_write_is_the_one_to_give_back() {
    let (_, memory) = run(&mut Script::default(), &[attempt("a", &["/sys/a"])], Memory::default());
    let mut second = attempt("a", &["/sys/a"]);
    second.change.owns[0].before = Some("1".to_owned());
    let (_, memory) = run(&mut Script::default(), &[second], memory);
    assert_eq!(memory.owned_item("test", "a").unwrap().before.as_deref(), Some("0"));
}

#[test]
fn what_was_given_up_is_forgotten_only_when_it_worked() {
    let (_, owned) = run(&mut Script::default(), &[attempt("a", &["/sys/a"])], Memory::default());
    let mut give_up = attempt("a", &["/sys/a"]);
    give_up.change.owns[0].written = None;
    let (_, after) = run(&mut Script::default(), &[give_up], owned.clone());
    assert!(after.owned_item("test", "a").is_none());
    let mut give_up = attempt("a", &["/sys/a"]);
    give_up.change.owns[0].written = None;
    let mut failing = Script { failing: vec!["/sys/a"], ..Script::default() };
    let (_, after) = run(&mut failing, &[give_up], owned);
    assert!(after.owned_item("test", "a").is_some());
}

#[test]
fn what_is_given_up_is_forgotten_with_its_boot() {
    let mut persisted = attempt("a", &["/etc/a"]);
    persisted.change.phase = Phase::Persisted;
    let (_, memory) = run(&mut Script::default(), &[persisted.clone()], Memory::default());
    assert!(memory.persisted.contains_key("test"));
    persisted.change.owns[0].written = None;
    let (_, memory) = run(&mut Script::default(), &[persisted], memory);
    assert!(memory.owned.is_empty() && memory.persisted.is_empty(), "{memory:?}");
}
