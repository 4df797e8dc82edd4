//! The schema against a real validator (Python's jsonschema): what the program accepts validates, what it refuses for its
//! structure does not.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reconcile::document::{Source, load, schema};
use serde_json::{Value, json};

/// Validates every document; the answers say whether each is valid.
const VALIDATE: &str = "
import json, sys
from jsonschema import Draft202012Validator as Validator
given = json.load(sys.stdin)
Validator.check_schema(given['schema'])
validator = Validator(given['schema'])
json.dump({name: next((e.message for e in validator.iter_errors(d)), None) for name, d in given['documents'].items()}, sys.stdout)
";

/// Why each document does not validate; `None` where it does.
fn validate(documents: &BTreeMap<String, Value>) -> BTreeMap<String, Option<String>> {
    // The interpreter that the package python3-jsonschema is for.
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is missing: install the package python3");
    let given = json!({ "schema": schema(), "documents": documents });
    python.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "install the package python3-jsonschema (or: python3 -m pip install jsonschema)"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The documents of a directory of cases or examples: `CASE/*.yaml`.
fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let list = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let files = list(directory).into_iter().flat_map(|case| list(&case));
    files.filter(|path| path.extension().is_some_and(|name| name == "yaml")).collect()
}

/// The files of a directory that are YAML at all, by path, as JSON has them.
fn documents(directory: &str) -> BTreeMap<String, (Source, Value)> {
    let files = yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory));
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)).ok()?;
        let value = serde_yaml::from_str(text).ok()?;
        Some((path.display().to_string(), (Source::new("host.yaml", bytes), value)))
    };
    files.into_iter().filter_map(read).collect()
}

/// Problems that no schema can see: they lie across values, in YAML itself, or in what JSON has no word for.
const BEYOND: &[&str] = &[
    "contradiction",
    "too-many-ids",
    "unusable-acl",
    "byte-order-mark",
    "carriage-return",
    "not-yaml",
    "duplicate-key",
    "several-documents",
    "unknown-tag",
    "bad-alias",
    "duplicate-anchor",
    "alias-bomb",
    "empty-document",
];

#[test]
fn accepts_and_refuses_what_the_program_does() {
    let all: BTreeMap<_, _> = documents("tests/documents").into_iter().chain(documents("examples")).collect();
    let values = all.iter().map(|(name, (_, value))| (name.clone(), value.clone())).collect();
    let answers = validate(&values);
    let (mut accepted, mut refused) = (0, 0);
    for (name, (source, _)) in &all {
        let schema_says = &answers[name];
        match load(std::slice::from_ref(source)) {
            Ok(_) => {
                accepted += 1;
                assert_eq!(*schema_says, None, "{name}: accepted by the program, not by the schema");
            }
            // JSON knows no difference between 1 and 1.0.
            Err(_) if name.contains("version-float") => {}
            Err(errors) if errors.errors().iter().any(|error| !BEYOND.contains(&error.code)) => {
                refused += 1;
                assert!(
                    schema_says.is_some(),
                    "{name}: refused by the program, not by the schema:\n{errors}"
                );
            }
            Err(_) => {}
        }
    }
    assert!(accepted >= 8 && refused >= 30, "{accepted} accepted, {refused} refused");
}

/// Each text alone, in a field of its kind: the pattern and the program have to agree.
#[test]
fn patterns_say_what_the_program_says() {
    let fields = [
        (
            "{version: 1, vfio_pci: {devices: [TEXT]}}",
            vec![
                "0000:03:00.0",
                "03:00.1",
                "3:0.0",
                "10000:01:00.0",
                "123456789:03:00.0",
                "0000:03:1f.7",
                "0000:03:20.0",
                "0000:103:00.0",
                "0000:03:00.8",
                "0000:03:00",
                "03:00",
                "10de:11bf",
                "10de:",
                ":11bf",
                "::0300",
                "::",
                ":",
                "*:*",
                "*:11bf:*",
                "10de:11bf:300",
                "0x10de:0X11bf",
                "a:b:c:d",
                "",
                "x",
            ],
        ),
        (
            "{version: 1, vfio_pci: {ids: [TEXT]}}",
            vec![
                "10de:11bf",
                "10DE:11BF",
                "0x10de:0x11bf",
                "10de:1bf",
                "10de:11bf:",
                "10de:11bf:10de",
                "10de:11bf:10de:0001",
                "10de:11bf:10de:0001:030000",
                "10de:11bf:10de:0001:3:ff",
                "10de:11bf:10de:0001:030000:ff0000:1",
                "10de",
                "10de:11bf:10de:0001:0300000",
            ],
        ),
        (
            "{version: 1, vfio_pci: {devices: [{address: \"03:00.0\", id: TEXT}]}}",
            vec!["10de:11bf", "10de:11bf:10de", "10de:11bf:10de:0001", "10de:11bf:10de:0001:", "10de", ""],
        ),
        (
            "{version: 1, vfio_pci: {devices: [{address: \"03:00.0\", serial: TEXT}]}}",
            vec![
                "00-15-4d-ff-ff-12-34-56",
                "00-15-4D-FF-FF-12-34-56",
                "00-15",
                "00:15:4d:ff:ff:12:34:56",
                "00-15-4d-ff-ff-12-34-5g",
            ],
        ),
        (
            "{version: 1, vfio_pci: {devices: [{address: \"03:00.0\", mac: TEXT}]}}",
            vec!["00:15:4d:12:34:56", "00:15:4D:12:34:56", "00-15-4d-12-34-56", "00:15:4d:12:34", ""],
        ),
        (
            "{version: 1, vfio_pci: {devices: [{address: \"03:00.0\", slot: TEXT}]}}",
            vec!["4", "0-1", "Slot 1", "a/b", "..", ""],
        ),
        (
            "{version: 1, modules: [TEXT]}",
            vec![
                "vfio",
                "vfio-pci",
                "a.b+c",
                "vfio pci",
                "",
                ".",
                "..",
                "a/b",
                "a_module_whose_name_is_longer_than_the_kernel_would_take",
            ],
        ),
        (
            "{version: 1, module_options: {m: TEXT}}",
            vec![
                "a",
                "a=",
                "a=b",
                "a-b=c",
                "a b",
                "a=b c",
                "a=\\\"b c\\\"",
                "a=\\\"b",
                "=a",
                "",
                "a=b\\\\c",
                "a.b=c",
                "a=x=y",
            ],
        ),
        (
            "{version: 1, sriov: [{device: \"03:00.0\", vfs: 1, driver: TEXT}]}",
            vec!["vfio-pci", "mlx5_core", "a b", "", ".a", "a/b"],
        ),
        (
            "{version: 1, qemu: {cgroup_device_acl: [TEXT]}}",
            vec![
                "/dev/null",
                "/dev/net/tun",
                "/dev/",
                "/dev",
                "dev/null",
                "/dev//null",
                "/dev/../x",
                "/dev/a..b",
                "/dev/.",
                "/dev/a'b",
                "/dev/a b",
                "/dev/a\\\\b",
                "/dev/disk/by-id/x:1",
            ],
        ),
        (
            "{version: 1, kernel_args: [TEXT]}",
            vec![
                "quiet",
                "iommu=pt",
                "console=ttyS0,115200n8",
                "a=\\\"b c\\\"",
                "\\\"a=b c\\\"",
                "a=\\\"b c",
                "dyndbg=\\\"file x +p\\\"",
                "a=b\\tc",
                "a=b\\nc",
                "--",
                "init=/bin/sh",
                "\\\"=b\\\"",
                "\\\"\\\"",
                "--a",
                "a\\\"b",
                "a=b=c",
                "",
                "=b",
                "a b",
                "a=b c",
            ],
        ),
    ];
    let texts: Vec<String> = fields
        .iter()
        .flat_map(|(form, texts)| texts.iter().map(|text| form.replace("TEXT", &format!("\"{text}\""))))
        .collect();
    let values = texts.iter().map(|text| (text.clone(), serde_yaml::from_str(text).unwrap())).collect();
    for (text, error) in validate(&values) {
        let program = load(&[Source::new("host.yaml", text.clone())]);
        assert_eq!(
            program.is_ok(),
            error.is_none(),
            "{text}: the schema says {error:?}, the program {:?}",
            program.err()
        );
    }
}

#[test]
fn describes_every_key() {
    fn walk(value: &Value, path: &str) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            assert_eq!(value["additionalProperties"], json!(false), "{path}");
            for (key, property) in properties {
                assert!(property.get("description").is_some(), "{path}.{key} has no description");
            }
        }
        for (key, inner) in value.as_object().into_iter().flatten() {
            walk(inner, &format!("{path}/{key}"));
        }
    }
    let schema = schema();
    walk(&schema, "");
    assert_eq!(schema["$schema"], json!("https://json-schema.org/draft/2020-12/schema"));
    assert_eq!(schema["required"], json!(["version"]));
    assert!(!schema.to_string().contains("\"null\""));
}
