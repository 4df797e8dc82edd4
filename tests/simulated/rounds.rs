//! Whole runs: what each round does, that a second run does nothing, that taking back restores.

use std::time::Duration;

use reconcile::document::Document;
use reconcile::engine::{ChangeOutcome, Engine, Memory, Selection, Silent};
use reconcile::host::Host;
use reconcile::plan::Step;

use crate::world::*;

const VF: [&str; 4] = ["0000:03:10.0", "0000:03:10.2", "0000:03:10.4", "0000:03:10.6"];

/// Applies, and again: the second run must find nothing to do.
fn apply(world: &mut World, document: &Document) -> Vec<Vec<String>> {
    let rounds = world.apply(document);
    assert_eq!(world.apply(document), Vec::<Vec<String>>::new(), "a second run does nothing");
    rounds
}

#[test]
fn vfs_are_made_then_bound() {
    let mut world = World::new();
    let rounds = apply(&mut world, &sriov(&[(PF, 2, Some("vfio-pci"))]));
    assert_eq!(
        rounds,
        [
            vec!["0000:03:00.0/sriov_drivers_autoprobe=0", "0000:03:00.0/sriov_numvfs=2"],
            vec![
                "0000:03:10.0/driver_override=vfio-pci",
                "drivers_probe=0000:03:10.0",
                "0000:03:10.2/driver_override=vfio-pci",
                "drivers_probe=0000:03:10.2",
            ],
        ]
    );
}

#[test]
fn counts_grow_shrink_and_go() {
    let mut world = World::new();
    for (count, rounds) in [(4, 2), (2, 3), (0, 2)] {
        let made = apply(&mut world, &sriov(&[(PF, count, Some("vfio-pci"))]));
        // Giving up what was ours about VFs that are gone is a round of its own, without steps.
        assert!(made.len() <= rounds, "{count}: {made:#?}");
        for (index, vf) in VF.iter().enumerate() {
            let expected = (index < usize::from(count)).then_some("vfio-pci");
            assert_eq!(world.driver(vf).as_deref(), expected, "{count}: {vf}");
        }
    }
    assert_eq!(world.driver(PF).as_deref(), Some("igb"));
}

#[test]
fn a_vf_by_its_index() {
    let mut world = World::new();
    let document = both(devices(&[vf(PF, 1)]), sriov(&[(PF, 3, None)]));
    apply(&mut world, &document);
    assert_eq!(world.driver(VF[0]).as_deref(), Some("igbvf"), "the kernel's choice");
    assert_eq!(world.driver(VF[1]).as_deref(), Some("vfio-pci"));
    assert_eq!(world.driver(VF[2]).as_deref(), Some("igbvf"));
}

#[test]
fn twins_are_left_alone() {
    let mut world = World::new();
    let before = world.bound();
    apply(&mut world, &both(devices(&[device(GPU)]), sriov(&[(PF, 1, Some("vfio-pci"))])));
    assert_eq!(world.driver(GPU).as_deref(), Some("vfio-pci"));
    assert_eq!(world.driver(GPU_TWIN).as_deref(), Some("nouveau"));
    let changed: Vec<String> = world.bound().into_iter().filter(|line| !before.contains(line)).collect();
    assert_eq!(changed, ["0000:03:10.0 vfio-pci", "0000:04:00.0 vfio-pci"]);
}

#[test]
fn a_pf_without_vfs_goes_over_once_they_are_gone() {
    let mut world = World::new();
    apply(&mut world, &sriov(&[(PF, 2, None)]));
    let document = both(devices(&[device(PF)]), sriov(&[(PF, 0, None)]));
    let rounds = apply(&mut world, &document);
    assert_eq!(rounds[0], ["0000:03:00.0/sriov_numvfs=0", "write /etc/udev/rules.d/10-reconcile-vfio.rules"]);
    assert_eq!(world.driver(PF).as_deref(), Some("vfio-pci"));
    // And back: the document turns round.
    let document = both(devices(&[]), sriov(&[(PF, 2, None)]));
    apply(&mut world, &document);
    assert_eq!(world.driver(PF).as_deref(), Some("igb"));
    assert_eq!(world.driver(VF[1]).as_deref(), Some("igbvf"));
}

#[test]
fn taking_everything_back_restores_what_was_there() {
    let mut world = World::new();
    let before = world.bound();
    let document = both(devices(&[device(GPU), device(AUDIO)]), sriov(&[(PF, 4, Some("vfio-pci"))]));
    apply(&mut world, &document);
    assert_ne!(world.bound(), before);
    apply(&mut world, &both(devices(&[]), sriov(&[])));
    // snd_hda_intel has no alias here: the model remembers that it had the function.
    assert_eq!(world.bound(), before);
    assert_eq!(world.owned(), Vec::<String>::new());
    for (at, name, text) in
        [(PF, "sriov_numvfs", "0"), (PF, "sriov_drivers_autoprobe", "1"), (GPU, "driver_override", "(null)")]
    {
        let read = reconcile::host::ReadHost::text(&world.host, &attribute(at, name)).unwrap();
        assert_eq!(read.as_deref(), Some(text), "{at} {name}");
    }
    let rules = std::path::Path::new("/etc/udev/rules.d/10-reconcile-vfio.rules");
    assert!(!reconcile::host::ReadHost::exists(&world.host, rules).unwrap());
}

#[test]
fn what_was_there_before_us_stays() {
    let mut world = World::new();
    for (path, value) in [
        (attribute(PF, "sriov_numvfs"), "3"),
        (attribute(GPU, "driver_override"), "vfio-pci"),
        ("/sys/bus/pci/drivers/nouveau/unbind".into(), GPU),
        ("/sys/bus/pci/drivers_probe".into(), GPU),
    ] {
        world.host.execute(&Step::quick_attr(path, None, value)).unwrap();
    }
    let before = world.bound();
    assert_eq!(
        apply(&mut world, &both(devices(&[device(GPU)]), sriov(&[(PF, 3, None)]))).concat().len(),
        1,
        "the rules"
    );
    apply(&mut world, &both(devices(&[]), sriov(&[])));
    assert_eq!(world.bound(), before);
}

#[test]
fn a_count_returns_to_the_recorded_one() {
    let mut world = World::new();
    world.host.execute(&Step::quick_attr(attribute(PF, "sriov_numvfs"), None, "1")).unwrap();
    apply(&mut world, &sriov(&[(PF, 4, None)]));
    apply(&mut world, &sriov(&[(PF, 5, None)]));
    assert_eq!(
        apply(&mut world, &sriov(&[]))[0],
        ["0000:03:00.0/sriov_numvfs=0", "0000:03:00.0/sriov_numvfs=1"]
    );
}

#[test]
fn an_override_that_somebody_else_changed_is_not_ours_any_longer() {
    let mut world = World::new();
    apply(&mut world, &devices(&[device(GPU)]));
    world.host.execute(&Step::quick_attr(attribute(GPU, "driver_override"), None, "pci-stub")).unwrap();
    let rounds = apply(&mut world, &devices(&[]));
    assert_eq!(rounds.concat(), ["remove /etc/udev/rules.d/10-reconcile-vfio.rules"]);
    assert_eq!(world.owned(), Vec::<String>::new());
}

#[test]
fn a_section_that_vanished_changes_nothing() {
    let mut world = World::new();
    apply(&mut world, &both(devices(&[device(GPU)]), sriov(&[(PF, 1, Some("vfio-pci"))])));
    let before = world.bound();
    let rules = "/etc/udev/rules.d/10-reconcile-vfio.rules";
    for (rest, warned) in
        [(devices(&[device(GPU)]), vec![VF[0]]), (sriov(&[(PF, 1, Some("vfio-pci"))]), vec![rules, GPU])]
    {
        assert_eq!(apply(&mut world, &rest), Vec::<Vec<String>>::new());
        assert_eq!(world.bound(), before);
        let (_, warnings) = find(&rest, &world.host, &world.memory);
        let gone: Vec<&str> = warnings
            .iter()
            .filter(|warning| warning.reason.code == "section-vanished")
            .map(|warning| warning.subject.as_str())
            .collect();
        assert_eq!(gone, warned);
    }
}

#[test]
fn a_card_that_is_gone_is_given_up() {
    let mut world = World::new();
    apply(&mut world, &sriov(&[(PF, 2, Some("vfio-pci"))]));
    for vf in &VF[..2] {
        world.host.remove(format!("/sys/bus/pci/devices/{vf}"));
    }
    world.host.remove(format!("/sys/bus/pci/devices/{PF}"));
    assert_eq!(apply(&mut world, &sriov(&[])).concat(), Vec::<String>::new());
    assert_eq!(world.owned(), Vec::<String>::new());
}

/// As after an unbind that hung until its guest had gone, or a run that was killed behind it.
#[test]
fn a_function_that_was_taken_back_half_way_gets_its_driver() {
    let mut world = World::new();
    apply(&mut world, &devices(&[device(GPU_TWIN)]));
    world.host.remove(format!("/sys/bus/pci/devices/{GPU_TWIN}/driver"));
    world.host.put_file(format!("/sys/bus/pci/devices/{GPU_TWIN}/driver_override"), "(null)\n");
    let rounds = apply(&mut world, &devices(&[]));
    assert!(rounds.concat().contains(&format!("drivers_probe={GPU_TWIN}")), "{rounds:?}");
    assert_eq!(world.owned(), Vec::<String>::new());
    // Whoever bound it meanwhile keeps it.
    let mut world = World::new();
    apply(&mut world, &devices(&[device(GPU_TWIN)]));
    world.host.remove(format!("/sys/bus/pci/devices/{GPU_TWIN}/driver"));
    world.host.put_driver(address(GPU_TWIN), &"pci-stub".parse().unwrap());
    world.host.put_file(format!("/sys/bus/pci/devices/{GPU_TWIN}/driver_override"), "(null)\n");
    let rounds = apply(&mut world, &devices(&[]));
    assert_eq!(rounds.concat(), ["remove /etc/udev/rules.d/10-reconcile-vfio.rules"]);
}

#[test]
fn the_engine_comes_to_the_same_end() {
    let documents = [
        both(devices(&[device(GPU), vf(PF, 1)]), sriov(&[(PF, 4, Some("vfio-pci"))])),
        both(devices(&[device(GPU_TWIN)]), sriov(&[(PF, 2, None), (PF_TWIN, 3, Some("vfio-pci"))])),
        both(devices(&[device(PF)]), sriov(&[(PF, 0, None)])),
        both(devices(&[]), sriov(&[])),
    ];
    let (mut small, mut host, mut memory) = (World::new(), machine(), Memory::default());
    for document in &documents {
        small.apply(document);
        for expected in [true, false] {
            let only = ["sriov", "bindings"].map(str::to_owned).into();
            let selection = Selection { only, ..Selection::default() };
            let (memory, progress, wait) = (&mut memory, &mut Silent, Duration::ZERO);
            let mut engine =
                Engine { document, selection: &selection, memory, progress, wait, known: None, saved: None };
            let outcome = engine.run(&mut host).unwrap();
            assert!(
                outcome.made.iter().all(|made| made.outcome == ChangeOutcome::Applied),
                "{:#?}",
                outcome.made
            );
            assert_eq!(outcome.made.is_empty(), !expected, "a second run does nothing: {:#?}", outcome.made);
            assert_eq!(outcome.last.changes().count(), 0, "{:#?}", outcome.last);
        }
        let mut world = World { host: host.clone(), memory: memory.clone() };
        assert_eq!(world.bound(), small.bound());
        assert_eq!(world.owned(), small.owned());
        assert_eq!(world.apply(document), Vec::<Vec<String>>::new());
    }
}
