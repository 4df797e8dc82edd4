//! What each run that changes something leaves behind for undoing it, and how a killed run is found.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use reconcile::engine::generations::Generation;
use reconcile::host::{Machine, Reach, generations};
use support::command::{Outcome, reconcile};
use support::snapshot::Snapshot;

const GENERATIONS: &str = "host/var/lib/reconcile/generations";

/// A workplace with an example in it.
struct Place(tempfile::TempDir);

impl Place {
    fn example(name: &str) -> Self {
        Self(support::workplace(name))
    }

    fn run(&self, arguments: &str) -> Outcome {
        let common = ["--root", "host", "-c", "host.yaml"];
        reconcile(self.0.path(), common.into_iter().chain(arguments.split_whitespace()))
    }

    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(relative)
    }

    fn generations(&self) -> Vec<Generation> {
        let machine = Machine::open(&self.path("host"), Reach::Tree).unwrap();
        generations::load(&machine).unwrap().into_iter().map(Result::unwrap).collect()
    }
}

/// The journal as a killed run would have left it: everything up to where `cut` says.
fn cut_journal(place: &Place, cut: impl Fn(&str) -> usize) {
    let path = place.path(GENERATIONS).join("1/journal");
    let journal = fs::read_to_string(&path).unwrap();
    fs::write(&path, &journal[..cut(&journal)]).unwrap();
}

#[test]
fn an_apply_records_what_it_needs_for_undoing_it() {
    let place = Place::example("grid-k2");
    place.run("--dry-run").expect(2);
    assert!(!place.path("host/var/lib/reconcile").exists(), "a dry run records nothing");
    place.run("--yes").expect(3);
    let found = place.generations();
    let [generation] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((generation.number, generation.header.who.uid), (1, nix::unistd::getuid().as_raw()));
    assert_eq!(generation.header.documents[0].text, fs::read_to_string(place.path("host.yaml")).unwrap());
    assert!(generation.finished.is_some() && !generation.is_open());
    assert!(generation.steps().count() > 3);
    place.run("--yes").expect(3);
    assert_eq!(place.generations().len(), 1, "a run without changes records nothing");
    for (path, mode) in [("", 0o700), ("1", 0o700), ("1/generation.json", 0o600), ("1/journal", 0o600)] {
        let found = fs::metadata(place.path(GENERATIONS).join(path)).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode, "{path}");
    }
}

#[test]
fn a_killed_run_is_named_tidied_up_and_noted_once() {
    let place = Place::example("grid-k2");
    place.run("--yes").expect(3);
    // Killed while it wrote its second file, in the middle of the note about the first.
    cut_journal(&place, |journal| journal.find("\"entry\":\"ended\"").unwrap());
    let leftover = place.path("host/etc/default/grub.d/.reconcile-0000002a00000001.tmp");
    fs::write(&leftover, "half").unwrap();
    let looked = place.run("--dry-run").expect(3);
    assert!(looked.stdout.contains("generation 1") && leftover.exists(), "{}", looked.stdout);
    let next = place.run("--yes").expect(3);
    for words in ["(pid ", "has not come to its end; in flight was /etc/", ".reconcile-0000002a00000001.tmp"]
    {
        assert!(next.stdout.contains(words), "{words}\n{}", next.stdout);
    }
    assert!(!leftover.exists());
    let before = Snapshot::of(&place.path("host"));
    let after = place.run("--yes").expect(3);
    assert!(!after.stdout.contains("generation 1"), "{}", after.stdout);
    assert!(before.differences(&Snapshot::of(&place.path("host"))).is_empty());
    assert!(place.generations()[0].interrupted.is_some());
}

#[test]
fn a_generation_that_was_never_begun_is_taken_away() {
    let place = Place::example("grid-k2");
    let never = place.path(GENERATIONS).join("1");
    fs::create_dir_all(&never).unwrap();
    fs::write(never.join("journal"), "").unwrap();
    fs::write(never.join(".reconcile-0000002a00000001.tmp"), "{").unwrap();
    place.run("--yes").expect(3);
    let names: Vec<u32> = place.generations().iter().map(|generation| generation.number).collect();
    assert_eq!(names, [1]);
    assert!(!never.join(".reconcile-0000002a00000001.tmp").exists());
}

#[test]
fn the_last_twenty_are_kept_and_the_clock_does_not_matter() {
    let place = Place::example("x520");
    // An image that is being built has no boot; of the present boot more would be kept.
    fs::remove_file(place.path("host/proc/sys/kernel/random/boot_id")).unwrap();
    let apply = |item: usize| {
        fs::write(place.path("host.yaml"), format!("version: 1\nblacklist: [floppy{item}]\n")).unwrap();
        place.run("--yes");
    };
    apply(0);
    // Made by a clock that stood in the future.
    let header = place.path(GENERATIONS).join("1/generation.json");
    let text = fs::read_to_string(&header).unwrap();
    let when = text.lines().find(|line| line.contains("\"when\"")).unwrap();
    fs::write(&header, text.replace(when, "  \"when\": 4102444800,")).unwrap();
    (1..20).for_each(apply);
    let numbers = || place.generations().iter().map(|generation| generation.number).collect::<Vec<_>>();
    assert_eq!(numbers(), (1..=20).collect::<Vec<u32>>());
    (20..23).for_each(apply);
    assert_eq!(numbers(), (4..=23).collect::<Vec<u32>>());
    let back = reconcile(place.0.path(), ["--root", "host", "rollback", "4", "--yes"]);
    assert!(back.stdout.contains("+blacklist floppy2"), "{}{}", back.stdout, back.stderr);
}
