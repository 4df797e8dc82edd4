//! What guards refuse, and what they must not: hosts as short descriptions, each with a safe twin.
//!
//! `tests/guards/README.md` says how a case is written. The real command looks at each tree with
//! `--root TREE --dry-run -o json`; what it refuses is compared with the case's `expected`, which
//! `RECONCILE_REGENERATE=1 cargo test --test guards` writes anew. That a case is refused, that its twins are not, and
//! that a twin's change is really made, is asserted whatever `expected` says.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// A helper of a test fails as the test does: by a panic that says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use similar::TextDiff;
use support::command::{Outcome, reconcile};
use support::described::Described;
use support::{only_ours, repository};

/// Fewer cases than this, and somebody has lost some.
const REFUSING: usize = 144;
const SAFE: usize = 199;

/// What the command does with a tree and a document.
struct Look {
    status: i32,
    report: Value,
}

impl Look {
    fn refused(&self) -> &[Value] {
        self.report["refused"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// What takes a function from its driver, or VFs away: targets of changes.
    fn taken(&self) -> impl Iterator<Item = String> {
        let changes = self.report["changes"].as_array().into_iter().flatten();
        changes.filter_map(|change| {
            let target = change["target"].as_str()?;
            let takes = target.ends_with("/unbind") || target.ends_with("/sriov_numvfs");
            takes.then(|| format!("{target} <- {}", change["after"].as_str().unwrap_or_default()))
        })
    }
}

/// A tree with these descriptions, one laid over the other, and the dry run on it.
fn look(descriptions: &[&str], document: Option<&Path>) -> Look {
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut tree = Described::default();
    for description in descriptions {
        tree.lay(description, &repository().join("tests/guards/bases"));
    }
    tree.write(&place.path().join("host"));
    let file = place.path().join("host.yaml");
    match document {
        Some(document) => drop(fs::copy(document, &file).expect("the case's document")),
        None => {
            let devices: Vec<String> = tree.given.iter().map(|device| format!("\"{device}\"")).collect();
            let text = format!("version: 1\nvfio_pci: {{devices: [{}]}}\n", devices.join(", "));
            fs::write(&file, text).expect("a document");
        }
    }
    only_ours(&file);
    let arguments = ["--root", "host", "-c", "host.yaml", "--dry-run", "-o", "json"];
    let outcome: Outcome = reconcile(place.path(), arguments);
    Look { status: outcome.status, report: outcome.json() }
}

/// What a reviewer reads of a look.
fn described(look: &Look) -> String {
    let mut text = format!("status {}\n", look.status);
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for refused in look.refused() {
        let _ = writeln!(text, "refused {} {}", word(&refused["resource"]), word(&refused["item"]));
        let known = ["resource", "item", "origin", "chain", "lifted_by"];
        for (key, value) in refused.as_object().into_iter().flatten() {
            if !known.contains(&key.as_str()) {
                let _ = writeln!(text, "  {key}: {}", word(value));
            }
        }
        for reason in refused["chain"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "  {}: {}", word(&reason["code"]), word(&reason["text"]));
        }
        match &refused["lifted_by"] {
            Value::Object(lifted) => {
                for (by, how) in lifted {
                    let _ = writeln!(text, "  lifted by {by}: {}", word(how));
                }
            }
            other => drop(writeln!(text, "  lifted by {}", word(other))),
        }
    }
    for change in look.report["changes"].as_array().into_iter().flatten() {
        for allowed in change["allowed"].as_array().into_iter().flatten() {
            let word = |key: &str| word(&allowed[key]);
            let _ = writeln!(text, "allowed {} of {} by {}", word("because"), word("function"), word("at"));
        }
    }
    for taken in look.taken() {
        let _ = writeln!(text, "takes {taken}");
    }
    for warning in look.report["warnings"].as_array().into_iter().flatten() {
        let code = word(&warning["reason"]["code"]);
        if TOLD.iter().any(|told| code.starts_with(told)) {
            let at = warning["reason"]["at"].as_str().map_or(String::new(), |at| format!(" ({at})"));
            let _ = writeln!(text, "warns {code}: {}{at}", word(&warning["reason"]["text"]));
        }
    }
    text
}

/// What is no refusal and is shown all the same: other owners, their faults, guests that are only defined.
const TOLD: [&str; 4] = ["other-owner", "vfio-bind", "vf-not-there", "defined-guest"];

struct Case {
    directory: PathBuf,
    name: String,
}

impl Case {
    fn all() -> Vec<Self> {
        let cases = repository().join("tests/guards");
        let mut found: Vec<Self> = fs::read_dir(&cases)
            .expect("tests/guards")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.join("host").is_file())
            .map(|directory| {
                let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Self { directory, name }
            })
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(name)).ok()
    }

    fn document(&self, name: &str) -> Option<PathBuf> {
        Some(self.directory.join(name)).filter(|path| path.is_file())
    }

    /// The twins' names: `safe`, `safe-after-swapoff`; each is a description, a document, or both.
    fn twins(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).expect("the case");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("safe"))
            .map(|name| name.trim_end_matches(".yaml").to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn refusing(&self) -> Look {
        look(&[&self.text("host").unwrap_or_default()], self.document("host.yaml").as_deref())
    }

    fn safe(&self, twin: &str) -> Look {
        let (host, over) = (self.text("host").unwrap_or_default(), self.text(twin).unwrap_or_default());
        let document = self.document(&format!("{twin}.yaml")).or_else(|| self.document("host.yaml"));
        look(&[&host, &over], document.as_deref())
    }
}

#[test]
fn what_would_lose_something_is_refused_and_its_twin_is_not() {
    let regenerate = std::env::var_os("RECONCILE_REGENERATE").is_some();
    let mut failures = String::new();
    let (mut refusing, mut safe) = (0, 0);
    let some = std::env::var("RECONCILE_CASES").ok();
    for case in Case::all() {
        let name = &case.name;
        if some.as_ref().is_some_and(|some| !name.contains(some.as_str())) {
            continue;
        }
        let mut text = String::new();
        let refused = case.refusing();
        refusing += 1;
        if refused.refused().is_empty() || refused.status != 4 {
            let _ = writeln!(failures, "{name}: nothing is refused:\n{}", described(&refused));
        }
        text.push_str(&described(&refused));
        let twins = case.twins();
        if twins.is_empty() {
            let _ = writeln!(failures, "{name}: has no safe twin");
        }
        for twin in twins {
            safe += 1;
            let look = case.safe(&twin);
            let text_of_twin = described(&look);
            if !look.refused().is_empty() || ![2, 3].contains(&look.status) {
                let _ = writeln!(failures, "{name}/{twin}: a false alarm:\n{text_of_twin}");
            }
            if look.report["changes"].as_array().is_none_or(Vec::is_empty) {
                let _ =
                    writeln!(failures, "{name}/{twin}: changes nothing, so that nothing could be refused");
            }
            let _ = write!(text, "\n{twin}: {text_of_twin}");
        }
        if regenerate {
            fs::write(case.directory.join("expected"), &text).expect("expected can be written");
            continue;
        }
        let expected = case.text("expected").unwrap_or_default();
        if expected != text {
            let difference = TextDiff::from_lines(&expected, &text);
            let _ = writeln!(
                failures,
                "===== {name}\n{}",
                difference.unified_diff().header("expected", "actual")
            );
        }
    }
    println!("{refusing} hosts are refused a change, {safe} safe twins are not");
    assert!(
        failures.is_empty(),
        "{failures}\nIf this is meant: RECONCILE_REGENERATE=1 cargo test --test guards, then read `git diff`."
    );
    let enough = some.is_some() || (refusing >= REFUSING && safe >= SAFE);
    assert!(enough, "{refusing} refusing and {safe} safe cases are too few");
}
