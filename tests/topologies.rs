//! Over random hosts: no accepted plan takes a function on which the root file system, a default route, an open VFIO
//! node or anything else that the host needs depends; and what nothing depends on is not refused.
//!
//! A host is a model first: things, and what each of them is made of. The judge works on that model alone, and the other
//! way round than the program: it takes functions away, lets everything die that has lost a part, and looks whether
//! somebody misses what died. The engine gets the same host as sysfs and /proc would show it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "topologies/model.rs"]
mod model;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use model::{Model, Order};
use reconcile::document::{Source, load};
use reconcile::engine::{Engine, Memory, Outcome, Selection, Silent};
use reconcile::host::{EmptyHost, Reach, SimulatedHost};
use reconcile::plan::Step;
use support::described::Described;
use support::repository;

const TOPOLOGIES: u64 = 3_000;

/// What a whole run on the model's host comes to.
fn run(model: &Model, document: &str) -> Outcome {
    let mut tree = Described::default();
    tree.lay(&model.description(), &repository().join("tests/guards/bases"));
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    tree.put(&mut host);
    let source = Source { name: "host.yaml".into(), bytes: document.as_bytes().to_vec() };
    let loaded = load(&[source]).unwrap_or_else(|error| panic!("{error:?}\n{document}"));
    let mut engine = Engine {
        document: &loaded.document,
        selection: &Selection::default(),
        memory: &mut Memory::default(),
        progress: &mut Silent,
        wait: Duration::ZERO,
        known: None,
        saved: None,
    };
    engine.run(&mut host).expect("the engine runs")
}

/// The functions that a run took from their drivers, and the PFs whose VFs it took away.
fn taken(outcome: &Outcome) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut functions, mut pfs) = (BTreeSet::new(), BTreeSet::new());
    for step in outcome.made.iter().flat_map(|made| &made.change.steps) {
        let Step::WriteAttr { path, value, before, .. } = step else { continue };
        let above = |path: &Path| path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("unbind") => drop(functions.insert(value.clone())),
            Some("sriov_numvfs") if before.as_deref() != Some("0") => drop(pfs.insert(above(path))),
            _ => {}
        }
    }
    (functions, pfs)
}

#[test]
fn no_accepted_plan_takes_what_something_needed_depends_on() {
    let (mut refused, mut accepted) = (0, 0);
    let mut by_need: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..TOPOLOGIES {
        let model = Model::random(seed);
        let orders = model.orders(seed);
        let document = Order::document(&orders);
        let outcome = run(&model, &document);
        let (functions, pfs) = taken(&outcome);
        let story =
            || format!("seed {seed}\n{document}\n{}\n{:#?}", model.description(), outcome.last.resources);
        for order in &orders {
            let (lost, was_taken) = match order {
                Order::Give(function) => (model.missed_without(&[function]), functions.contains(function)),
                Order::Count { pf, .. } => (model.missed_without_vfs(pf), pfs.contains(pf)),
            };
            if was_taken {
                assert!(lost.is_empty(), "{order:?} is made, and {lost:?} is lost: {}", story());
                accepted += 1;
            } else {
                assert!(!lost.is_empty(), "{order:?} is refused, and nothing would be lost: {}", story());
                refused += 1;
                for need in lost {
                    *by_need.entry(need).or_default() += 1;
                }
            }
        }
        // Nothing else is taken either.
        for function in functions.iter().map(String::as_str) {
            let lost = model.missed_without(&[function]);
            assert!(lost.is_empty(), "{function} is taken, and {lost:?} is lost: {}", story());
        }
    }
    println!("{TOPOLOGIES} hosts: {accepted} changes made, {refused} refused, for {by_need:?}");
    assert!(refused > 500 && accepted > 500, "too few of one kind: {refused} refused, {accepted} made");
    for need in model::NEEDS {
        assert!(by_need.contains_key(need), "no host had to keep its {need}: {by_need:?}");
    }
}
