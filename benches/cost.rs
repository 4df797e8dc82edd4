//! What a run costs, as counts and ratios taken in one go on one machine: never a time by itself.
//!
//! `benches/run` builds the static binary and starts this program with it. Trees of 16 to 65,536 PCI functions are
//! generated in a temporary directory; `strace` counts system calls, `hyperfine` compares start-up, and the kernel tells
//! CPU time and memory of each child. The peer is `lspci -Dnnk` on the same tree. Instructions are not counted: virtual
//! machines hide the counter, and the valgrind of Debian 12 does not know openat2.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/pci_tree.rs"]
#[allow(dead_code)]
mod pci_tree;
#[path = "../tests/support/trace.rs"]
#[allow(dead_code)]
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const SIZES: [usize; 4] = [16, 256, 4_096, 65_536];
/// The size at which the peers are compared.
const PEER_SIZE: usize = 4_096;
/// Runs of which the one with the least CPU time counts: what else the machine does can only add to it.
const RUNS: usize = 10;

/// CPU time (user and system) in microseconds and peak memory in KiB of one run.
#[derive(Debug, Clone, Copy)]
struct Usage {
    cpu_us: i64,
    rss_kib: i64,
}

struct Bench {
    binary: PathBuf,
    place: tempfile::TempDir,
    missed: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.split_first() {
        Some((verb, command)) if verb == "usage" => usage_of(command),
        Some((binary, [])) => {
            let binary = fs::canonicalize(binary).expect("the binary to measure");
            Bench { binary, place: tempfile::tempdir().expect("a temporary directory"), missed: 0 }.run()
        }
        _ => {
            eprintln!("usage: benches/run, or cargo bench --bench cost -- PATH-OF-RECONCILE");
            ExitCode::from(64)
        }
    }
}

/// Runs the command [`RUNS`] times and prints the least CPU time and the peak memory. A process of its own does this: a
/// child is charged with its parent's memory until it executes, and the parent should be small.
fn usage_of(command: &[String]) -> ExitCode {
    let (program, arguments) = command.split_first().expect("a command");
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel tells");
        ((usage.user_time() + usage.system_time()).num_microseconds(), usage.max_rss())
    };
    let mut least = i64::MAX;
    for _ in 0..RUNS {
        let (before, _) = used();
        let mut child = Command::new(program);
        child.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        child.status().expect("the command runs");
        least = least.min(used().0 - before);
    }
    println!("{least} {}", used().1);
    ExitCode::SUCCESS
}

impl Bench {
    fn run(mut self) -> ExitCode {
        let mut trees = BTreeMap::new();
        for size in SIZES {
            eprintln!("generating a tree of {size} functions");
            trees.insert(size, self.generate(size));
        }
        self.documents(&trees[&SIZES[0]].1);
        self.system_calls(&trees);
        self.growth(&trees);
        self.peers(&trees[&PEER_SIZE].0);
        self.start_up();
        if self.missed == 0 {
            println!("\nevery bar met");
            ExitCode::SUCCESS
        } else {
            println!("\n{} bars missed", self.missed);
            ExitCode::FAILURE
        }
    }

    fn bar(&mut self, met: bool, text: &str) {
        println!("  {}  {text}", if met { "met   " } else { "MISSED" });
        self.missed += usize::from(!met);
    }

    fn generate(&self, size: usize) -> (PathBuf, Vec<pci_tree::Function>) {
        let root = self.place.path().join(format!("tree-{size}"));
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/x520/host");
        let copied = Command::new("cp").arg("-aT").arg(base).arg(&root).status().expect("cp runs");
        assert!(copied.success(), "the base of the tree could not be copied");
        let functions = pci_tree::add_functions(&root, size).expect("a tree");
        (root, functions)
    }

    fn document(&self, name: &str) -> PathBuf {
        self.place.path().join(format!("{name}.yaml"))
    }

    /// The same documents for every size: what they name is there in the smallest tree.
    fn documents(&self, functions: &[pci_tree::Function]) {
        let devices = functions.iter().filter(|function| !function.bridge).take(4);
        let devices: String = devices.map(|function| format!("    - \"{}\"\n", function.address)).collect();
        let addresses = format!("version: 1\nvfio_pci:\n  devices:\n{devices}");
        let ids = format!("version: 1\nvfio_pci:\n  ids: [\"{}\"]\n", pci_tree::UNIQUE_ID);
        let filter = format!("version: 1\nvfio_pci:\n  devices: [\"{}:0200\"]\n", pci_tree::UNIQUE_ID);
        for (name, text) in [("addresses", addresses), ("ids", ids), ("filter", filter)] {
            fs::write(self.document(name), text).expect("a document");
        }
    }

    fn dry_run(&self, tree: &Path, document: &str) -> Vec<String> {
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        let flags = ["--dry-run", "--root"].map(str::to_owned);
        let rest = [text(tree), "-c".to_owned(), text(&self.document(document))];
        [text(&self.binary)].into_iter().chain(flags).chain(rest).collect()
    }

    fn system_calls(&mut self, trees: &BTreeMap<usize, (PathBuf, Vec<pci_tree::Function>)>) {
        println!("system calls of a dry run (strace -f)");
        println!("  {:>10} {:>10} {:>10} {:>10}", "functions", "addresses", "ids", "filter");
        let mut counts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (size, (tree, _)) in trees {
            let mut row = format!("  {size:>10}");
            for document in ["addresses", "ids", "filter"] {
                let count = trace::calls(&self.dry_run(tree, document)).len();
                row.push_str(&format!(" {count:>10}"));
                counts.entry(document).or_default().push(count);
            }
            println!("{row}");
        }
        let (smallest, largest) = (SIZES[0], SIZES[SIZES.len() - 1]);
        let slope = |document: &str| {
            let counts = &counts[document];
            (counts[counts.len() - 1] as f64 - counts[0] as f64) / (largest - smallest) as f64
        };
        let per_address = slope("addresses");
        self.bar(
            per_address < 0.001,
            &format!("addresses only: {per_address:.4} per function of the host (bar: 0)"),
        );
        for document in ["ids", "filter"] {
            let per_function = slope(document);
            self.bar(
                per_function <= 4.0,
                &format!("{document}: {per_function:.2} per function of the host (bar: 4)"),
            );
        }
    }

    fn growth(&mut self, trees: &BTreeMap<usize, (PathBuf, Vec<pci_tree::Function>)>) {
        println!("\nCPU time and peak memory of a dry run with ids (the least and the most of {RUNS})");
        println!("  {:>10} {:>12} {:>22} {:>10}", "functions", "CPU us", "per further function", "RSS KiB");
        let mut smaller: Option<(usize, i64)> = None;
        let mut slopes = Vec::new();
        let mut peak = 0;
        for (size, (tree, _)) in trees {
            let usage = usage(&self.dry_run(tree, "ids"));
            // The cost without any function cancels out between two sizes.
            let slope = smaller.map(|(fewer, cpu)| (usage.cpu_us - cpu) as f64 / (size - fewer) as f64);
            let shown = slope.map_or(String::new(), |slope| format!("{slope:.3}"));
            println!("  {size:>10} {:>12} {shown:>22} {:>10}", usage.cpu_us, usage.rss_kib);
            slopes.extend(slope);
            smaller = Some((*size, usage.cpu_us));
            peak = peak.max(usage.rss_kib);
        }
        let ratio = slopes[slopes.len() - 1] / slopes[slopes.len() - 2];
        self.bar(
            ratio <= 1.5,
            &format!(
                "linear: a further function costs {ratio:.2} times as much above 4,096 as below (bar: 1.5)"
            ),
        );
        self.bar(peak < 40 * 1024, &format!("peak memory at 65,536: {peak} KiB (bar: 40960)"));
    }

    fn peers(&mut self, tree: &Path) {
        println!("\nagainst lspci -Dnnk on the same tree of {PEER_SIZE} functions");
        let sysfs = format!("sysfs.path={}", tree.join("sys/bus/pci").display());
        let lspci = ["lspci", "-A", "linux-sysfs", "-O", &sysfs, "-Dnnk"].map(str::to_owned).to_vec();
        let listed =
            Command::new(&lspci[0]).args(&lspci[1..]).output().expect("lspci runs (package pciutils)");
        let lines =
            String::from_utf8_lossy(&listed.stdout).lines().filter(|line| !line.starts_with('\t')).count();
        assert!(lines >= PEER_SIZE, "lspci lists only {lines} functions");
        let peer_calls = trace::calls(&lspci).len();
        let peer = usage(&lspci);
        println!("  lspci: {} us CPU, {peer_calls} system calls, {} KiB", peer.cpu_us, peer.rss_kib);
        for document in ["addresses", "ids", "filter"] {
            let command = self.dry_run(tree, document);
            let calls = trace::calls(&command).len() as f64 / peer_calls as f64;
            let cpu = usage(&command).cpu_us as f64 / peer.cpu_us as f64;
            self.bar(
                cpu < 1.0 / 3.0,
                &format!("{document}: {cpu:.3} of its CPU (bar: 0.333), {calls:.3} of its system calls"),
            );
        }
    }

    fn start_up(&mut self) {
        println!("\nstart-up against an empty static Rust program (hyperfine -N)");
        let empty = self.place.path().join("empty");
        let source = self.place.path().join("empty.rs");
        fs::write(&source, "fn main() {}\n").expect("a source file");
        let built = Command::new("rustc")
            .args(["--target", "x86_64-unknown-linux-musl", "-C", "opt-level=3", "-C", "strip=symbols", "-o"])
            .args([&empty, &source])
            .status()
            .expect("rustc runs");
        assert!(built.success(), "the empty program could not be built");
        let json = self.place.path().join("start-up.json");
        let version = format!("{} --version", self.binary.display());
        let measured = Command::new("hyperfine")
            .args(["-N", "--warmup", "50", "--runs", "1000", "--style", "none", "--export-json"])
            .arg(&json)
            .args([version.as_str(), empty.to_str().expect("a plain path")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("hyperfine runs (package hyperfine)");
        assert!(measured.success(), "hyperfine failed");
        let results: serde_json::Value =
            serde_json::from_slice(&fs::read(&json).expect("its results")).expect("JSON");
        let median = |index: usize| results["results"][index]["median"].as_f64().expect("a median");
        let ratio = median(0) / median(1);
        let empty = [empty.to_str().expect("a plain path").to_owned()];
        let version: Vec<String> = version.split(' ').map(str::to_owned).collect();
        let (own_calls, empty_calls) = (trace::calls(&version).len(), trace::calls(&empty).len());
        println!("  system calls {own_calls} against {empty_calls}");
        self.bar(ratio < 1.5, &format!("--version: {ratio:.2} times its median time (bar: 1.5)"));
    }
}

/// What a run of a command takes at best.
fn usage(command: &[String]) -> Usage {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .arg("usage")
        .args(command)
        .output()
        .expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    Usage { cpu_us: numbers.next().expect("CPU time"), rss_kib: numbers.next().expect("memory") }
}
