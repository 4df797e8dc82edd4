//! The example trees are hosts: their /sys is consistent, no link leads out, and GRUB accepts their menus.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every `examples/NAME/host`.
fn trees() -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let names = fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let mut trees: Vec<PathBuf> = names.filter(|path| path.is_dir()).map(|path| path.join("host")).collect();
    trees.sort();
    assert!(trees.len() >= 3, "{trees:?}");
    trees
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn attribute(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end().to_owned()
}

fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for name in names(directory) {
        let path = directory.join(name);
        visit(&path);
        if path.symlink_metadata().unwrap().is_dir() {
            walk(&path, visit);
        }
    }
}

#[test]
fn links_stay_inside_and_lead_somewhere() {
    for tree in trees() {
        walk(&tree, &mut |path| {
            let Ok(target) = fs::read_link(path) else { return };
            // An absolute link is one inside the tree once the tree is somebody's root.
            let resolved = match target.strip_prefix("/") {
                Ok(inside) => tree.join(inside),
                Err(_) => path.parent().unwrap().join(&target),
            };
            let resolved =
                resolved.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(resolved.starts_with(&tree), "{} leads to {}", path.display(), resolved.display());
        });
    }
}

#[test]
fn every_function_is_whole() {
    for tree in trees() {
        let devices = tree.join("sys/bus/pci/devices");
        assert!(!names(&devices).is_empty());
        for function in names(&devices) {
            let device = devices.join(&function);
            let hex = |name: &str, digits: usize| {
                let value = attribute(&device.join(name));
                let value = value.strip_prefix("0x").unwrap_or_else(|| panic!("{function}/{name}"));
                assert_eq!(value.len(), digits, "{function}/{name}");
                value.to_uppercase()
            };
            let (vendor, id) = (hex("vendor", 4), hex("device", 4));
            let (subvendor, subdevice) = (hex("subsystem_vendor", 4), hex("subsystem_device", 4));
            let class = hex("class", 6);
            hex("revision", 2);
            let modalias = format!(
                "pci:v0000{vendor}d0000{id}sv0000{subvendor}sd0000{subdevice}bc{}sc{}i{}",
                &class[..2],
                &class[2..4],
                &class[4..]
            );
            assert_eq!(attribute(&device.join("modalias")), modalias, "{function}");
            assert_eq!(attribute(&device.join("driver_override")), "(null)", "{function}");
            attribute(&device.join("numa_node")).parse::<i32>().unwrap();
        }
    }
}

#[test]
fn drivers_and_groups_agree_with_their_functions() {
    for tree in trees() {
        let pci = tree.join("sys/bus/pci");
        let same = |link: &Path, other: &Path| {
            let whole =
                |path: &Path| path.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(whole(link), whole(other), "{}", link.display());
        };
        let mut bound = BTreeSet::new();
        for driver in names(&pci.join("drivers")) {
            for function in names(&pci.join("drivers").join(&driver)).iter().filter(|name| name.contains(':'))
            {
                same(&pci.join("devices").join(function).join("driver"), &pci.join("drivers").join(&driver));
                bound.insert(function.clone());
            }
        }
        let groups = tree.join("sys/kernel/iommu_groups");
        let mut grouped = BTreeSet::new();
        for group in names(&groups) {
            for function in names(&groups.join(&group).join("devices")) {
                same(&pci.join("devices").join(&function).join("iommu_group"), &groups.join(&group));
                assert!(grouped.insert(function.clone()), "{function} is in two groups");
            }
        }
        for function in names(&pci.join("devices")) {
            let device = pci.join("devices").join(&function);
            assert_eq!(device.join("driver").exists(), bound.contains(&function), "{function}");
            assert!(grouped.contains(&function), "{function} is in no group");
        }
    }
}

#[test]
fn loaded_modules_are_installed_and_dependencies_complete() {
    for tree in trees() {
        let release = attribute(&tree.join("proc/sys/kernel/osrelease"));
        let dep = attribute(&tree.join("lib/modules").join(release).join("modules.dep"));
        let module = |path: &str| Path::new(path).file_stem().unwrap().to_str().unwrap().replace('-', "_");
        let listed: Vec<(&str, &str)> = dep.lines().map(|line| line.split_once(':').unwrap()).collect();
        let installed: BTreeSet<String> = listed.iter().map(|(path, _)| module(path)).collect();
        let paths: BTreeSet<&str> = listed.iter().map(|(path, _)| *path).collect();
        for (path, needs) in &listed {
            for need in needs.split_whitespace() {
                assert!(paths.contains(need), "{path} needs {need}");
            }
        }
        for line in attribute(&tree.join("proc/modules")).lines() {
            let name = line.split(' ').next().unwrap();
            assert!(installed.contains(name), "{name} is loaded and not installed");
            assert_eq!(attribute(&tree.join("sys/module").join(name).join("initstate")), "live");
        }
    }
}

#[test]
fn grub_accepts_the_menus() {
    for tree in trees() {
        let mut command = Command::new("grub-script-check");
        let output = command.arg(tree.join("boot/grub/grub.cfg")).output();
        let output = output.expect("grub-script-check is missing: install grub-common");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_running_kernel_was_booted_from_the_menu() {
    for tree in trees() {
        let cmdline = attribute(&tree.join("proc/cmdline"));
        let (image, arguments) = cmdline.strip_prefix("BOOT_IMAGE=").unwrap().split_once(' ').unwrap();
        let menu = attribute(&tree.join("boot/grub/grub.cfg"));
        assert!(menu.contains(&format!("linux\t{image} {arguments}\n")), "{cmdline}");
        assert!(tree.join(image.trim_start_matches('/')).exists());
    }
}
