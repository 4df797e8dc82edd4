use super::*;
use crate::plan::{Followup, Objection, Phase, Warning};
use crate::report::{
    BlockedReport, ErrorReport, ExitStatus, RebootReason, RebootReport, RefusedReport, SCHEMA, unified,
};

fn report() -> Report {
    Report {
        schema: SCHEMA,
        mode: Mode::DryRun,
        in_sync: false,
        exit_status: ExitStatus::ChangesPending,
        summary: String::new(),
        resources: Vec::new(),
        changes: Vec::new(),
        blocked: Vec::new(),
        refused: Vec::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
        followups: Vec::new(),
        reboot: RebootReport::default(),
    }
}

fn change(step: &'static str, target: &str, before: Option<&str>, after: Option<&str>) -> ChangeReport {
    ChangeReport {
        round: 1,
        resource: "sriov",
        item: "0000:03:00.0".to_owned(),
        origin: None,
        phase: Phase::Live,
        step,
        target: target.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        diff: None,
        disruption: Disruption::Nothing,
        reason: Reason::new("test", "the reason"),
        allowed: Vec::new(),
        causes: vec![Cause {
            items: vec!["0000:03:00.0".to_owned()],
            reason: Reason::new("test", "the reason"),
        }],
        outcome: StepOutcome::Planned,
    }
}

fn file(path: &str, after: &str) -> ChangeReport {
    let diff = Some(unified(path, None, Some(after.as_bytes())));
    ChangeReport { diff, ..change("write_file", path, None, Some(after)) }
}

/// Without colours, line by line.
fn shown(report: &Report, detail: Detail) -> String {
    anstream::adapter::strip_str(&render(&Report { summary: summary(report), ..report.clone() }, detail))
        .to_string()
}

#[test]
fn a_live_change_is_one_line() {
    for (made, line) in [
        (
            change("write_attr", "/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs", Some("0"), Some("4")),
            "  0000:03:00.0  sriov_numvfs  0 -> 4",
        ),
        (
            change(
                "write_attr",
                "/sys/bus/pci/devices/0000:03:00.0/driver_override",
                Some(""),
                Some("vfio-pci"),
            ),
            "  0000:03:00.0  driver_override  (none) -> vfio-pci",
        ),
        (
            change("write_attr", "/sys/bus/pci/drivers/igb/unbind", None, Some("0000:03:00.0")),
            "  0000:03:00.0  drivers/igb/unbind",
        ),
        (change("run", "modprobe vfio", None, None), "  $ modprobe vfio  (the reason)"),
        (
            ChangeReport {
                disruption: Disruption::LinkDrop,
                outcome: StepOutcome::Failed,
                ..change("run", "modprobe vfio", None, None)
            },
            "  $ modprobe vfio  (the reason)  [drops the link; FAILED]",
        ),
    ] {
        let text = shown(&Report { changes: vec![made], ..report() }, Detail::Everything);
        assert_eq!(text.lines().nth(1), Some(line), "{text}");
    }
}

#[test]
fn a_node_whose_group_comes_later_says_so() {
    let acl = file("/etc/libvirt/qemu.conf", "x = [\n    \"/dev/vfio/<group of 0000:03:00.1>\"\n]\n");
    let text = shown(&Report { changes: vec![acl], ..report() }, Detail::Everything);
    assert!(
        text.contains("\n+    \"/dev/vfio/<group of 0000:03:00.1>\"  (known after the VFs exist)\n"),
        "{text}"
    );
}

#[test]
fn many_items_of_one_file_are_not_all_named_again() {
    let items: Vec<String> = (0..300).map(|number| format!("m{number}")).collect();
    let other = Cause { items: vec!["z".to_owned()], reason: Reason::new("test", "another reason") };
    let causes = vec![Cause { items, reason: Reason::new("test", "the reason") }, other];
    let many = ChangeReport { causes, ..file("/etc/x", "y\n") };
    let text = shown(&Report { changes: vec![many], ..report() }, Detail::Everything);
    assert!(text.contains("\n  m0, m1, m2, m3 and 296 more: the reason\n  z: another reason\n"), "{text}");
}

#[test]
fn rounds_are_told_where_there_are_several() {
    let later = ChangeReport { round: 2, resource: "bindings", ..change("run", "true", None, None) };
    let changes = vec![change("run", "true", None, None), later.clone()];
    let text = shown(&Report { changes, ..report() }, Detail::Everything);
    assert!(text.contains("sriov  (round 1)\n") && text.contains("\nbindings  (round 2)\n"), "{text}");
    let waits = ChangeReport { outcome: StepOutcome::Waits, ..later };
    let text = shown(&Report { changes: vec![waits], ..report() }, Detail::Everything);
    assert!(text.starts_with("bindings  (on the machine, at its first run or boot)\n"), "{text}");
}

#[test]
fn after_a_run_only_what_is_left_is_shown() {
    let with = |outcome| ChangeReport { outcome, ..change("run", "true", None, None) };
    for (outcome, is_shown) in [
        (StepOutcome::Applied, false),
        (StepOutcome::Waits, false),
        (StepOutcome::Failed, true),
        (StepOutcome::Planned, true),
    ] {
        let text = shown(&Report { changes: vec![with(outcome)], ..report() }, Detail::WhatIsLeft);
        assert_eq!(text.contains("$ true"), is_shown, "{outcome:?}: {text}");
    }
}

#[test]
fn everything_that_stands_in_the_way_has_its_reason_and_remedy() {
    let reason = || Reason::new("test", "the reason").at("host.yaml:3:5").remedy("do that");
    let (item, origin) = ("a".to_owned(), Some("host.yaml:3:5".to_owned()));
    let objection = Objection::new(item.clone(), vec![reason()], LiftedBy::Document("vfs: 0".into()));
    let refused = RefusedReport { resource: "sriov", item: item.clone(), origin: origin.clone(), objection };
    let error = ErrorReport::new("modules", None, "cannot read /x".to_owned());
    let blocked = |on| BlockedReport {
        resource: "bindings",
        item: item.clone(),
        origin: origin.clone(),
        on,
        reason: reason(),
    };
    let reboot =
        |stuck| RebootReason { resource: "kernel_args", item: item.clone(), stuck, reason: reason() };
    let text = shown(
        &Report {
            refused: vec![refused],
            errors: vec![error],
            blocked: vec![blocked(Blocker::Host), blocked(Blocker::Reboot)],
            reboot: RebootReport { pending: true, reasons: vec![reboot(false), reboot(true)] },
            warnings: vec![Warning { resource: "lint".into(), subject: "b".to_owned(), reason: reason() }],
            ..report()
        },
        Detail::Everything,
    );
    let expected = "\
refused
  sriov: a  (host.yaml:3:5)
    - host.yaml:3:5: the reason
      -> do that
    lifted by the document: vfs: 0

failed
  modules: cannot read /x

waiting
  bindings: a waits for something that no reboot brings
    host.yaml:3:5: the reason
    -> do that
  bindings: a waits for a reboot
    host.yaml:3:5: the reason
    -> do that

at the next boot
  kernel_args: a
    host.yaml:3:5: the reason
    -> do that
  kernel_args: a is STUCK
    host.yaml:3:5: the reason
    -> do that

warnings
  lint: b
    host.yaml:3:5: the reason
    -> do that

1 item refused, 1 resource could not be read, 2 items wait, 1 item is stuck, 1 item takes effect at the next boot
";
    assert_eq!(text, expected);
}

#[test]
fn follow_ups_say_how_they_stand() {
    let followup = |state, detail: Option<&str>| FollowupReport {
        followup: Followup::BootLoader,
        argv: vec!["update-grub".to_owned()],
        because: vec!["kernel_args: a".to_owned()],
        state,
        detail: detail.map(str::to_owned),
    };
    for (state, tail, summed) in [
        (FollowupState::Planned, "", "1 command to run"),
        (FollowupState::Done, "  [done]", "1 command run"),
        (FollowupState::Failed, "  [FAILED; still owed]", "1 command failed"),
        (FollowupState::Owed, "  [owed]", "1 command owed"),
        (FollowupState::NoMeans, "  [owed; nobody can tell how]", "1 command owed"),
    ] {
        let followups = vec![followup(state, Some("detail"))];
        let text = shown(&Report { followups, ..report() }, Detail::Everything);
        let expected = format!(
            "then runs\n  $ update-grub{tail}\n    because of kernel_args: a\n    detail\n\n{summed}\n"
        );
        assert_eq!(text, expected);
    }
    let followups = vec![followup(FollowupState::NotNeeded, None)];
    assert_eq!(shown(&Report { followups, ..report() }, Detail::Everything), "in sync\n");
}
