//! What is fuzzed: every parser, given bytes. A target panics where the parser does, and where it breaks a promise.

use std::collections::BTreeSet;
use std::path::PathBuf;

use reconcile::document::{self, Source};
use reconcile::engine::SavedPlan;
use reconcile::engine::generations::Generation;
use reconcile::formats::modprobe::{Config, FileOfConfig};
use reconcile::formats::virconf::{Value, VirConf};
use reconcile::formats::{cmdline, grub_script, kmod_index, modprobe, modules_load, shell};
use reconcile::host::pci_ids::PciNames;
use reconcile::host::{EmptyHost, Reach, STATE_FILE, SimulatedHost, load_memory};
use reconcile::initramfs::Image;
use reconcile::types::KernelArg;

/// A parser with a name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; its corpus is the directory of its name.
pub const TARGETS: &[Target] = &[
    ("cmdline", kernel_command_line),
    ("document", documents),
    ("generation", generation),
    ("grub_script", grub),
    ("image", image),
    ("kmod_index", indexes),
    ("modprobe", modprobe_d),
    ("modules_load", modules_load_d),
    ("pci_ids", names),
    ("plan", plan),
    ("shell", shell_files),
    ("state", state),
    ("virconf", libvirt),
];

fn kernel_command_line(bytes: &[u8]) {
    for token in cmdline::CommandLine::parse(bytes).kernel {
        assert!(bytes.get(token.span).is_some(), "an argument lies outside of its line");
        // What can be put into a GRUB script comes back out of it.
        if let Ok(quoted) = grub_script::quote(&token.arg) {
            let passed = grub_script::passed(quoted.as_bytes()).expect("what was quoted");
            assert!(matches!(passed.as_slice(), [one] if one.arg == token.arg), "{quoted}");
        }
    }
    let _ = String::from_utf8_lossy(bytes).parse::<KernelArg>();
}

fn documents(bytes: &[u8]) {
    if let Err(errors) = document::load(&[Source::new("host.yaml", bytes)]) {
        assert!(!errors.errors().is_empty());
        assert!(!errors.render(false).is_empty());
    }
}

fn grub(bytes: &[u8]) {
    let _ = grub_script::menu(bytes);
    let _ = grub_script::passed(bytes);
}

/// A generation's header and, behind a zero byte, its journal.
fn generation(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (header, journal) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Ok(generation) = Generation::parse(1, header, journal) {
        let _ = (generation.in_flight(), generation.resources(), generation.steps().count());
    }
}

fn image(mut bytes: &[u8]) {
    if let Ok(image) = Image::read(&mut bytes) {
        for release in image.releases() {
            let _ = image.modules(release).count();
        }
        let _ = image.modprobe_config();
    }
}

fn indexes(bytes: &[u8]) {
    let wanted: BTreeSet<_> = ["vfio_pci", "igb"].iter().filter_map(|name| name.parse().ok()).collect();
    kmod_index::find(bytes, &wanted);
    kmod_index::aliased(bytes, "pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00i00");
    let text = String::from_utf8_lossy(bytes);
    for (path, needs) in kmod_index::dependencies(&text) {
        let _ = kmod_index::module_of_path(path);
        let _ = needs.count();
    }
}

fn modprobe_d(bytes: &[u8]) {
    let lines: Vec<u8> = modprobe::lines(bytes).iter().flat_map(|line| line.raw).copied().collect();
    assert_eq!(lines, bytes, "lines are not the file");
    let file = FileOfConfig { path: PathBuf::from("/etc/modprobe.d/a.conf"), bytes: bytes.to_vec() };
    let config = Config::new(vec![file], Some(bytes));
    for module in ["vfio_pci", "nouveau"].iter().filter_map(|name| name.parse().ok()) {
        let _ = config.blacklisted(&module).count() + config.switched_off(&module).count();
        let _ = config.options(&module).count();
        let _ = (config.softdep(&module), config.install_command(&module));
    }
}

fn modules_load_d(bytes: &[u8]) {
    let lines: Vec<u8> = modules_load::lines(bytes).iter().flat_map(|line| line.raw).copied().collect();
    assert_eq!(lines, bytes, "lines are not the file");
}

fn names(bytes: &[u8]) {
    PciNames::parse(&String::from_utf8_lossy(bytes));
}

fn plan(bytes: &[u8]) {
    if let Ok(plan) = SavedPlan::parse(bytes) {
        assert!(plan.misfits(&plan).is_empty() && plan.stranger(&plan).is_none());
        assert!(!plan.documents().is_empty());
    }
}

fn shell_files(bytes: &[u8]) {
    let file = shell::Source { name: "/etc/default/grub", bytes };
    let environment = shell::evaluate(&[file, file], &["GRUB_DISTRIBUTOR"], &["0"]);
    for name in environment.names() {
        for char in environment.get(name).into_iter().flatten() {
            assert!(bytes.get(char.span.clone()).is_some(), "a value lies outside of its file");
        }
    }
}

fn state(bytes: &[u8]) {
    let empty = EmptyHost(Reach::Tree);
    let mut host = SimulatedHost::new(&empty);
    host.put_file(STATE_FILE, bytes);
    let _ = load_memory(&host);
}

fn libvirt(bytes: &[u8]) {
    let Ok(conf) = VirConf::parse(bytes) else { return };
    assert_eq!(conf.as_bytes(), bytes);
    let _ = conf.commented_list("cgroup_device_acl");
    if let Ok(Some(edited)) = conf.with_elements("cgroup_device_acl", |_| true, &["/dev/vfio/vfio"]) {
        let list = VirConf::parse(&edited).expect("what was edited").get("cgroup_device_acl").cloned();
        let Some(Value::List(_)) = list.map(|setting| setting.value) else { panic!("the list is lost") };
    }
}
