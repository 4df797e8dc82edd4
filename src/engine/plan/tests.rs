use super::*;
use crate::engine::Owned;
use crate::host::{EmptyHost, SimulatedHost};
use crate::plan::{Disruption, LiftedBy, Objection, Step};

const PF: &str = "0000:03:00.0";

fn function(address: &str) -> Subject {
    Subject::Function(address.parse().unwrap())
}

fn change(phase: Phase, disturbs: &[&str]) -> Verdict {
    let step = Step::quick_attr("/sys/x", None, "1");
    let mut change = Change::new(phase, vec![step], Disruption::Nothing, Reason::new("test", "a test"));
    change.disturbs = disturbs.iter().map(|address| function(address)).collect();
    Verdict::Change(change)
}

/// A plan with one change of `sriov` that disturbs the PF, and these items of another resource.
fn plan_of(first: Verdict, resource: &'static str, items: Vec<ItemVerdict>) -> Plan {
    let judged = |resource, items| Judged { resource, items, error: None };
    let resources = vec![judged("sriov", vec![ItemVerdict::new(PF, first)]), judged(resource, items)];
    Plan { resources, warnings: Vec::new() }
}

fn needing(address: &str, verdict: Verdict) -> ItemVerdict {
    ItemVerdict::new(address, verdict).needs([function(address)])
}

fn is_blocked(plan: &Plan) -> Vec<bool> {
    let items = &plan.resources[1].items;
    items
        .iter()
        .map(|item| matches!(item.verdict, Verdict::Blocked { on: Blocker::Resource(_), .. }))
        .collect()
}

#[test]
fn blocks_changes_of_disturbed_functions_and_nothing_else() {
    let items = || {
        vec![
            needing(PF, change(Phase::Live, &[])),
            needing("0000:04:00.0", change(Phase::Live, &[])),
            needing(PF, Verdict::InSync),
            ItemVerdict::new("no needs", change(Phase::Persisted, &[])),
        ]
    };
    let after = |first, resource, reach| {
        let mut plan = plan_of(first, resource, items());
        block_disturbed(&mut plan, reach);
        assert!(
            matches!(plan.resources[0].items[0].verdict, Verdict::Change(_)),
            "no resource blocks itself"
        );
        is_blocked(&plan)
    };
    let disturbs = || change(Phase::Live, &[PF]);
    assert_eq!(after(disturbs(), "bindings", Reach::Machine), [true, false, false, false]);
    assert_eq!(after(disturbs(), "qemu_acl", Reach::Machine), [true, false, false, false]);
    assert_eq!(after(disturbs(), "modules", Reach::Machine), [false; 4], "modules do not come after sriov");
    assert_eq!(after(disturbs(), "bindings", Reach::Tree), [false; 4], "nothing live happens in a tree");
    assert_eq!(after(change(Phase::Persisted, &[PF]), "bindings", Reach::Machine), [false; 4]);
    assert_eq!(after(change(Phase::Live, &[]), "bindings", Reach::Machine), [false; 4]);
}

#[test]
fn the_unit_at_boot_takes_the_live_half() {
    let objection = Objection::new("", Vec::new(), LiftedBy::Nothing);
    let why = || Reason::new("test", "a test");
    let verdicts = [
        (change(Phase::Live, &[]), true),
        (change(Phase::Persisted, &[]), false),
        (Verdict::PendingReboot { why: why() }, false),
        (Verdict::Stuck { why: why() }, false),
        (Verdict::InSync, true),
        (Verdict::Blocked { on: Blocker::Host, why: why() }, true),
        (Verdict::Refused(objection), true),
    ];
    let selection = |scope| Selection { scope, only: BTreeSet::new() };
    for (verdict, live) in &verdicts {
        assert_eq!(selection(Scope::Boot).covers(AtBoot::LiveHalf, verdict), *live, "{verdict:?}");
        assert!(selection(Scope::Boot).covers(AtBoot::Everything, verdict));
        assert!(selection(Scope::Full).covers(AtBoot::Nothing, verdict));
    }
    let at_boot = REGISTRY.iter().filter(|resource| selection(Scope::Boot).includes(**resource));
    let at_boot: Vec<&str> = at_boot.map(|resource| resource.key()).collect();
    assert_eq!(at_boot, ["modules", "sriov", "bindings", "qemu_acl"]);
}

#[test]
fn every_resource_comes_after_earlier_ones_only() {
    let keys: Vec<&str> = REGISTRY.iter().map(|resource| resource.key()).collect();
    for (at, resource) in REGISTRY.iter().enumerate() {
        for earlier in resource.after() {
            assert!(keys[..at].contains(earlier), "{} is planned before {earlier}", resource.key());
        }
    }
}

fn remembering(resource: &str, item: &str) -> Memory {
    let owned = Owned { target: "/etc/x".into(), before: None, written: item.to_owned() };
    let items = [(item.to_owned(), owned)].into();
    Memory { owned: [(resource.to_owned(), items)].into(), ..Memory::default() }
}

fn plan_for(document: &Document, host: &SimulatedHost<'_>, memory: &Memory) -> Plan {
    let facts = Facts::gather(document, host, None).unwrap();
    plan(document, &Selection::default(), host, memory, &facts)
}

#[test]
fn what_a_vanished_section_left_is_named_and_left_alone() {
    let empty = EmptyHost(Reach::Machine);
    let mut host = SimulatedHost::new(&empty);
    let blacklist = "/etc/modprobe.d/zz-reconcile-blacklist.conf";
    host.put_file(blacklist, format!("{}blacklist nouveau\n", crate::resources::HEADER));
    host.put_file("/etc/modules-load.d/reconcile.conf", "# somebody else's\nvfio\n");
    let plan = plan_for(&Document::default(), &host, &remembering("qemu_acl", "/dev/hpet"));
    assert_eq!(plan.resources, [], "nothing is managed");
    let named: Vec<(&str, &str)> = plan
        .warnings
        .iter()
        .map(|warning| (warning.subject.as_str(), warning.reason.text.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            (blacklist, "blacklist is no longer in the document; what it had put there stays"),
            ("/dev/hpet", "qemu.cgroup_device_acl is no longer in the document; what it had put there stays"),
        ]
    );
}

#[test]
fn says_that_the_memory_is_lost() {
    let empty = EmptyHost(Reach::Machine);
    let mut host = SimulatedHost::new(&empty);
    assert_eq!(memory_lost(&host, &Memory::default()), None, "a first run");
    let hook = "/etc/initramfs-tools/hooks/reconcile-vfio";
    host.put_file(hook, format!("#!/bin/sh\n{}exit 0\n", crate::resources::HEADER));
    assert_eq!(memory_lost(&host, &Memory::default()).unwrap().subject, hook);
    assert_eq!(memory_lost(&host, &remembering("vfio_ids", "10de:11bf")), None);
}
