use super::*;
use crate::formats::cpio::making::Cpio;
use crate::host::{EmptyHost, SimulatedHost};

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);
const RELEASE: &str = "6.12.4-arch1-1";

fn host() -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/usr/bin/booster", "");
    host.put_file(
        format!("/lib/modules/{RELEASE}/modules.dep"),
        "kernel/drivers/vfio/pci/vfio-pci.ko.zst: kernel/drivers/vfio/vfio.ko.zst\nkernel/drivers/vfio/vfio.ko.zst:\n\
         kernel/drivers/nvme/host/nvme.ko.zst:\nkernel/drivers/gpu/drm/nouveau/nouveau.ko.zst:\nkernel/drivers/gpu/drm/drm.ko.zst:\n",
    );
    host
}

fn told(text: Option<&str>, vfio_pci: bool) -> Result<Vec<String>, String> {
    let mut host = host();
    if let Some(text) = text {
        host.put_file(CONF, text);
    }
    match Booster.told(&host, Needs { vfio_pci, files: true }).unwrap() {
        Told::Files(files) => Ok(files.into_iter().map(|file| file.content).collect()),
        Told::Refused(objection) => Err(objection.chain[0].text.clone()),
    }
}

#[test]
fn its_only_file_is_ours_or_says_it_already() {
    let ours = format!("{HEADER}modules_force_load: vfio_pci\n");
    for nobodys in [None, Some(""), Some(ours.as_str())] {
        assert_eq!(told(nobodys, true), Ok(vec![ours.clone()]), "{nobodys:?}");
    }
    assert_eq!(told(Some(""), false), Ok(vec![]), "the package's empty file stays");
    assert_eq!(told(None, false), Ok(vec![]));
    assert_eq!(told(Some(&ours), false), Ok(vec![String::new()]), "without the file nothing is built");
    assert_eq!(told(Some("compression: zstd\nmodules_force_load: i915,vfio_pci\n"), true), Ok(vec![]));
    assert_eq!(told(Some("compression: zstd\n"), false), Ok(vec![]));
    // booster knows modules by their names with underscores alone.
    for (text, why) in [
        ("compression: zstd\n", "its modules_force_load does not have vfio_pci"),
        ("modules_force_load: vfio-pci\n", "its modules_force_load does not have vfio_pci"),
        ("modules_force_load: [vfio_pci]\n", "it cannot be read: "),
    ] {
        let refused = told(Some(text), true).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
}

#[test]
fn images_are_rebuilt_by_the_packages_script_or_kernel_install() {
    let mut host = host();
    let Means::Unknown(why) = Booster.rebuild(&host).unwrap() else { panic!("nothing tells") };
    assert_eq!(why.code, "rebuild-unknown");
    host.put_file("/etc/kernel/install.conf", "layout=bls\ninitrd_generator=booster\n");
    let command = |words: &[&str]| Means::Command(words.iter().map(|word| (*word).to_owned()).collect());
    assert_eq!(Booster.rebuild(&host).unwrap(), command(&["kernel-install", "add-all"]));
    host.put_file(REGENERATE, "#!/bin/bash -e\n");
    assert_eq!(Booster.rebuild(&host).unwrap(), command(&[REGENERATE]));
}

#[test]
fn a_rebuild_follows_the_lists_and_the_options_alone() {
    let mut host = host();
    host.put_file(CONF, "modules: -nouveau,-kernel/drivers/nvme/\nmodules_force_load: vfio_pci\n");
    host.put_file("/lib/modprobe.d/a.conf", "options vfio-pci disable_vga=1\n");
    host.put_file(
        "/etc/modprobe.d/zz-reconcile-vfio-pci.conf",
        "options vfio-pci ids=10de:11bf\nsoftdep drm pre: vfio-pci\n",
    );
    let image = Cpio::default()
        .file("usr/lib/modules/nouveau.ko", "ELF")
        .file("usr/lib/modules/nvme.ko", "ELF")
        .file("usr/lib/modules/drm.ko", "ELF")
        .file("etc/booster.init.yaml", format!("kernel: {RELEASE}\n").as_str())
        .end();
    let mut image = Image::read(&mut image.as_slice()).unwrap();
    Booster.predict(&host, RELEASE, &mut image).unwrap();
    let modules: Vec<&str> = image.modules(RELEASE).map(ModuleName::as_str).collect();
    assert_eq!(modules, ["drm", "vfio", "vfio_pci"]);
    let told = String::from_utf8(image.instead_of_modprobe().unwrap().bytes).unwrap();
    assert_eq!(told, "options vfio_pci disable_vga=1 ids=10de:11bf\n");
}

#[test]
fn modules_are_meant_as_booster_means_them() {
    let path = "kernel/drivers/gpu/drm/nouveau/nouveau.ko.zst";
    for item in ["*", "nouveau", "kernel/drivers/gpu/", path, "kernel/drivers/gpu/drm/nouveau/nouveau.ko"] {
        assert!(is_meant(item, path), "{item}");
    }
    for item in ["nouve", "drivers/gpu/", "kernel/drivers/gpu/drm/nouveau/nouveau", "kernel/drivers/gpu"] {
        assert!(!is_meant(item, path), "{item}");
    }
}
