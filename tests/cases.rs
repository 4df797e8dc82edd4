//! Whole runs of the command, with everything that they print and change, as directories.
//!
//! `tests/cases/NAME/in/` is what a case starts from:
//! - `runs`: one run per line, the arguments of `reconcile` separated by blanks; lines with `#` are comments. Runs
//!   happen one after the other in one workplace, in which `host/` is the tree and `host.yaml` the document. A run
//!   `machine` is a dry run of the machine itself, on the model of it: it shows the commands that no tree is given;
//! - `example`: the name of the example whose `host/` and `host.yaml` the workplace gets (optional);
//! - `base`: the name of the tree of `tests/boot/bases` that `host/` begins with (optional);
//! - `like`: the name of a directory below `tests/initramfs/bases` that is laid out as a case is, and first (optional);
//! - a file `NAME.image` below `host/boot` describes an initramfs image, `NAME`, in lines: `module NAME`, `file PATH` with
//!   its content in the indented lines that follow, `release NAME` of the kernel that the modules after it are for, and
//!   `unified` where it is a unified kernel image;
//! - everything else is copied over that: another `host.yaml`, more files of `host/`; a name that `removed` lists (one
//!   per line) is taken away (optional).
//!
//! `tests/cases/NAME/out/` is what must come of it. For run N: `N.stdout`, `N.stderr` (absent where empty), `N.status`,
//! and where the tree changed `N.changes` (`+` added, `-` removed, `~` changed, `t` only times; with the mode where it is
//! new) and `N.tree/` with every file that was added or changed.
//!
//! The cases of the boot chains lie in `tests/boot/CHAIN/NAME/`. Where they have no `runs`, the tree is reconciled once.
//! What reconcile itself remembers is not recorded there.
//!
//! Cases about initramfs images lie in `tests/initramfs/GENERATOR/NAME` and share trees.
//!
//! `RECONCILE_REGENERATE=1 cargo test --test cases` writes `out/` anew; read the difference before it is committed.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use reconcile::boot::ChainName;
use reconcile::document;
use reconcile::engine::{Engine, Memory, Scope, Selection, Silent};
use reconcile::host::{Machine, Reach, SimulatedHost};
use reconcile::{initramfs, report};
use similar::TextDiff;
use support::command::reconcile;
use support::snapshot::{Content, Difference, Snapshot};
use support::{copy_tree, example, repository};

/// The files of an `out/` directory by name.
type Output = BTreeMap<String, Vec<u8>>;

#[test]
fn every_case_comes_out_as_recorded() {
    let regenerate = std::env::var_os("RECONCILE_REGENERATE").is_some();
    let mut cases = directories(&repository().join("tests/cases"));
    assert!(!cases.is_empty(), "tests/cases has no case");
    let chains = directories(&repository().join("tests/boot"));
    cases
        .extend(chains.iter().filter(|chain| !chain.ends_with("bases")).flat_map(|chain| directories(chain)));
    for generator in directories(&repository().join("tests/initramfs")) {
        if !generator.ends_with("bases") {
            cases.extend(directories(&generator));
        }
    }
    let mut failures = String::new();
    for case in &cases {
        let name = case.strip_prefix(repository().join("tests")).unwrap_or(case).display();
        let actual = run_case(case);
        let out = case.join("out");
        if regenerate {
            write_output(&out, &actual);
            continue;
        }
        let differences = compare(&read_output(&out), &actual);
        if !differences.is_empty() {
            let _ = writeln!(failures, "===== {name}\n{differences}");
        }
    }
    assert!(
        failures.is_empty(),
        "{failures}\nIf this is meant: RECONCILE_REGENERATE=1 cargo test --test cases, then read `git diff`."
    );
}

/// A chain or generator of the registries that has too few cases fails here, and so does a directory of none of them.
#[test]
fn every_chain_and_generator_has_its_cases() {
    let counted = |place: &str, names: Vec<&str>| {
        let place = repository().join(place);
        for name in &names {
            let count = directories(&place.join(name)).len();
            assert!(count >= 8, "{}: only {count} cases", place.join(name).display());
        }
        for directory in directories(&place).iter().filter(|directory| !directory.ends_with("bases")) {
            let known = names.iter().any(|name| directory.ends_with(name));
            assert!(known, "{} belongs to nothing in the registry", directory.display());
        }
    };
    counted("tests/boot", ChainName::all().map(ChainName::as_str).collect());
    counted("tests/initramfs", initramfs::generators().collect());
}

/// Looking changes nothing; the second apply changes nothing, not even a time.
#[test]
fn every_example_is_applied_twice() {
    for entry in fs::read_dir(repository().join("examples")).expect("examples/") {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let place = support::workplace(&name);
        let host = place.path().join("host");
        let run = |arguments: &str| {
            let before = Snapshot::of(&host);
            let outcome = reconcile(
                place.path(),
                ["--root", "host", "-c", "host.yaml"].into_iter().chain(arguments.split_whitespace()),
            );
            (outcome, before.differences(&Snapshot::of(&host)))
        };
        for looking in
            ["--dry-run", "--dry-run -o json", "status", "status -o json", "devices", "devices -o json"]
        {
            let (outcome, changes) = run(looking);
            assert!(changes.is_empty(), "{name}: {looking} changed {changes:?}\n{}", outcome.stderr);
        }
        let (first, changes) = run("--yes");
        first.expect(3);
        assert!(!changes.is_empty(), "{name}: an apply that changes nothing shows nothing");
        let (second, changes) = run("--yes");
        second.expect(3);
        assert!(changes.is_empty(), "{name}: the second apply changed {changes:?}");
        let (after, changes) = run("--dry-run");
        after.expect(3);
        assert!(changes.is_empty(), "{name}: a dry run after the apply changed {changes:?}");
    }
}

/// The directories in a directory, sorted.
fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}

/// Lays out what a case starts from.
fn lay_out(input: &Path, place: &Path) {
    if let Ok(name) = fs::read_to_string(input.join("like")) {
        lay_out(&repository().join("tests/initramfs/bases").join(name.trim()), place);
    }
    if let Ok(name) = fs::read_to_string(input.join("example")) {
        copy_tree(&example(name.trim()), place);
    }
    if let Ok(name) = fs::read_to_string(input.join("base")) {
        let host = place.join("host");
        fs::create_dir(&host).expect("a tree for the host");
        copy_tree(&repository().join("tests/boot/bases").join(name.trim()), &host);
    }
    copy_tree(input, place);
    if let Ok(removed) = fs::read_to_string(input.join("removed")) {
        for name in removed.lines() {
            fs::remove_file(place.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    make_images(&place.join("host/boot"));
}

/// Makes the images that are described in a directory and below it.
fn make_images(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            make_images(&path);
        } else if path.extension().is_some_and(|extension| extension == "image") {
            let text = fs::read_to_string(&path).expect("a description");
            fs::write(path.with_extension(""), support::image(&text)).expect("an image");
            fs::remove_file(&path).expect("no description left");
        }
    }
}

fn run_case(case: &Path) -> Output {
    let input = case.join("in");
    let place = tempfile::tempdir().expect("a temporary directory");
    lay_out(&input, place.path());
    for entry in fs::read_dir(place.path()).expect("the workplace") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            support::only_ours(&path);
        }
    }
    let host = place.path().join("host");
    let of_chain = case.starts_with(repository().join("tests/boot"));
    let runs = fs::read_to_string(input.join("runs"));
    let runs = runs.unwrap_or_else(|_| "--root host -c host.yaml --yes".to_owned());
    let mut output = Output::new();
    let runs = runs.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for (number, arguments) in (1..).zip(runs) {
        if arguments == "machine" {
            let text = normalised(on_the_machine(place.path()).into_bytes(), place.path());
            output.insert(format!("{number}.stdout"), text);
            continue;
        }
        let before = Snapshot::of(&host);
        let outcome = reconcile(place.path(), arguments.split_whitespace());
        let after = Snapshot::of(&host);
        let mut record = |name: &str, bytes: Vec<u8>| {
            if !bytes.is_empty() {
                output.insert(format!("{number}.{name}"), normalised(bytes, place.path()));
            }
        };
        record("stdout", outcome.stdout.into_bytes());
        record("stderr", outcome.stderr.into_bytes());
        record("status", format!("{}\n", outcome.status).into_bytes());
        let mut changes = String::new();
        for (path, difference) in before.differences(&after) {
            if of_chain && path.starts_with("var") {
                continue;
            }
            let sign = match difference {
                Difference::Added => '+',
                Difference::Removed => '-',
                Difference::Changed => '~',
                Difference::Touched => 't',
            };
            let entry = after.0.get(&path);
            // A directory's time changes with its entries, which are listed themselves.
            if difference == Difference::Touched
                && entry.is_some_and(|entry| entry.content == Content::Directory)
            {
                continue;
            }
            // A mode that stays is the checkout's, which depends on somebody's umask.
            let old_mode = before.0.get(&path).map(|entry| entry.mode);
            let new_mode = entry.map(|entry| entry.mode).filter(|mode| Some(*mode) != old_mode);
            let mode = new_mode.map_or("      ".to_owned(), |mode| format!("{mode:06o}"));
            let _ = writeln!(changes, "{sign} {mode} {}", path.display());
            // Times, processes and whole files: tests/generations looks into those.
            if path.starts_with("var/lib/reconcile/generations") {
                continue;
            }
            if let Some(Content::File(bytes)) = entry.map(|entry| &entry.content) {
                record(&format!("tree/{}", path.display()), bytes.clone());
            }
        }
        record("changes", changes.into_bytes());
    }
    output
}

/// What a dry run says where the tree is the root of a running machine.
fn on_the_machine(place: &Path) -> String {
    let text = fs::read_to_string(place.join("host.yaml")).expect("a document");
    let document = document::load(&[document::Source::new("host.yaml", text)]).expect("a document").document;
    let machine = Machine::open(&place.join("host"), Reach::Machine).expect("a tree");
    let mut host = SimulatedHost::new(&machine);
    let mut engine = Engine {
        document: &document,
        selection: &Selection { scope: Scope::Full, only: std::collections::BTreeSet::new() },
        memory: &mut Memory::default(),
        progress: &mut Silent,
        wait: std::time::Duration::ZERO,
        known: None,
        saved: None,
    };
    let outcome = engine.run(&mut host).expect("a run");
    let styled = report::render(&report::build(report::Mode::DryRun, &outcome), report::Detail::Everything);
    anstream::adapter::strip_str(&styled).to_string()
}

/// What differs from machine to machine and from run to run, replaced.
fn normalised(bytes: Vec<u8>, place: &Path) -> Vec<u8> {
    let Ok(text) = String::from_utf8(bytes.clone()) else { return bytes };
    let place = place.to_str().expect("a temporary directory with a plain name");
    let mut text = without_plan(&text).replace(place, "WORKPLACE");
    for key in ["\"mtime_ns\": ", "\"mtime_ns\":"] {
        text = without_numbers_after(&text, key);
    }
    text.into_bytes()
}

/// A dry run's JSON ends with the plan to be saved, which holds hashes of all that was read: `saved_plan` tests that.
fn without_plan(text: &str) -> String {
    let plan = text.find(",\n  \"plan\": {");
    plan.map_or_else(|| text.to_owned(), |at| format!("{}\n}}\n", &text[..at]))
}

fn without_numbers_after(text: &str, key: &str) -> String {
    let mut parts = text.split(key);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|character: char| character.is_ascii_digit());
        result.push_str(key);
        result.push_str(if rest.len() < part.len() { "0" } else { "" });
        result.push_str(rest);
    }
    result
}

fn read_output(out: &Path) -> Output {
    let mut output = Output::new();
    if !out.exists() {
        return output;
    }
    for (path, entry) in Snapshot::of(out).0 {
        if let Content::File(bytes) = entry.content {
            output.insert(path.to_string_lossy().into_owned(), bytes);
        }
    }
    output
}

fn write_output(out: &Path, output: &Output) {
    if out.exists() {
        fs::remove_dir_all(out).expect("out/ can be removed");
    }
    for (name, bytes) in output {
        let path = out.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("out/ can be made");
        fs::write(path, bytes).expect("out/ can be written");
    }
}

fn compare(expected: &Output, actual: &Output) -> String {
    let mut text = String::new();
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    for name in names {
        let side = |output: &Output| {
            output.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        let (old, new) = (side(expected), side(actual));
        if expected.get(name) != actual.get(name) {
            let diff = TextDiff::from_lines(&old, &new).unified_diff().header(name, name).to_string();
            text.push_str(&diff);
        }
    }
    text
}
