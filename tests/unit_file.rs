//! The oneshot unit: what systemd says of it, and the lines that its promises hang on.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

const UNIT: &str = "packaging/reconcile.service";

/// The unit that notes that a boot has reached its target.
const BOOTED: &str = "packaging/reconcile-booted.service";

fn read(unit: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(unit)).unwrap()
}

fn text() -> String {
    read(UNIT)
}

/// The words of each setting, by section and name; repeated settings add up, as systemd reads lists.
fn settings() -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut section = String::new();
    let mut settings: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for line in text().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            continue;
        }
        let (name, value) = line.split_once('=').unwrap();
        let words = value.split_whitespace().map(str::to_owned);
        settings.entry((section.clone(), name.to_owned())).or_default().extend(words);
    }
    settings
}

fn words(section: &str, name: &str) -> BTreeSet<String> {
    settings().remove(&(section.to_owned(), name.to_owned())).unwrap_or_default()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Runs `systemd-analyze` on copies of both units whose program exists.
fn systemd_analyze(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let stand_in = env::current_exe().unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).env("LC_ALL", "C");
    for unit in [UNIT, BOOTED] {
        let copy: PathBuf = directory.path().join(Path::new(unit).file_name().unwrap());
        fs::write(&copy, read(unit).replace("/usr/sbin/reconcile", stand_in.to_str().unwrap())).unwrap();
        command.arg(&copy);
    }
    command.output().expect("systemd-analyze is missing: install systemd")
}

#[test]
fn systemd_accepts_it_without_a_word() {
    let output = systemd_analyze(&["verify"]);
    let said = String::from_utf8_lossy(&output.stderr);
    // Other units of the machine that runs the tests may have faults of their own.
    let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("reconcile")).collect();
    assert_eq!(about_ours, Vec::<&str>::new());
    assert!(output.status.success(), "{said}");
}

#[test]
fn its_exposure_stays_bounded() {
    let output = systemd_analyze(&["security", "--offline=true", "--threshold=57"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", said.lines().last().unwrap_or_default());
}

#[test]
fn it_runs_after_the_devices_and_before_their_users() {
    let before = words("Unit", "Before");
    for unit in [
        "network-pre.target",
        "libvirtd.service",
        "libvirtd.socket",
        "virtqemud.service",
        "virtqemud.socket",
        "ovsdb-server.service",
        "ovs-vswitchd.service",
        "shutdown.target",
    ] {
        assert!(before.contains(unit), "{unit}");
    }
    let after = words("Unit", "After");
    let wanted = [
        "local-fs.target",
        "systemd-modules-load.service",
        "systemd-udevd.service",
        "systemd-udev-trigger.service",
    ];
    assert_eq!(after, set(&wanted));
    assert!(!text().contains("After=systemd-udev-settle"));
    assert_eq!(words("Unit", "DefaultDependencies"), set(&["no"]));
    assert_eq!(words("Unit", "Conflicts"), set(&["shutdown.target"]));
    // Passive: somebody has to pull it in.
    assert_eq!(words("Unit", "Wants"), set(&["network-pre.target"]));
}

#[test]
fn nothing_requires_it() {
    assert_eq!(words("Install", "WantedBy"), set(&["multi-user.target"]));
    assert_eq!(words("Install", "RequiredBy"), set(&[]));
    assert_eq!(words("Unit", "Requires"), set(&[]));
}

#[test]
fn it_can_write_what_the_live_half_writes_and_nothing_else_on_disk() {
    assert_eq!(words("Service", "ProtectSystem"), set(&["strict"]));
    assert_eq!(words("Service", "ReadWritePaths"), set(&["-/etc/libvirt", "-/var/lib/reconcile", "-/run"]));
    assert_eq!(words("Service", "StateDirectory"), set(&["reconcile"]));
    // Each of these would take away what the work needs.
    for name in
        ["ProtectKernelTunables", "ProtectKernelModules", "PrivateDevices", "PrivateNetwork", "DynamicUser"]
    {
        assert_eq!(words("Service", name), set(&[]), "{name}");
    }
    let capabilities = words("Service", "CapabilityBoundingSet");
    for capability in
        ["CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_NET_ADMIN", "CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE"]
    {
        assert!(capabilities.contains(capability), "{capability}");
    }
}

#[test]
fn it_ends_as_the_program_means_it() {
    assert_eq!(words("Service", "Type"), set(&["oneshot"]));
    assert_eq!(words("Service", "RemainAfterExit"), set(&["yes"]));
    assert_eq!(words("Service", "ExecStart"), set(&["/usr/sbin/reconcile", "--boot"]));
    assert_eq!(words("Service", "SuccessExitStatus"), set(&["3"]));
    assert_eq!(words("Service", "KillMode"), set(&["process"]));
    let timeout: Vec<String> = words("Service", "TimeoutStartSec").into_iter().collect();
    assert!(timeout.concat().parse::<u32>().unwrap() >= 300);
}

#[test]
fn it_has_two_switches_and_brings_the_unit_that_clears_its_notes() {
    let conditions = words("Unit", "ConditionPathExists");
    assert_eq!(conditions, set(&["/etc/reconcile/host.yaml", "!/etc/reconcile/disabled"]));
    assert_eq!(words("Unit", "ConditionKernelCommandLine"), set(&["!reconcile.disable=1"]));
    assert_eq!(words("Install", "Also"), set(&["reconcile-booted.service"]));
    let booted = read(BOOTED);
    for line in [
        "After=multi-user.target reconcile.service",
        "WantedBy=multi-user.target",
        "ExecStart=/usr/sbin/reconcile booted",
    ] {
        assert!(booted.lines().any(|there| there == line), "{line}");
    }
}
