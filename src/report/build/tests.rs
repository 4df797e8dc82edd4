use super::*;
use crate::document::Document;
use crate::engine::{Facts, Failure, FollowupRun, Judged, Plan};
use crate::host::EmptyHost;
use crate::plan::{Followup, ItemVerdict, LiftedBy, Objection, Phase};
use crate::report::Report;

fn outcome(reach: Reach) -> Outcome {
    let facts = Facts::gather(&Document::default(), &EmptyHost(reach), None).unwrap();
    let (made, ahead, followups) = (Vec::new(), Vec::new(), Vec::new());
    Outcome { made, ahead, followups, last: Plan::default(), facts }
}

fn reason(text: &str) -> Reason {
    Reason::new("test", text)
}

fn change(steps: Vec<Step>, text: &str) -> Change {
    Change::new(Phase::Live, steps, Disruption::Guest, reason(text))
}

fn made(item: &str, change: Change, outcome: ChangeOutcome) -> MadeChange {
    MadeChange { round: 1, resource: "modules", item: item.to_owned(), origin: None, change, outcome }
}

fn failure(error: &str, made: usize) -> Failure {
    Failure { error: error.to_owned(), remedy: None, kernel_log: Vec::new(), made, begun: true }
}

fn attr(name: &str) -> Step {
    Step::quick_attr(format!("/sys/bus/pci/devices/0000:03:00.0/{name}"), Some("0".to_owned()), "4")
}

/// A state of the world that asks for one status.
type Case = (u8, fn(&mut Outcome));

/// Adds an item to the last plan.
fn left(outcome: &mut Outcome, resource: &'static str, verdict: Verdict) {
    let items = vec![ItemVerdict::new("item", verdict)];
    outcome.last.resources.push(Judged { resource, items, error: None });
}

fn followup(outcome: &mut Outcome, end: FollowupOutcome) {
    let argv = vec!["update-grub".to_owned()];
    let because = ["kernel_args: a".to_owned()].into();
    outcome.followups.push(FollowupRun { followup: Followup::BootLoader, argv, because, outcome: end });
}

/// Every way to a status, in the order of precedence.
const CASES: &[Case] = &[
    (1, |o| {
        o.made.push(made(
            "a",
            change(vec![attr("x")], "why"),
            ChangeOutcome::NoEffect { kernel_log: Vec::new() },
        ));
    }),
    (1, |o| {
        let failed = ChangeOutcome::Failed(failure("cannot", 0));
        o.made.push(made("a", change(vec![attr("x")], "why"), failed));
    }),
    (1, |o| {
        let error = Some("cannot read".to_owned());
        o.last.resources.push(Judged { resource: "qemu_acl", items: Vec::new(), error });
    }),
    (1, |o| left(o, "bindings", Verdict::Blocked { on: Blocker::Host, why: reason("missing") })),
    (1, |o| {
        // What it waits for is not going to change.
        let on = Blocker::Resource("sriov".into());
        left(o, "bindings", Verdict::Blocked { on, why: reason("waits") });
    }),
    (1, |o| followup(o, FollowupOutcome::Failed { error: "exit status 1".to_owned() })),
    (1, |o| followup(o, FollowupOutcome::NoMeans { why: reason("no generator") })),
    (4, |o| {
        let chain = vec![reason("forbidden")];
        let objection = Objection::new("a", chain, LiftedBy::Nothing);
        left(o, "kernel_args", Verdict::Refused(objection));
    }),
    (5, |o| left(o, "kernel_args", Verdict::Stuck { why: reason("booted since") })),
    (2, |o| o.made.push(made("b", change(vec![attr("y")], "why"), ChangeOutcome::Applied))),
    (2, |o| followup(o, FollowupOutcome::Done)),
    (3, |o| left(o, "module_options", Verdict::PendingReboot { why: reason("loaded") })),
    (3, |o| left(o, "qemu_acl", Verdict::Blocked { on: Blocker::Reboot, why: reason("IOMMU") })),
    (0, |o| left(o, "blacklist", Verdict::InSync)),
    (0, |o| followup(o, FollowupOutcome::NotNeeded { why: reason("no libvirt") })),
    (0, |o| {
        let subject = "a".to_owned();
        o.last.warnings.push(crate::plan::Warning {
            resource: "lint".into(),
            subject,
            reason: reason("odd"),
        });
    }),
];

#[test]
fn the_first_status_that_holds_wins() {
    for (at, (first, add_first)) in CASES.iter().enumerate() {
        for (status, add) in &CASES[at..] {
            let mut both = outcome(Reach::Machine);
            add(&mut both);
            add_first(&mut both);
            let report = build(Mode::DryRun, &both);
            assert_eq!(report.exit_status.code(), *first, "{first} and {status}: {report:#?}");
            assert_eq!(report.in_sync, *first == 0);
        }
    }
}

fn status(mode: Mode, reach: Reach, add: impl Fn(&mut Outcome)) -> u8 {
    let mut outcome = outcome(reach);
    add(&mut outcome);
    build(mode, &outcome).exit_status.code()
}

#[test]
fn what_was_made_is_no_difference_any_more() {
    let applied = |o: &mut Outcome| {
        o.made.push(made("a", change(vec![attr("x")], "why"), ChangeOutcome::Applied));
        followup(o, FollowupOutcome::Done);
    };
    assert_eq!(status(Mode::DryRun, Reach::Machine, applied), 2);
    assert_eq!(status(Mode::Apply, Reach::Machine, applied), 0);
    assert_eq!(status(Mode::Boot, Reach::Machine, applied), 0);
}

#[test]
fn a_change_that_stays_is_a_failure_after_a_run_and_a_difference_before_one() {
    let stays = |o: &mut Outcome| left(o, "sriov", Verdict::Change(change(vec![attr("x")], "why")));
    assert_eq!(status(Mode::Status, Reach::Machine, stays), 2);
    assert_eq!(status(Mode::Apply, Reach::Machine, stays), 1);
    // What another item waits for will be made.
    let waits = |o: &mut Outcome| {
        stays(o);
        let on = Blocker::Resource("sriov".into());
        left(o, "bindings", Verdict::Blocked { on, why: reason("waits") });
    };
    assert_eq!(status(Mode::Status, Reach::Machine, waits), 2);
}

#[test]
fn in_a_tree_live_steps_and_commands_wait_for_the_machine() {
    let ahead = |o: &mut Outcome| {
        o.ahead.push(made("a", change(vec![attr("x")], "why"), ChangeOutcome::Applied));
    };
    for mode in [Mode::DryRun, Mode::Apply] {
        assert_eq!(status(mode, Reach::Tree, ahead), 3);
        for end in
            [FollowupOutcome::Owed { why: reason("tree") }, FollowupOutcome::NoMeans { why: reason("?") }]
        {
            assert_eq!(status(mode, Reach::Tree, |o| followup(o, end.clone())), 3);
        }
        let missing = |o: &mut Outcome| {
            left(o, "qemu_acl", Verdict::Blocked { on: Blocker::Host, why: reason("no libvirt") });
        };
        assert_eq!(status(mode, Reach::Tree, missing), 1, "no boot of the tree brings it");
    }
}

#[test]
fn what_the_unit_at_boot_leaves_owed_is_no_failure() {
    let owed = |o: &mut Outcome| followup(o, FollowupOutcome::Owed { why: reason("boot") });
    assert_eq!(status(Mode::Boot, Reach::Machine, owed), 0);
}

fn report_of(changes: Vec<MadeChange>) -> Report {
    build(Mode::DryRun, &Outcome { made: changes, ..outcome(Reach::Machine) })
}

#[test]
fn a_step_that_several_items_share_is_told_once_with_all_their_reasons() {
    let file = Step::WriteFile {
        path: "/etc/modules-load.d/reconcile.conf".into(),
        before: FileState::Absent,
        after: "vfio\n".into(),
        mode: 0o644,
    };
    let shared =
        |item: &str, text: &str| made(item, change(vec![file.clone()], text), ChangeOutcome::Applied);
    let report = report_of(vec![shared("a", "missing"), shared("b", "odd"), shared("c", "missing")]);
    let [told] = report.changes.as_slice() else { panic!("{:#?}", report.changes) };
    assert_eq!(
        (told.item.as_str(), told.reason.text.as_str(), told.step, told.disruption),
        ("a, b, c", "missing", "write_file", Disruption::Guest)
    );
    let causes: Vec<(String, &str)> =
        told.causes.iter().map(|cause| (cause.items.join("+"), cause.reason.text.as_str())).collect();
    assert_eq!(causes, [("a+c".to_owned(), "missing"), ("b".to_owned(), "odd")]);
    assert_eq!((told.before.as_deref(), told.after.as_deref()), (None, Some("vfio\n")));
    assert!(told.diff.as_ref().unwrap().ends_with("+vfio\n"));
}

#[test]
fn only_the_step_that_takes_something_away_says_so() {
    let steps = ["driver_override", "unbind", "sriov_drivers_autoprobe", "sriov_numvfs", "drivers_probe"];
    let changed = change(steps.map(attr).to_vec(), "why");
    let report = report_of(vec![made("a", changed, ChangeOutcome::Applied)]);
    let told: Vec<Disruption> = report.changes.iter().map(|change| change.disruption).collect();
    let (nothing, guest) = (Disruption::Nothing, Disruption::Guest);
    assert_eq!(told, [nothing, guest, nothing, guest, nothing]);
}

#[test]
fn json_has_what_is_promised() {
    let mut outcome = outcome(Reach::Machine);
    for (_, add) in CASES {
        add(&mut outcome);
    }
    let json = serde_json::to_value(build(Mode::DryRun, &outcome)).unwrap();
    for (list, fields) in [
        (
            "changes",
            &["resource", "item", "phase", "step", "target", "before", "after", "disruption", "reason"][..],
        ),
        ("blocked", &["resource", "item", "on", "reason"]),
        ("refused", &["resource", "item", "subject", "chain", "lifted_by"]),
        ("warnings", &["resource", "subject", "reason"]),
        ("followups", &["followup", "argv", "because", "state"]),
    ] {
        for field in fields {
            assert!(json[list][0].get(field).is_some(), "{list}[].{field}: {json:#}");
        }
    }
    assert_eq!((&json["schema"], &json["in_sync"]), (&1.into(), &false.into()));
    assert_eq!(json["reboot"]["pending"], true);
    assert_eq!(json["reboot"]["reasons"].as_array().unwrap().len(), 2);
}

#[test]
fn of_a_failed_change_each_step_is_told_as_made_failed_or_skipped() {
    let steps = vec![attr("a"), attr("b"), attr("c")];
    let report =
        report_of(vec![made("x", change(steps, "why"), ChangeOutcome::Failed(failure("cannot", 1)))]);
    let outcomes: Vec<StepOutcome> = report.changes.iter().map(|change| change.outcome).collect();
    assert_eq!(outcomes, [StepOutcome::Applied, StepOutcome::Failed, StepOutcome::Skipped]);
}

#[test]
fn a_probe_that_the_kernel_log_tells_of_is_explained() {
    let kernel_log =
        vec!["vfio-pci 0000:03:00.0: probe with driver vfio-pci failed with error -16".to_owned()];
    let outcome = ChangeOutcome::NoEffect { kernel_log: kernel_log.clone() };
    let report = report_of(vec![made("x", change(vec![attr("a")], "why"), outcome)]);
    let error = &report.errors[0];
    assert!(error.error.contains("it has VFs"), "{error:?}");
    assert!(error.remedy.as_ref().unwrap().contains("remove its VFs"));
    assert_eq!(error.kernel_log, kernel_log);
}
