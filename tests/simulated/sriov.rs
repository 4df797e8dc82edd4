//! `sriov`, rule by rule.

use reconcile::document::Document;
use reconcile::engine::Memory;
use reconcile::host::Host;
use reconcile::plan::{Disruption, Step, Verdict};

use crate::world::*;

fn with_vfs(count: &str) -> reconcile::host::SimulatedHost<'static> {
    let mut host = machine();
    host.execute(&Step::quick_attr(attribute(PF, "sriov_numvfs"), None, count)).unwrap();
    host
}

#[test]
fn counts_go_through_zero_and_an_equal_count_writes_nothing() {
    for (current, wanted, driver, expected) in [
        ("0", 0, None, "in sync"),
        ("4", 4, None, "in sync"),
        ("4", 4, Some("vfio-pci"), "in sync"),
        ("0", 4, None, "change: 0000:03:00.0/sriov_numvfs=4"),
        (
            "0",
            4,
            Some("vfio-pci"),
            "change: 0000:03:00.0/sriov_drivers_autoprobe=0; 0000:03:00.0/sriov_numvfs=4",
        ),
        ("4", 2, None, "change: 0000:03:00.0/sriov_numvfs=0; 0000:03:00.0/sriov_numvfs=2"),
        ("2", 0, None, "change: 0000:03:00.0/sriov_numvfs=0"),
        ("0", 7, None, "change: 0000:03:00.0/sriov_numvfs=7"),
        ("0", 8, None, "blocked on Host: too-many-vfs"),
    ] {
        let host = with_vfs(current);
        let found = verdict(&sriov(&[(PF, wanted, driver)]), &host, &format!("sriov {PF}"));
        assert_eq!(found, expected, "{current} -> {wanted}");
    }
}

#[test]
fn what_cannot_have_vfs_stops_its_entry_only() {
    let mut host = machine();
    host.remove(attribute(PF_TWIN, "driver"));
    let document = sriov(&[
        (PF, 1, None),
        (PF_TWIN, 1, None),
        (GPU, 1, None),
        ("0000:99:00.0", 1, None),
        ("8086:10c9", 1, None),
    ]);
    let (items, _) = find(&document, &host, &Memory::default());
    let found: Vec<String> =
        items.iter().map(|item| format!("{}: {}", item.item, shown(&item.verdict))).collect();
    assert_eq!(
        found,
        [
            "sriov 0000:03:00.0: change: 0000:03:00.0/sriov_numvfs=1",
            "sriov 0000:06:00.0: blocked on Host: pf-without-driver",
            "sriov 0000:04:00.0: blocked on Host: not-a-pf",
            "sriov 0000:99:00.0: blocked on Host: missing-function",
            "sriov 8086:10c9: blocked on Host: ambiguous-filter",
        ]
    );
}

#[test]
fn a_pf_on_vfio_is_refused() {
    let mut host = machine();
    host.put_driver(address(PF), &"vfio-pci".parse().unwrap());
    assert_eq!(verdict(&sriov(&[(PF, 2, None)]), &host, &format!("sriov {PF}")), "refused: pf-on-vfio");
    assert_eq!(verdict(&sriov(&[(PF, 0, None)]), &host, &format!("sriov {PF}")), "in sync");
}

#[test]
fn a_pf_cannot_be_handed_over_and_have_vfs() {
    let document = both(devices(&[device(PF)]), sriov(&[(PF, 2, None)]));
    for item in [format!("sriov {PF}"), format!("bindings {PF}")] {
        assert_eq!(verdict(&document, &machine(), &item), "refused: pf-with-vfs");
    }
    let document = both(ids(&["8086:10c9"]), sriov(&[(PF, 2, None)]));
    assert_eq!(verdict(&document, &machine(), &format!("bindings {PF}")), "refused: pf-with-vfs");
    assert!(verdict(&document, &machine(), &format!("bindings {PF_TWIN}")).starts_with("change"));
}

#[test]
fn kernels_without_autoprobe_get_the_count_alone() {
    let mut host = machine();
    host.remove(attribute(PF, "sriov_drivers_autoprobe"));
    let found = verdict(&sriov(&[(PF, 1, Some("vfio-pci"))]), &host, &format!("sriov {PF}"));
    assert_eq!(found, "change: 0000:03:00.0/sriov_numvfs=1");
}

#[test]
fn disruption_and_deadline_follow_the_count() {
    for (current, wanted, disruption, deadline) in
        [("0", 4, Disruption::LinkDrop, 124_000), ("7", 2, Disruption::Guest, 127_000)]
    {
        let (items, _) = find(&sriov(&[(PF, wanted, None)]), &with_vfs(current), &Memory::default());
        let Verdict::Change(change) = &items[0].verdict else { panic!("{items:?}") };
        assert_eq!(change.disruption, disruption);
        assert!(matches!(change.steps[0], Step::WriteAttr { deadline_ms, .. } if deadline_ms == deadline));
        assert_eq!(change.disturbs.len(), 1 + current.parse::<usize>().unwrap());
    }
}

#[test]
fn warns_where_nothing_writes_the_count_at_boot() {
    let codes = |document: Document, host: &_| -> Vec<String> {
        find(&document, host, &Memory::default())
            .1
            .into_iter()
            .map(|warning| warning.reason.code.into_owned())
            .collect()
    };
    let mut host = machine();
    assert_eq!(codes(sriov(&[(PF, 2, None)]), &host), Vec::<String>::new());
    host.remove("/etc/systemd/system/multi-user.target.wants");
    assert_eq!(codes(sriov(&[(PF, 2, None)]), &host), ["not-redone-at-boot"]);
    assert_eq!(codes(sriov(&[(PF, 0, None)]), &host), Vec::<String>::new());
}
