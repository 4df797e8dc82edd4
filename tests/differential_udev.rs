//! The udev rules against the real udev: `udevadm test` runs them on this machine's PCI functions, in a mount
//! namespace of its own in which a scratch file stands over each `driver_override` and no other rules exist.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "prepares and runs the real program")]

use std::path::Path;
use std::process::Command;

use reconcile::document::{Document, VfioPci};
use reconcile::engine::{Facts, Memory};
use reconcile::host::pci::Function;
use reconcile::host::{EmptyHost, Reach, SimulatedHost};
use reconcile::plan::{Step, Verdict};
use reconcile::resources::bindings::Bindings;
use reconcile::resources::{Observer, Resource};
use reconcile::types::{DeviceRef, Entry, IommuGroup, PciId, Pin, PinnedDevice, Place, Selector};

const NAME: &str = "10-reconcile-vfio.rules";

/// This machine's functions as sysfs shows them.
fn functions() -> Vec<Function> {
    let directory = std::fs::read_dir("/sys/bus/pci/devices").unwrap();
    let mut functions: Vec<Function> = directory
        .map(|entry| {
            let path = entry.unwrap().path();
            let hex = |name: &str| {
                let text = std::fs::read_to_string(path.join(name)).unwrap();
                u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap()
            };
            let id = |vendor: &str, device: &str| PciId {
                vendor: u16::try_from(hex(vendor)).unwrap(),
                device: u16::try_from(hex(device)).unwrap(),
            };
            Function {
                address: path.file_name().unwrap().to_str().unwrap().parse().unwrap(),
                id: id("vendor", "device"),
                subsystem: Some(id("subsystem_vendor", "subsystem_device")),
                class: 0x02_0000,
            }
        })
        .collect();
    functions.sort();
    assert!(!functions.is_empty(), "this machine shows no PCI function to run the rules on");
    functions
}

/// The rules for these entries on a host that has `functions`.
fn rules(functions: &[Function], devices: Vec<PinnedDevice>) -> String {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    for (function, group) in functions.iter().zip(0..) {
        host.put_function(function);
        // Without an IOMMU there would be no rule.
        host.put_in_group(function.address, IommuGroup::Number(group));
    }
    let place = Place { file: "host.yaml".into(), line: 1, column: 1 };
    let devices = devices.into_iter().map(|device| Entry::new(device, place.clone())).collect();
    let vfio_pci = Some(VfioPci { ids: None, devices: Some(devices) });
    let document = Document { vfio_pci, ..Document::default() };
    let facts = Facts::gather(&document, &host, None).unwrap();
    let memory = Memory::default();
    let observer = Observer { host: &host, memory: &memory, facts: &facts };
    let spec = Bindings::derive(&document, &facts).unwrap();
    let found = Bindings::diff(&spec, &Bindings::observe(&spec, &observer).unwrap());
    let text = found.items.into_iter().find_map(|item| match item.verdict {
        Verdict::Change(change) => change.steps.into_iter().find_map(|step| match step {
            Step::WriteFile { after, .. } => Some(String::from_utf8(after.0.to_vec()).unwrap()),
            _ => None,
        }),
        _ => None,
    });
    text.unwrap()
}

/// What udev did for one function: the lines about our file, what it wrote, what it would run.
struct Answer {
    complaints: Vec<String>,
    written: bool,
    loads: bool,
}

fn udev(rules: &str, function: &Function) -> Answer {
    let scratch = tempfile::tempdir().unwrap();
    let (empty, ours, attribute) =
        (scratch.path().join("empty"), scratch.path().join("ours"), scratch.path().join("driver_override"));
    std::fs::create_dir(&empty).unwrap();
    std::fs::create_dir(&ours).unwrap();
    std::fs::write(ours.join(NAME), rules).unwrap();
    std::fs::write(&attribute, "(null)\n").unwrap();
    let device = format!("/sys/bus/pci/devices/{}", function.address);
    let script = format!(
        "set -e; mount --make-rprivate /; mkdir -p /etc/udev/rules.d /run/udev/rules.d\n\
         for directory in /lib/udev/rules.d /usr/lib/udev/rules.d /run/udev/rules.d; do mount --bind {empty} $directory; done\n\
         mount --bind {ours} /etc/udev/rules.d; mount --bind {attribute} {device}/driver_override\n\
         udevadm test --action=add {device} 2>&1",
        empty = empty.display(),
        ours = ours.display(),
        attribute = attribute.display(),
    );
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = Path::new("/etc/udev/rules.d").join(NAME).display().to_string();
    assert!(
        output.status.success() && text.contains(&format!("Reading rules file: {read}")),
        "udevadm did not run (install the package udev, run as root): {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let ours = text.lines().filter(|line| line.contains(&format!("{read}:")));
    let harmless = |line: &&str| line.contains("ATTR '/sys/") || line.contains("RUN 'kmod load vfio-pci'");
    Answer {
        complaints: ours.filter(|line| !harmless(line)).map(str::to_owned).collect(),
        written: std::fs::read_to_string(&attribute).unwrap().trim() == "vfio-pci",
        loads: text.contains("run: 'kmod load vfio-pci'"),
    }
}

fn device(function: &Function, pin: Pin) -> PinnedDevice {
    PinnedDevice { device: DeviceRef::Function(Selector::Address(function.address)), pin }
}

/// The ways in which a document can name a function, with what the machine has there by then.
fn variants(function: &Function) -> Vec<(&'static str, Function, Pin, bool)> {
    let there = *function;
    let subsystem = there.subsystem.unwrap();
    let id = |function: &Function| Pin { id: Some(function.id), ..Pin::default() };
    let full =
        |function: &Function| Pin { id: Some(function.id), subsystem: function.subsystem, ..Pin::default() };
    let other_vendor = Function { id: PciId { vendor: 0x10de, ..there.id }, ..there };
    let other_device = Function { id: PciId { device: !there.id.device, ..there.id }, ..there };
    let other_subvendor =
        Function { subsystem: Some(PciId { vendor: !subsystem.vendor, ..subsystem }), ..there };
    let other_subdevice =
        Function { subsystem: Some(PciId { device: !subsystem.device, ..subsystem }), ..there };
    vec![
        ("by address", there, Pin::default(), true),
        ("by address, whatever the card", other_vendor, Pin::default(), true),
        ("pinned", there, id(&there), true),
        (
            "pinned with subsystem",
            there,
            full(&there),
            there.subsystem != Some(PciId { vendor: 0, device: 0 }),
        ),
        ("another vendor's card by now", other_vendor, id(&other_vendor), false),
        ("another card by now", other_device, id(&other_device), false),
        ("another card maker's by now", other_subvendor, full(&other_subvendor), false),
        ("another model by now", other_subdevice, full(&other_subdevice), false),
    ]
}

#[test]
fn udev_takes_the_rules_and_applies_them_to_the_right_cards() {
    let mut cases = 0;
    for function in functions() {
        for (name, when_written, pin, applies) in variants(&function) {
            if when_written.subsystem.is_some_and(|id| (id.vendor, id.device) == (0, 0))
                && pin.subsystem.is_some()
            {
                // Such a function has no subsystem to pin.
                continue;
            }
            let rules = rules(&[when_written], vec![device(&when_written, pin)]);
            let answer = udev(&rules, &function);
            assert_eq!(answer.complaints, Vec::<String>::new(), "{name}:\n{rules}");
            assert_eq!(
                (answer.written, answer.loads),
                (applies, applies),
                "{} {name}:\n{rules}",
                function.address
            );
            cases += 1;
        }
    }
    assert!(cases >= 5, "{cases} cases");
}

#[test]
fn a_rule_for_one_function_leaves_the_others_alone() {
    let functions = functions();
    for (at, named) in functions.iter().enumerate() {
        let rules = rules(&functions, vec![device(named, Pin::default())]);
        for (other, function) in functions.iter().enumerate() {
            assert_eq!(udev(&rules, function).written, at == other, "{} by:\n{rules}", function.address);
        }
    }
}

#[test]
fn udev_would_complain_about_a_wrong_rule() {
    let functions = functions();
    let rules =
        rules(&functions, functions.iter().map(|function| device(function, Pin::default())).collect());
    let broken = rules.replacen("SUBSYSTEM==", "SUBSYSTEM=", 1);
    assert_eq!(udev(&rules, &functions[0]).complaints, Vec::<String>::new());
    assert_ne!(udev(&broken, &functions[0]).complaints, Vec::<String>::new());
}
