use super::*;
use crate::document::Document;
use crate::engine::execute::Attempt;
use crate::engine::{ChangeOutcome, Facts, MadeChange, Plan};
use crate::host::{EmptyHost, SimulatedHost};
use crate::plan::{Change, Disruption, Phase};
use crate::types::IommuGroup;

fn change(steps: Vec<Step>) -> Change {
    Change::new(Phase::Live, steps, Disruption::Nothing, Reason::new("test", "a test"))
}

fn file(content: &str) -> Step {
    let (path, before) = ("/etc/libvirt/qemu.conf".into(), FileState::Absent);
    Step::WriteFile { path, before, after: content.into(), mode: 0o644 }
}

fn attr(path: &str, value: &str) -> Step {
    Step::quick_attr(path, None, value)
}

/// A plan of these rounds, each of changes with one step.
fn saved(rounds: &[&[Step]]) -> SavedPlan {
    let mut made = Vec::new();
    for (round, steps) in (1..).zip(rounds) {
        made.extend(steps.iter().enumerate().map(|(at, step)| MadeChange {
            round,
            resource: "test",
            item: at.to_string(),
            origin: None,
            change: change(vec![step.clone()]),
            outcome: ChangeOutcome::Applied,
        }));
    }
    let host = EmptyHost(Reach::Machine);
    let facts = Facts::gather(&Document::default(), &host, None).unwrap();
    let (followups, last) = (Vec::new(), Plan::default());
    let outcome = Outcome { made, ahead: Vec::new(), followups, last, facts };
    let document = [Source::new("host.yaml", "version: 1\n")];
    SavedPlan::of(&outcome, &document, &Selection::default(), &host, Inputs::default()).unwrap()
}

fn attempts(steps: &[Step]) -> Vec<Attempt> {
    let attempt = |step: &Step| Attempt {
        resource: "test",
        item: "another name".to_owned(),
        origin: None,
        change: change(vec![step.clone()]),
    };
    steps.iter().map(attempt).collect()
}

/// The codes of what deviates in this round.
fn deviations(plan: &SavedPlan, round: usize, steps: &[Step], after_failure: bool) -> Vec<String> {
    let empty = EmptyHost(Reach::Machine);
    let mut host = SimulatedHost::new(&empty);
    for (function, group) in [("0000:03:00.1", 9), ("0000:03:00.2", 10), ("0000:03:00.3", 10)] {
        host.put_in_group(function.parse().unwrap(), IommuGroup::Number(group));
    }
    host.put_file("/etc/libvirt/qemu.conf", "stands\n");
    let reasons = plan.deviations(round, &attempts(steps), after_failure, &host);
    reasons.into_iter().map(|reason| reason.code.into_owned()).collect()
}

#[test]
fn a_plan_survives_its_file() {
    let plan = saved(&[&[file("a"), attr("/sys/a", "1")], &[file("a")]]);
    let json = serde_json::to_string_pretty(&serde_json::json!({ "schema": 1, "plan": plan })).unwrap();
    let read = SavedPlan::parse(json.as_bytes()).unwrap();
    assert_eq!(read, plan);
    assert_eq!(read.steps.len(), 2, "a step is written once");
    assert_eq!((read.misfits(&plan), read.stranger(&plan)), (vec![], None));
    let missing =
        json.replace("\"steps\": [\n          1\n        ]", "\"steps\": [\n          7\n        ]");
    assert_ne!(missing, json);
    assert_eq!(SavedPlan::parse(missing.as_bytes()), Err(SavedPlanError::Altered));
}

#[test]
fn another_step_another_item_and_another_time_are_told_apart() {
    let plan = saved(&[&[file("a"), attr("/sys/a", "1")]]);
    let codes = |now: &SavedPlan| -> Vec<String> {
        plan.misfits(now).into_iter().map(|reason| reason.code.into_owned()).collect()
    };
    assert_eq!(codes(&saved(&[&[file("b"), attr("/sys/a", "1")]])), ["change-differs"]);
    assert_eq!(codes(&saved(&[&[file("a")]])), ["change-gone"]);
    assert_eq!(codes(&saved(&[&[file("a"), attr("/sys/a", "1")], &[file("c")]])), ["change-new"]);
    let at = |mtime_ns| {
        let (mode, uid, gid, xattrs) = (0o644, 0, 0, BTreeMap::new());
        let before = FileState::File { bytes: "old".into(), mode, uid, gid, mtime_ns, xattrs };
        saved(&[&[Step::RemoveFile { path: "/etc/a".into(), before }]])
    };
    assert_eq!(at(1).misfits(&at(2)), [], "a file that was only touched");
}

#[test]
fn a_round_has_to_be_the_saved_one_with_the_unknowns_filled_in() {
    let list = |nodes: &[&str]| {
        let nodes: Vec<String> = nodes.iter().map(|node| format!("    \"/dev/vfio/{node}\"")).collect();
        file(&format!("x = [\n{}\n]\n", nodes.join(",\n")))
    };
    let [one, two, three] = ["1", "2", "3"].map(|number| format!("<group of 0000:03:00.{number}>"));
    let plan = saved(&[&[attr("/sys/a", "1")], &[list(&["vfio", &one, &two, &three])]]);
    let second = |steps: &[Step]| deviations(&plan, 2, steps, false);
    assert_eq!(deviations(&plan, 1, &[attr("/sys/a", "1")], false), [""; 0]);
    assert_eq!(second(&[list(&["vfio", "9", "10"])]), [""; 0]);
    assert_eq!(second(&[list(&["10", "9", "vfio"])]), [""; 0], "numbers sort otherwise");
    assert_eq!(second(&[list(&["vfio", "9", "11"])]), ["not-in-plan", "change-gone"]);
    assert_eq!(second(&[list(&["vfio", "9", "10", "45"])]), ["not-in-plan", "change-gone"]);
    assert_eq!(second(&[attr("/sys/a", "1")]), ["not-in-plan", "change-gone"], "it is the first round's");
    assert_eq!(deviations(&plan, 2, &[attr("/sys/a", "1")], true), [""; 0], "something failed before");
    assert_eq!(deviations(&plan, 1, &[attr("/sys/a", "2")], true), ["not-in-plan"]);
    assert_eq!(deviations(&plan, 3, &[file("x")], false), ["not-in-plan"]);
    let stands = saved(&[&[file("stands\n"), attr("/sys/a", "1")]]);
    assert_eq!(deviations(&stands, 1, &[attr("/sys/a", "1")], false), [""; 0]);
}
