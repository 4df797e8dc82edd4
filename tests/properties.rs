//! What holds for every document: on generated hosts, with documents from a small vocabulary that fits them.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::subsequence;
use support::command::{Outcome, RECONCILE, bare, outcome_of, reconcile};
use support::pci_tree::{self, Function};
use support::snapshot::{Content, Snapshot};
use support::{copy_tree, example, trace};

/// Enough for one card of each kind.
const FUNCTIONS: usize = 40;
/// Where reconcile keeps what it remembers.
const OWN_STATE: [&str; 2] = ["var/lib/reconcile", "run"];

/// A Debian-family host with [`FUNCTIONS`] generated functions, made once and copied for each case.
struct Hosts {
    place: tempfile::TempDir,
    functions: Vec<Function>,
}

impl Hosts {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().join("host");
        copy_tree(&example("x520").join("host"), &root);
        let functions = pci_tree::add_functions(&root, FUNCTIONS).expect("a tree");
        Self { place, functions }
    }

    /// A workplace with a fresh copy of the host.
    fn copy(&self) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a temporary directory");
        copy_tree(&self.place.path().join("host"), &place.path().join("host"));
        place
    }

    fn vocabulary(&self) -> Vocabulary {
        let of_driver = |driver: &'static str| {
            self.functions.iter().filter(move |function| function.driver == driver).map(|f| f.address.clone())
        };
        let pf = self.functions.iter().find(|function| function.total_vfs > 0).expect("a PF");
        Vocabulary {
            devices: of_driver("nouveau").chain(of_driver("snd_hda_intel")).collect(),
            pf: pf.address.clone(),
        }
    }
}

/// What generated documents can name.
#[derive(Debug, Clone)]
struct Vocabulary {
    devices: Vec<String>,
    pf: String,
}

/// The top-level sections of a document, each a whole number of lines.
type Sections = Vec<String>;

fn list(entries: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = entries.iter().map(|entry| format!("\"{}\"", entry.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

/// Any subset of the words, in any order.
fn some(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(words.to_vec(), 0..=words.len()).prop_shuffle()
}

fn sections(vocabulary: &Vocabulary) -> impl Strategy<Value = Sections> + use<> {
    let kernel_args =
        some(&["intel_iommu=on", "iommu=pt", "pci=realloc", "console=ttyS0,115200n8", "hugepages=8"])
            .prop_map(|args| format!("kernel_args: {}\n", list(&args)));
    let modules = some(&["vfio", "vfio_iommu_type1", "vfio-pci", "kvm"])
        .prop_map(|modules| format!("modules: {}\n", list(&modules)));
    let blacklist =
        (some(&["nouveau", "lbm-nouveau", "nvidiafb"]), any::<bool>()).prop_map(|(modules, off)| {
            let entry = |module: &&str| format!("  - {{module: {module}, alias_off: {off}}}\n");
            if modules.is_empty() {
                return "blacklist: []\n".to_owned();
            }
            format!("blacklist:\n{}", modules.iter().map(entry).collect::<String>())
        });
    let options = some(&["modeset=0", "runpm=0", "noaccel"])
        .prop_map(|options| format!("module_options:\n  nouveau: {}\n", list(&options)));
    let count = vocabulary.devices.len();
    let devices = subsequence(vocabulary.devices.clone(), 0..=count.min(4)).prop_shuffle();
    let vfio = (some(&["10de:0e0a", "15b3:1017", "144d:a808"]), devices).prop_map(|(ids, devices)| {
        format!("vfio_pci:\n  ids: {}\n  devices: {}\n", list(&ids), list(&devices))
    });
    let pf = vocabulary.pf.clone();
    let sriov = (0..=8u16, prop_oneof![Just(""), Just(", driver: vfio-pci"), Just(", driver: ixgbevf")])
        .prop_map(move |(vfs, driver)| format!("sriov:\n  - {{device: \"{pf}\", vfs: {vfs}{driver}}}\n"));
    let acl =
        (any::<bool>(), some(&["/dev/hpet", "/dev/net/tun", "/dev/rtc"])).prop_map(|(groups, nodes)| {
            format!("qemu:\n  cgroup_device_acl: {{vfio_groups: {groups}, present: {}}}\n", list(&nodes))
        });
    // Each section is there three times out of four.
    let present = proptest::collection::vec(prop::bool::weighted(0.75), 7);
    (kernel_args, modules, blacklist, options, vfio, sriov, acl, present).prop_map(
        |(kernel_args, modules, blacklist, options, vfio, sriov, acl, present)| {
            let all = [kernel_args, modules, blacklist, options, vfio, sriov, acl];
            all.into_iter().zip(present).filter(|(_, present)| *present).map(|(section, _)| section).collect()
        },
    )
}

/// The same, with every section that the first has present and empty.
const NOTHING: &str = "version: 1\nkernel_args: []\nmodules: []\nblacklist: []\nmodule_options: {}\n\
                       vfio_pci: {ids: [], devices: []}\nsriov: []\nqemu: {cgroup_device_acl: []}\n";

fn document(sections: &[String]) -> String {
    format!("version: 1\n{}", sections.concat())
}

/// Runs on `host/` below `place` with this document.
fn run(place: &Path, document: &str, arguments: &[&str]) -> Outcome {
    fs::write(place.join("host.yaml"), document).expect("a document");
    let outcome = reconcile(place, ["--root", "host", "-c", "host.yaml"].iter().chain(arguments));
    assert!((0..=5).contains(&outcome.status), "{outcome:?}\n{document}");
    outcome
}

/// Output without the lines and columns at which the document says things.
fn without_places(text: &str) -> String {
    let mut rest = text;
    let mut result = String::new();
    while let Some(at) = rest.find(".yaml:") {
        let (before, after) = rest.split_at(at);
        // The file's name goes too: it reaches back to something that no file name here has.
        let start = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |index| index + 1);
        result.push_str(&before[..start]);
        result.push_str("PLACE");
        rest = after[".yaml:".len()..].trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    }
    result + rest
}

/// A report in JSON without what a saved plan holds of the documents' own text. Anything else as it is.
fn without_documents(text: &str) -> String {
    let Ok(serde_json::Value::Object(mut report)) = serde_json::from_str(text) else {
        return text.to_owned();
    };
    if let Some(plan) = report.get_mut("plan").and_then(serde_json::Value::as_object_mut) {
        for of_the_text in ["documents", "checksum"] {
            assert!(plan.remove(of_the_text).is_some(), "a plan without {of_the_text}");
        }
    }
    serde_json::Value::Object(report).to_string()
}

fn placeless(outcome: &Outcome) -> Outcome {
    Outcome {
        stdout: without_places(&without_documents(&outcome.stdout)),
        stderr: without_places(&outcome.stderr),
        ..outcome.clone()
    }
}

fn cases(number: u32) -> ProptestConfig {
    // A failing document is printed whole; a file of seeds would only repeat it.
    ProptestConfig {
        cases: number,
        failure_persistence: None,
        max_shrink_iters: 40,
        ..ProptestConfig::default()
    }
}

/// Everything that looks and does not write.
const LOOKING: [&[&str]; 5] = [
    &["--dry-run"],
    &["--dry-run", "-o", "json"],
    &["status"],
    &["status", "-o", "json"],
    &["devices", "-o", "json"],
];

/// Everything that looks, one after the other, with each status.
fn look(place: &Path, before: &str) -> Outcome {
    let runs: String = LOOKING
        .iter()
        .map(|arguments| {
            format!("{RECONCILE} --root host -c host.yaml {}; echo \"= $?\"\n", arguments.join(" "))
        })
        .collect();
    outcome_of(bare("unshare", place).args([
        "--mount",
        "--",
        "sh",
        "-c",
        &format!("set -e; {before}; set +e\n{runs}"),
    ]))
}

#[test]
fn looking_writes_nothing() {
    let hosts = Hosts::new();
    proptest!(cases(8), |(sections in sections(&hosts.vocabulary()))| {
        let place = hosts.copy();
        let document = document(&sections);
        fs::write(place.path().join("host.yaml"), &document).expect("a document");
        let before = Snapshot::of(place.path());
        let plain = look(place.path(), "true");
        let changes = before.differences(&Snapshot::of(place.path()));
        prop_assert!(changes.is_empty(), "{changes:?} for\n{document}");
        // The same on a tree that cannot be written: neither a failure nor another word.
        let read_only = look(place.path(), "mount --bind host host; mount -o remount,bind,ro host; ! touch host/x 2>&-");
        prop_assert_eq!(&plain, &read_only, "for\n{}", document);
    });
}

/// System calls that change a file system. An `open` changes one if its flags say so.
fn writes(call: &str) -> bool {
    let name = call.split('(').next().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
    let opens = name.starts_with("open") || name == "creat";
    let changes = [
        "mkdir",
        "rmdir",
        "unlink",
        "rename",
        "link",
        "symlink",
        "mknod",
        "chmod",
        "fchmod",
        "chown",
        "fchown",
        "lchown",
        "utime",
        "futimes",
        "setxattr",
        "lsetxattr",
        "fsetxattr",
        "removexattr",
        "lremovexattr",
        "fremovexattr",
        "truncate",
        "ftruncate",
        "fallocate",
        "flock",
        "mount",
        "umount",
    ];
    let writable =
        ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"].iter().any(|flag| call.contains(flag));
    opens && writable || changes.iter().any(|change| name.starts_with(change))
}

#[test]
fn looking_makes_no_system_call_that_writes() {
    let hosts = Hosts::new();
    let place = hosts.copy();
    let vocabulary = hosts.vocabulary();
    let everything = format!(
        "version: 1\nkernel_args: [intel_iommu=on]\nmodules: [vfio_pci]\nblacklist: [nouveau]\n\
         module_options: {{nouveau: [modeset=0]}}\nvfio_pci: {{ids: [\"15b3:1017\"], devices: [\"{}\"]}}\n\
         sriov: [{{device: \"{}\", vfs: 4, driver: vfio-pci}}]\nqemu: {{cgroup_device_acl: {{vfio_groups: true}}}}\n",
        vocabulary.devices[0], vocabulary.pf
    );
    fs::write(place.path().join("host.yaml"), everything).expect("a document");
    let path = |name: &str| place.path().join(name).display().to_string();
    for arguments in LOOKING {
        let fixed = [RECONCILE, "--root", &path("host"), "-c", &path("host.yaml")].map(str::to_owned);
        let command: Vec<String> =
            fixed.into_iter().chain(arguments.iter().map(|text| (*text).to_owned())).collect();
        let calls = trace::calls(&command);
        let writing: Vec<&String> =
            calls.iter().filter(|call| writes(call) && !call.contains("/dev/null")).collect();
        assert!(writing.is_empty(), "{arguments:?} makes these calls: {writing:#?}");
    }
}

#[test]
fn the_second_apply_writes_nothing() {
    let hosts = Hosts::new();
    proptest!(cases(12), |(sections in sections(&hosts.vocabulary()))| {
        let place = hosts.copy();
        let host = place.path().join("host");
        let document = document(&sections);
        let first = run(place.path(), &document, &["--yes"]);
        let before = Snapshot::of(&host);
        let second = run(place.path(), &document, &["--yes"]);
        let changes = before.differences(&Snapshot::of(&host));
        prop_assert!(changes.is_empty(), "the second apply changed {changes:?} for\n{document}{}", second.stdout);
        prop_assert_eq!(first.status, second.status, "{}\n{}", document, second.stdout);
        let look = run(place.path(), &document, &["--dry-run"]);
        prop_assert_eq!(look.status, second.status, "{}\n{}", document, look.stdout);
    });
}

#[test]
fn the_order_of_sections_changes_nothing() {
    let hosts = Hosts::new();
    let orders = sections(&hosts.vocabulary())
        .prop_flat_map(|sections| (Just(sections.clone()), Just(sections).prop_shuffle()));
    proptest!(cases(10), |((one, other) in orders)| {
        same_outcome(&hosts, &[("host.yaml", &document(&one))], &[("host.yaml", &document(&other))])?;
    });
}

#[test]
fn a_split_document_is_the_joined_one() {
    let hosts = Hosts::new();
    let parts = sections(&hosts.vocabulary())
        .prop_flat_map(|sections| (proptest::collection::vec(0..3usize, sections.len()), Just(sections)));
    proptest!(cases(10), |((part_of, sections) in parts)| {
        let part = |number: usize| {
            let mine: Vec<String> =
                sections.iter().zip(&part_of).filter(|(_, part)| **part == number).map(|(text, _)| text.clone()).collect();
            document(&mine)
        };
        let whole = document(&sections);
        same_outcome(&hosts, &[("host.yaml", &whole)], &[("a.yaml", &part(0)), ("b.yaml", &part(1)), ("c.yaml", &part(2))])?;
    });
}

/// Whether both sets of files print the same, apart from places, and make the same tree.
fn same_outcome(hosts: &Hosts, one: &[(&str, &str)], other: &[(&str, &str)]) -> Result<(), TestCaseError> {
    let play = |files: &[(&str, &str)]| {
        let place = hosts.copy();
        let mut arguments = vec!["--root", "host"];
        for (name, text) in files {
            fs::write(place.path().join(name), text).expect("a document");
            arguments.extend(["-c", name]);
        }
        let verbs: [&[&str]; 4] = [&["--dry-run"], &["--dry-run", "-o", "json"], &["--yes"], &["status"]];
        let outcomes = verbs.map(|verb| placeless(&reconcile(place.path(), arguments.iter().chain(verb))));
        (outcomes, Snapshot::of(&place.path().join("host")))
    };
    let ((one_outcomes, one_tree), (other_outcomes, other_tree)) = (play(one), play(other));
    for (left, right) in one_outcomes.iter().zip(&other_outcomes) {
        prop_assert_eq!(left, right, "for {:#?}\nand {:#?}", one, other);
    }
    let changes = one_tree.without(&OWN_STATE).changes(&other_tree.without(&OWN_STATE));
    prop_assert!(changes.is_empty(), "{changes:?} differ for {one:#?}\nand {other:#?}");
    Ok(())
}

#[test]
fn taking_everything_back_restores_the_tree() {
    let hosts = Hosts::new();
    proptest!(cases(12), |(sections in sections(&hosts.vocabulary()))| {
        let place = hosts.copy();
        let host = place.path().join("host");
        let before = Snapshot::of(&host).without(&OWN_STATE);
        let document = document(&sections);
        let applied = run(place.path(), &document, &["--yes"]);
        let back = run(place.path(), NOTHING, &["--yes"]);
        let mut changes = before.changes(&Snapshot::of(&host).without(&OWN_STATE));
        // A directory that had to be made is empty again; nobody reads an empty one.
        let after = Snapshot::of(&host);
        changes.retain(|path, _| after.0.get(path).is_none_or(|entry| entry.content != Content::Directory));
        prop_assert!(changes.is_empty(), "left behind: {changes:?} after\n{document}{}\n{}", applied.stdout, back.stdout);
    });
}
