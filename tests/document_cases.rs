//! What documents get: each directory of `tests/documents` holds one or several `*.yaml` and, in `expected.txt`,
//! the whole answer. `RECONCILE_REGENERATE=1 cargo test --test document_cases` writes the answers anew.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use proptest::prelude::*;
use reconcile::document::{Document, DocumentErrors, Loaded, Source, load};

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn cases() -> Vec<PathBuf> {
    let cases = sorted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents"));
    assert!(cases.len() >= 40);
    cases
}

fn sources(case: &Path) -> Vec<Source> {
    let files = sorted(case).into_iter().filter(|path| path.extension().is_some_and(|name| name == "yaml"));
    files
        .map(|path| Source::new(path.file_name().unwrap().to_str().unwrap(), fs::read(&path).unwrap()))
        .collect()
}

fn answer(outcome: &Result<Loaded, DocumentErrors>) -> String {
    let loaded = match outcome {
        Ok(loaded) => loaded,
        Err(errors) => return format!("{}\n{errors}\n", errors.render(false)),
    };
    let mut text = "accepted\n".to_owned();
    for warning in &loaded.warnings {
        let (at, help) = (warning.reason.at.as_deref(), warning.reason.remedy.as_deref());
        let (code, what) = (&warning.reason.code, &warning.reason.text);
        text.push_str(&format!("{}: warning[{code}]: {what}\n", at.unwrap_or_default()));
        text.push_str(&format!("  help: {}\n", help.unwrap_or_default()));
    }
    text
}

#[test]
fn every_case_gets_its_answer() {
    let regenerate = std::env::var_os("RECONCILE_REGENERATE").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let answer = answer(&load(&sources(&case)));
        let expected = case.join("expected.txt");
        if regenerate {
            fs::write(&expected, answer).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != answer {
            wrong.push(format!("{}:\n{answer}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_named_ok_is_accepted_and_nothing_else() {
    for case in cases() {
        let good = case.file_name().unwrap().to_str().unwrap().starts_with("ok-");
        assert_eq!(load(&sources(&case)).is_ok(), good, "{}", case.display());
    }
}

/// Sections of a document; any order of them says the same.
const SECTIONS: [&str; 7] = [
    "kernel_args: {present: [intel_iommu=on, iommu=pt, \"console=ttyS0\"], absent: [nomodeset]}\n",
    "modules: [vfio, vfio_pci]\n",
    "blacklist: [nouveau, {module: lbm-nouveau, alias_off: true}]\n",
    "module_options:\n  nouveau: [modeset=0]\n  kvm: \"ignore_msrs=1\"\n",
    "vfio_pci:\n  ids: [\"10de:11bf\"]\n  devices:\n  - \"0000:04:00.0\"\n  - {pf: \"0000:03:00.0\", vf: 1}\n",
    "sriov:\n- {device: \"0000:03:00.0\", vfs: 4, driver: vfio-pci}\n",
    "qemu: {cgroup_device_acl: {vfio_groups: true, present: [/dev/hpet, /dev/vfio/45]}}\n",
];

fn document(text: &str) -> Document {
    load(&[Source::new("host.yaml", text)])
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)))
        .document
}

/// Text made of what YAML gives a meaning, so that the interesting paths are taken.
fn yaml_like() -> impl Strategy<Value = String> {
    let words = [
        "version: 1\n",
        "vfio_pci:",
        "devices:",
        "sriov:",
        "- ",
        "  ",
        "\n",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "*a",
        "&a ",
        "!x ",
        "!!str ",
        "<<: ",
        "? ",
        "|\n",
        ">\n",
        "\"",
        "'",
        "#",
        "---\n",
        "...\n",
        "\t",
        "0000:03:00.0",
        "180.0",
        "é",
        "\u{2028}",
        "\u{85}",
        "a",
        "null",
        "~",
        "%",
        "\r\n",
        "\r",
        "1",
        "pf",
        "address",
        "modules:",
        "\\x07",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = answer(&load(&[Source::new("f", bytes)]));
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in yaml_like(), more in yaml_like()) {
        let _ = answer(&load(&[Source::new("a", text.clone()), Source::new("b", more)]));
        let _ = answer(&load(&[Source::new("a", format!("version: 1\nvfio_pci: {{devices: [{text}]}}\n"))]));
    }

    #[test]
    fn the_order_of_sections_changes_nothing(order in Just(SECTIONS.to_vec()).prop_shuffle(), version in 0..8_usize) {
        let mut sections = order;
        sections.insert(version, "version: 1\n");
        prop_assert_eq!(document(&sections.concat()), document(&format!("version: 1\n{}", SECTIONS.concat())));
    }

    #[test]
    fn one_file_or_several_say_the_same(cut in 0..8_usize) {
        let (first, second) = SECTIONS.split_at(cut.min(SECTIONS.len()));
        let files = [first, second].map(|part| Source::new("part.yaml", format!("version: 1\n{}", part.concat())));
        let joined = load(&files).unwrap().document;
        prop_assert_eq!(joined, document(&format!("version: 1\n{}", SECTIONS.concat())));
    }
}

/// The time for hostile documents of the largest size stays that of reading them.
#[test]
fn hostile_documents_are_refused_fast() {
    let size = 1 << 20;
    let bomb: String = (b'b'..b'z')
        .map(|c| {
            format!("{0}: &{0} [{1}]\n", char::from(c), vec![format!("*{}", char::from(c - 1)); 9].join(","))
        })
        .collect();
    let documents = [
        "[".repeat(size),
        "{a: ".repeat(size / 4),
        "- ".repeat(size / 2),
        "[ #]\n".repeat(size / 5),
        (0..1400).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        format!("a: &a [x]\n{bomb}"),
        format!("version: 1\nmodules: &m\n{}blacklist: [{}]\n", "- m\n".repeat(1000), "*m,".repeat(100_000)),
        format!("{}: [{}]", "k".repeat(size / 2), "a,".repeat(size / 4)),
        format!("{{{}}}", "k: 1,".repeat(size / 6)),
        "x".repeat(size),
    ];
    for text in documents {
        let start = Instant::now();
        assert!(load(&[Source::new("host.yaml", text.clone())]).is_err());
        let took = start.elapsed();
        assert!(took.as_secs() < 20, "{:?} took {took:?}", &text[..60.min(text.len())]);
    }
}

#[test]
fn thousands_of_devices_are_read_in_linear_time() {
    let read = |count: u32| {
        let address =
            |n: u32| format!("{:04x}:{:02x}:{:02x}.{}", n >> 16, n >> 8 & 0xff, n >> 3 & 0x1f, n & 7);
        let entry = |n| format!("  - {{address: \"{}\", id: \"10de:11bf\"}}\n", address(n));
        let text =
            format!("version: 1\nvfio_pci:\n  devices:\n{}", (0..count).map(entry).collect::<String>());
        let start = Instant::now();
        document(&text);
        start.elapsed()
    };
    read(100);
    let (small, large) = (read(1000), read(8000));
    assert!(large < small * 32, "1000 devices: {small:?}, 8000 devices: {large:?}");
}
