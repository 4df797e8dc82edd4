//! virConf against libvirt's own parser, which is reached through its shared library.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reconcile::formats::virconf::{Value, VirConf};
use serde::Deserialize;

const ACL: &str = "cgroup_device_acl";

/// libvirt's answer about one file.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Rejected { error: (usize, String) },
    Accepted { settings: Vec<(String, Read)>, acl: serde_json::Value },
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum Read {
    Number(i64),
    String { hex: String },
    List(Vec<Read>),
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<&Value> for Read {
    fn from(value: &Value) -> Self {
        match value {
            Value::Integer(number) => Self::Number(*number),
            Value::String(bytes) => Self::String { hex: hex(bytes) },
            Value::List(list) => {
                Self::List(list.elements.iter().map(|element| Self::from(&element.value)).collect())
            }
        }
    }
}

/// Asks libvirt about all these files.
fn libvirt(files: &[Vec<u8>]) -> Vec<Answer> {
    let directory = tempfile::tempdir().unwrap();
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential_virconf/oracle.py");
    let mut answers = Vec::new();
    for (chunk, files) in files.chunks(500).enumerate() {
        let mut command = Command::new("python3");
        command.arg(&oracle).env("LC_ALL", "C");
        for (index, bytes) in files.iter().enumerate() {
            let path = directory.path().join(format!("{chunk}-{index}.conf"));
            fs::write(&path, bytes).unwrap();
            command.arg(path);
        }
        let output = command.output().expect("python3 is missing: install python3");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "libvirt.so.0 cannot be asked: install libvirt0\n{errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        answers.extend(text.lines().map(|line| serde_json::from_str::<Answer>(line).unwrap()));
    }
    assert_eq!(answers.len(), files.len());
    answers
}

/// What differs between our reading and libvirt's.
fn difference(text: &[u8], answer: &Answer) -> Option<String> {
    match (VirConf::parse(text), answer) {
        (Ok(conf), Answer::Accepted { settings, acl }) => {
            let ours: Vec<(String, Read)> =
                conf.settings().iter().map(|s| (s.name.clone(), Read::from(&s.value))).collect();
            let our_acl = match conf.get(ACL).map(|setting| setting.value.strings()) {
                None => serde_json::Value::Null,
                Some(None) => serde_json::Value::Bool(false),
                Some(Some(strings)) => strings.iter().map(|bytes| hex(bytes)).collect(),
            };
            let same = ours == *settings && our_acl == *acl;
            (!same).then(|| format!("{ours:?} {our_acl:?} against {answer:?}"))
        }
        (Err(error), Answer::Rejected { error: (line, problem) }) => {
            let same = error.line == *line && error.problem == problem;
            (!same).then(|| format!("{error} against {answer:?}"))
        }
        (ours, answer) => Some(format!("{ours:?} against {answer:?}")),
    }
}

fn assert_same(files: &[Vec<u8>]) {
    let answers = libvirt(files);
    let differences: Vec<String> = files
        .iter()
        .zip(&answers)
        .filter_map(|(text, answer)| {
            difference(text, answer).map(|why| format!("{:?}: {why}", String::from_utf8_lossy(text)))
        })
        .collect();
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

/// Files by hand: whole grammar, and every odd place that was found by trying.
const CASES: &[&[u8]] = &[
    b"",
    b"\n",
    b"  ",
    b" \n# c\n",
    b"# c\n  \n",
    b"#",
    b"  # c\n",
    b"a=1",
    b"a = 1\n",
    b"\ta\t=\t1\t",
    b"a=1;b=2",
    b"a=1;;b=2",
    b";a=1",
    b"a=1;",
    b"a=1;#c",
    b"a=1\n;b=2",
    b"a=1 ;  \n\n",
    b"a=1 b=2",
    b"a=1#c",
    b"a=1 # c\n",
    b"a=\n1",
    b"a\n=1",
    b"a==1",
    b"=1",
    b"a",
    b"a=",
    b"1a=1",
    b"_a=1",
    b"a-b=1",
    b"A_1=1",
    b"a=1x",
    b"a=0x10",
    b"a=-1",
    b"a=+1",
    b"a=- 1",
    b"a=-",
    b"a=99999999999999999999999",
    b"a=-9223372036854775809",
    b"a = abc",
    b"a='x\"y'",
    b"a=\"x'y\"",
    b"a=\"x\\\"y\"",
    b"a=\"\\n\"",
    b"a=\"\"",
    b"a=\"x",
    b"a='",
    b"a=\"x\ny\"",
    b"a=\"x\ry\"",
    b"a=\"x\" \"y\"",
    b"a='''x'''",
    b"a=\"\"\"x\ny\"\"\"",
    b"a=\"\"\"\"\"\"",
    b"a=\"\"\"\"\"\"\n",
    b"a=\"\"\"\"\"\" ",
    b"a=\"\"\"x\"\"\"",
    b"a=\"\"\"x\"\"",
    b"a=\"\"\"x\"\"\"\"",
    b"a=\"\"\"\"\"\"\"\"",
    b"a=[\"\"\"x\ny\"\"\"]",
    b"a=\"\"\"\n\n\"\"\"\n?",
    b"cgroup_device_acl=[]",
    b"cgroup_device_acl = [ ]\n",
    b"cgroup_device_acl=[,]",
    b"cgroup_device_acl=[\"x\",]",
    b"cgroup_device_acl=[\"x\",,\"y\"]",
    b"cgroup_device_acl=[\"x\"\"y\"]",
    b"cgroup_device_acl=[\"x\" ; \"y\"]",
    b"cgroup_device_acl=[\"x\"]]",
    b"cgroup_device_acl=[\"x\",\n",
    b"cgroup_device_acl=[",
    b"cgroup_device_acl=[#c\n\"x\"]",
    b"cgroup_device_acl=[\"x\" #c\n]",
    b"cgroup_device_acl=[\"x\",\n#c\n\"y\"]",
    b"cgroup_device_acl=[\n\"x\"\n,\n\"y\"\n]\n",
    b"cgroup_device_acl=[\"x\", 'y']# c",
    b"cgroup_device_acl=['x\",\"y']",
    b"cgroup_device_acl=\"/dev/null\"",
    b"cgroup_device_acl=1",
    b"cgroup_device_acl=[1,2]",
    b"cgroup_device_acl=[[\"x\"],\"y\"]",
    b"cgroup_device_acl=[\"x\"]\ncgroup_device_acl=[\"y\"]",
    b"cgroup_device_acl=\n[\"x\"]",
    b"cgroup_device_acl=[\"x\"];b=[\"y\"]",
    b"CGROUP_DEVICE_ACL=[\"x\"]",
    b"cgroup_device_acl+=[\"x\"]",
    b"a=\"x\"\r\nb=1\r\n",
    b"\r\na=1\r\n",
    b"a=1\rb=2",
    b"cgroup_device_acl=[\r\"x\"\r]\r",
    b"a=[\"x\",\r\n\"y\"]\r\n",
    b"\x00a=1",
    b"a=1\x00",
    b"a=1\n\x00",
    b"a\x00=1",
    b"a=\x00",
    b"a=\"x\x00y\"",
    b"cgroup_device_acl=[\"x\x00\", \"y\"]",
    b"cgroup_device_acl=[\"x\", \x00\"y\"]",
    b"#\x00x\na=1",
    b"a=1 #\x00x\nb=2",
    b"a='x\x00' ",
    b"\xef\xbb\xbfa=1",
    b"\xc3\xa4=1",
    b"a=\"\xff\"",
    b"a=1\x0b",
    b"a=1\x0c\n",
    b"a=1 \\\nb=2",
    b"[section]\na=1\n",
    b"# only a comment without an end",
];

#[test]
fn reads_as_libvirt_does() {
    let mut files: Vec<Vec<u8>> = CASES.iter().map(|case| case.to_vec()).collect();
    files.push([&b"a="[..], &b"[".repeat(50), &b"]".repeat(50)].concat());
    files.push([&b"a=\""[..], &b"x".repeat(100_000), b"\"\n"].concat());
    assert!(files.len() >= 40);
    assert_same(&files);
}

/// Pieces that make mostly valid files, and enough nonsense.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed: &[&[u8]] = &[
        b"cgroup_device_acl = [ ",
        b"cgroup_device_acl=[\n    ",
        b"a = ",
        b"b=",
        b"1",
        b"-7",
        b"\"x\"",
        b"'y\"'",
        b"\"\"\"z\n\"\"\"",
        b"\"/dev/null\"",
        b", ",
        b",\n    ",
        b" ]",
        b"\n]\n",
        b"\n",
        b"\r\n",
        b";",
        b" ",
        b"\t",
        b"# comment\n",
        b"#",
        b"[",
        b"]",
        b"\"",
        b"'",
        b"\"\"\"",
        b"\x00",
        b"\xff",
        b"=",
        b"user = \"root\"\n",
        b"#cgroup_device_acl = [\n#    \"/dev/null\"\n#]\n",
        b"cgroup_device_acl = [ \"/dev/kvm\", ]\n",
    ];
    let fixed: Vec<Vec<u8>> = fixed.iter().map(|piece| piece.to_vec()).collect();
    prop::sample::select(fixed)
}

fn statement() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec!["cgroup_device_acl", "a", "user", "B_2"]);
    let element = prop::sample::select(vec![
        "\"/dev/null\"",
        "'/dev/kvm'",
        "\"\"\"/dev/x\"\"\"",
        "\"/dev/vfio/45\"",
        "\"\"",
    ]);
    let glue = prop::sample::select(vec![", ", ",", ",\n    ", " ,\r\n", "\n,\t"]);
    let list = (
        prop::collection::vec((element, glue), 0..5),
        any::<bool>(),
        prop::sample::select(vec!["", " ", "\n", "\r\n  "]),
    );
    let list = list.prop_map(|(elements, comma, space)| {
        let mut text = format!("[{space}");
        let last = elements.len();
        for (index, (element, glue)) in elements.iter().enumerate() {
            text += element;
            if index + 1 < last || comma {
                text += glue;
            }
        }
        text + space + "]"
    });
    let value = prop_oneof![4 => list, 1 => Just("1".to_owned()), 1 => Just("\"s\"".to_owned())];
    let end = prop::sample::select(vec!["\n", ";", " # c\n", "\r\n", "\n\n#x\n", " ;\n", ""]);
    let lead =
        prop::sample::select(vec!["", "  ", "# c\n", "#cgroup_device_acl = [\n#  \"/dev/null\",\n#]\n"]);
    (lead, name, value, end)
        .prop_map(|(lead, name, value, end)| format!("{lead}{name} = {value}{end}").into_bytes())
}

fn generated(count: usize) -> Vec<Vec<u8>> {
    let pieces = prop_oneof![3 => statement(), 1 => piece()];
    let file = prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat());
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| file.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn reads_generated_files_as_libvirt_does() {
    assert_same(&generated(4000));
}

/// An edited file: what libvirt has to read from it.
struct Edited {
    before: Vec<u8>,
    after: Vec<u8>,
    /// The list; `None` where the setting is gone.
    acl: Option<Vec<Vec<u8>>>,
    others: Vec<(String, Read)>,
}

/// The settings besides the first `cgroup_device_acl`.
fn others(conf: &VirConf<'_>) -> Vec<(String, Read)> {
    let first = conf.settings().iter().position(|setting| setting.name == ACL);
    let settings = conf.settings().iter().enumerate().filter(|(index, _)| Some(*index) != first);
    settings.map(|(_, setting)| (setting.name.clone(), Read::from(&setting.value))).collect()
}

fn edits(before: &[u8]) -> Vec<Edited> {
    let Ok(conf) = VirConf::parse(before) else { return Vec::new() };
    let edited = |after: Vec<u8>, acl: Option<Vec<Vec<u8>>>| Edited {
        before: before.to_vec(),
        after,
        acl,
        others: others(&conf),
    };
    let added = ["/dev/a b", "/dev/q\"uote"];
    let added_bytes = || added.iter().map(|text| text.as_bytes().to_vec());
    let Some(setting) = conf.get(ACL) else {
        let after = conf.with_list(ACL, &added).unwrap();
        assert_eq!(
            VirConf::parse(&after).unwrap().without(ACL),
            before,
            "insertion is not taken back exactly"
        );
        let empty = conf.with_list::<&str>(ACL, &[]).unwrap();
        return vec![edited(after, Some(added_bytes().collect())), edited(empty, Some(Vec::new()))];
    };
    let mut result = Vec::new();
    // A second definition comes into force when the first goes.
    if conf.settings().iter().filter(|setting| setting.name == ACL).count() == 1 {
        result.push(edited(conf.without(ACL), None));
    }
    let Some(strings) = setting.value.strings() else { return result };
    let with = conf.with_elements(ACL, |_| true, &added).unwrap().unwrap();
    let again = VirConf::parse(&with).unwrap();
    let ours = |value: &Value| matches!(value, Value::String(bytes) if added.iter().any(|text| text.as_bytes() == bytes.as_slice()));
    let taken_back = again.with_elements::<&str>(ACL, |value| !ours(value), &[]).unwrap().unwrap();
    assert_eq!(taken_back, before, "additions are not taken back exactly");
    result.push(edited(with, Some(strings.iter().cloned().chain(added_bytes()).collect())));
    // Every subset goes, with and without something new.
    for mask in 0..1_u32 << strings.len().min(5) {
        let kept: Vec<Vec<u8>> = strings
            .iter()
            .filter(|string| {
                let index = strings.iter().position(|other| other == *string).unwrap();
                mask & (1 << index) != 0
            })
            .cloned()
            .collect();
        let keep = |value: &Value| matches!(value, Value::String(bytes) if kept.contains(bytes));
        let only_removed = conf.with_elements::<&str>(ACL, keep, &[]).unwrap().unwrap();
        result.push(edited(only_removed, Some(kept.clone())));
        let both = conf.with_elements(ACL, keep, &added).unwrap().unwrap();
        result.push(edited(both, Some(kept.iter().cloned().chain(added_bytes()).collect())));
    }
    result
}

#[test]
fn libvirt_reads_what_an_edit_meant_and_everything_else_as_before() {
    let cases = CASES.iter().map(|case| case.to_vec());
    let edited: Vec<Edited> = cases.chain(generated(1500)).flat_map(|before| edits(&before)).collect();
    assert!(edited.len() > 1000, "only {} edits", edited.len());
    let files: Vec<Vec<u8>> = edited.iter().map(|edited| edited.after.clone()).collect();
    for (edited, answer) in edited.iter().zip(libvirt(&files)) {
        let shown = format!(
            "{:?} became {:?}, of which libvirt says {answer:?}",
            String::from_utf8_lossy(&edited.before),
            String::from_utf8_lossy(&edited.after)
        );
        let Answer::Accepted { acl, .. } = &answer else { panic!("{shown}") };
        let wanted = match &edited.acl {
            None => serde_json::Value::Null,
            Some(strings) => strings.iter().map(|bytes| hex(bytes)).collect(),
        };
        assert_eq!(*acl, wanted, "{shown}");
        assert_eq!(others(&VirConf::parse(&edited.after).unwrap()), edited.others, "{shown}");
        assert_eq!(difference(&edited.after, &answer), None, "{shown}");
    }
}
