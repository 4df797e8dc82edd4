//! The cost of a run follows what the document names. Only counts that no busy machine can change are asserted here;
//! ratios and times are for `benches/run`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::command::RECONCILE;
use support::pci_tree::{Function, UNIQUE_ID, add_functions};
use support::{copy_tree, example, trace};

const SMALL: usize = 16;
const LARGE: usize = 1_024;

struct Host {
    place: tempfile::TempDir,
    functions: Vec<Function>,
}

impl Host {
    fn with(count: usize) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().join("host");
        copy_tree(&example("x520").join("host"), &root);
        let functions = add_functions(&root, count).expect("a tree");
        Self { place, functions }
    }

    /// The system calls of a dry run with this document.
    fn calls(&self, document: &str) -> Vec<String> {
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        let file = self.place.path().join("host.yaml");
        fs::write(&file, document).expect("a document");
        let root = text(&self.place.path().join("host"));
        let command = [RECONCILE, "--dry-run", "--root", &root, "-c", &text(&file)].map(str::to_owned);
        trace::calls(&command)
    }

    /// The functions that these calls name in a path.
    fn touched(&self, calls: &[String]) -> BTreeSet<&str> {
        let named = |function: &&Function| calls.iter().any(|call| call.contains(&function.address));
        self.functions.iter().filter(named).map(|function| function.address.as_str()).collect()
    }
}

fn devices(addresses: &[&str]) -> String {
    let list: String = addresses.iter().map(|address| format!("    - \"{address}\"\n")).collect();
    format!("version: 1\nvfio_pci:\n  devices:\n{list}")
}

#[test]
fn lspci_reads_the_generated_tree() {
    let host = Host::with(LARGE);
    let sysfs = format!("sysfs.path={}", host.place.path().join("host/sys/bus/pci").display());
    let output = Command::new("lspci")
        .args(["-A", "linux-sysfs", "-O", &sysfs, "-Dnn"])
        .output()
        .expect("lspci runs (package pciutils)");
    let listed = String::from_utf8_lossy(&output.stdout);
    for function in &host.functions {
        let line = listed.lines().find(|line| line.starts_with(&function.address));
        assert!(
            line.is_some_and(|line| line.contains(&format!("[{}]", function.id))),
            "{function:?}: {line:?}"
        );
    }
}

#[test]
fn addresses_alone_cost_the_same_on_every_host() {
    let (small, large) = (Host::with(SMALL), Host::with(LARGE));
    let cards: Vec<&Function> = small.functions.iter().filter(|function| !function.bridge).take(3).collect();
    let addresses: Vec<&str> = cards.iter().map(|function| function.address.as_str()).collect();
    let document = devices(&addresses);
    let (few, many) = (small.calls(&document), large.calls(&document));

    let groups: BTreeSet<usize> = cards.iter().map(|function| function.group).collect();
    let allowed = |function: &&Function| {
        groups.contains(&function.group) || cards.iter().any(|card| card.port == function.address)
    };
    let allowed: BTreeSet<&str> =
        large.functions.iter().filter(allowed).map(|function| function.address.as_str()).collect();
    let touched = large.touched(&many);
    assert!(touched.is_subset(&allowed), "looked at others: {:?}", touched.difference(&allowed));
    assert!(
        addresses.iter().all(|address| touched.contains(address)),
        "did not look at what is named: {touched:?}"
    );

    assert_eq!(few.len(), many.len(), "the count grows with the host");
}

#[test]
fn ids_and_filters_cost_at_most_four_calls_per_function() {
    let (small, large) = (Host::with(SMALL), Host::with(LARGE));
    for document in [
        format!("version: 1\nvfio_pci:\n  ids: [\"{UNIQUE_ID}\"]\n"),
        devices(&[&format!("{UNIQUE_ID}:0200")]),
        devices(&[UNIQUE_ID]),
    ] {
        let (few, many) = (small.calls(&document).len(), large.calls(&document).len());
        let per_function = (many - few) as f64 / (LARGE - SMALL) as f64;
        assert!(per_function <= 4.0, "{per_function:.2} calls per function ({few}, {many}) for\n{document}");
    }
}

const GPUS: &str = "version: 1\nvfio_pci:\n  ids: [\"10de:11bf\"]\n";

/// What tells of users: nothing else reads these.
fn asks_for_users(call: &str) -> bool {
    ["/proc/self/mountinfo", "/proc/swaps", "/proc/net/", "/proc/900", "/etc/fstab"]
        .iter()
        .any(|path| call.contains(path))
}

impl Host {
    /// A host with processes, whose generated functions have no driver if not `bound`.
    fn with_processes(count: usize, bound: bool) -> Self {
        let host = Self::with(count);
        let root = host.place.path().join("host");
        for pid in ["900", "901"] {
            let files = root.join("proc").join(pid).join("fd");
            fs::create_dir_all(&files).expect("a process");
            for fd in 0..8 {
                std::os::unix::fs::symlink("/dev/null", files.join(fd.to_string())).expect("an open file");
            }
        }
        for function in host.functions.iter().filter(|function| !bound && !function.driver.is_empty()) {
            let link = root.join("sys/bus/pci/devices").join(&function.address).join("driver");
            fs::remove_file(link).expect("the link to the driver");
        }
        host
    }
}

#[test]
fn guards_cost_at_most_a_third_of_what_they_guard() {
    const FUNCTIONS: usize = 4_096;
    let without = Host::with_processes(FUNCTIONS, false).calls(GPUS);
    assert!(!without.iter().any(|call| asks_for_users(call)), "no function is taken from a driver");
    let with = Host::with_processes(FUNCTIONS, true).calls(GPUS);
    let scans = with.iter().filter(|call| call.contains("/proc/900/fd\"")).count();
    assert_eq!(scans, 1, "each process is looked at once");
    let reads = |call: &&String| call.contains("/proc/self/mountinfo\"") && !call.contains("O_PATH");
    let mounts = with.iter().filter(reads);
    assert_eq!(mounts.count(), 1, "and so is everything else");
    println!("{FUNCTIONS} functions: {} calls, {} with guards", without.len(), with.len());
    assert!(with.len() * 3 <= without.len() * 4, "{} calls, {} with guards", without.len(), with.len());
}
