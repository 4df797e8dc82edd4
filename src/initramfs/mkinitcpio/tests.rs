use super::*;
use crate::host::{EmptyHost, SimulatedHost};
use crate::initramfs::detect;

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);
const RELEASE: &str = "6.12.4-arch1-1";
const BOTH: Needs = Needs { vfio_pci: true, files: true };
/// What the program's text says where drop-ins are read, and where they are not yet.
const NEW: &str = "_f_config=/etc/mkinitcpio.conf\n_d_config=/etc/mkinitcpio.conf.d\n";
const OLD: &str = "_f_config=/etc/mkinitcpio.conf\n_d_presets=/etc/mkinitcpio.d\n";
const ARCH: &str = "# vim:set ft=sh\nMODULES=()\nBINARIES=()\nFILES=()\n\
                    HOOKS=(base udev autodetect microcode modconf kms keyboard block filesystems fsck)\n";
const PRESET: &str = "#ALL_config=\"/etc/mkinitcpio.conf\"\nALL_kver=\"/boot/vmlinuz-linux\"\nPRESETS=('default' 'fallback')\n\
                      default_image=\"/boot/initramfs-linux.img\"\nfallback_image=\"/boot/fallback.img\"\n\
                      fallback_uki=\"/efi/EFI/Linux/arch-linux-fallback.efi\"\nfallback_options=\"-S autodetect,modconf\"\n";

fn host(program: &str, conf: &str, preset: &str) -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file(PROGRAM, program);
    host.put_file(CONF, conf);
    host.put_file("/etc/mkinitcpio.d/linux.preset", preset);
    host.put_file(
        format!("/lib/modules/{RELEASE}/modules.dep"),
        "kernel/vfio-pci.ko.zst: kernel/vfio.ko.zst\nkernel/vfio.ko.zst:\nkernel/i915.ko.zst:\n",
    );
    host
}

fn told(host: &SimulatedHost<'_>, needs: Needs) -> Result<Vec<ImageFile>, (String, String)> {
    match Mkinitcpio.told(host, needs).unwrap() {
        Told::Files(files) => Ok(files),
        Told::Refused(objection) => {
            let reason = objection.chain[0].clone();
            assert!(reason.at.is_some(), "{reason:?}");
            Err((reason.text, reason.remedy.unwrap_or_default()))
        }
    }
}

/// What bash makes of our drop-in behind a configuration.
#[allow(clippy::disallowed_methods)] // A test may ask bash.
fn sourced(conf: &str, drop_in: &str, name: &str) -> String {
    let script = format!("{conf}\n{drop_in}\nstatus=$?; printf '%s|' \"${{{name}[@]}}\"; exit $status");
    let output =
        std::process::Command::new("bash").args(["--norc", "-c", &script]).env_clear().output().unwrap();
    assert!(output.status.success(), "mkinitcpio stops at a configuration that fails: {script}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_drop_in_puts_vfio_pci_first_and_keeps_what_others_say() {
    let drop_in = |conf: &str| {
        let files = told(&host(NEW, conf, PRESET), BOTH).unwrap();
        let [file] = &files[..] else { panic!("{files:?}") };
        assert_eq!((file.path.as_path(), file.mode), (Path::new(DROP_IN), 0o644));
        file.content.clone()
    };
    for (conf, modules) in [
        (ARCH, "vfio_pci|"),
        ("MODULES=(i915 'a b')\nFILES=(/etc/x)\nHOOKS=(base)\n", "vfio_pci|i915|a b|"),
        ("MODULES=\"i915 nvme\"\nHOOKS=\"base udev\"\n", "vfio_pci|i915|nvme|"),
        ("HOOKS=(base)\n", "vfio_pci|"),
    ] {
        let content = drop_in(conf);
        assert!(content.starts_with(HEADER), "{content}");
        assert_eq!(sourced(conf, &content, "MODULES"), modules, "{content}");
        let files = sourced(conf, &content, "FILES");
        assert_eq!(files.starts_with("/etc/x|"), conf.contains("/etc/x"), "{files}");
        assert!(
            !files.contains(RULES),
            "this machine has no rules of ours, and a missing file would be an error: {files}"
        );
    }
    let nothing = told(&host(NEW, ARCH, PRESET), Needs { vfio_pci: false, files: false });
    assert_eq!(nothing, Ok(Vec::new()));
    let files_alone = &told(&host(NEW, ARCH, PRESET), Needs { vfio_pci: false, files: true }).unwrap()[0];
    assert!(!files_alone.content.contains("vfio_pci"), "{files_alone:?}");
}

#[test]
fn a_preset_with_a_configuration_of_its_own_reads_no_drop_ins() {
    let with_config = PRESET.replace("#ALL_config", "ALL_config");
    let (text, remedy) = told(&host(NEW, ARCH, &with_config), BOTH).unwrap_err();
    assert!(text.starts_with("linux.preset: default is built with -c /etc/mkinitcpio.conf"), "{text}");
    assert!(text.ends_with("leaves vfio_pci out of MODULES"), "{text}");
    assert!(remedy.contains("/etc/mkinitcpio.d/linux.preset"), "{remedy}");
    let by_option = PRESET.replace("-S autodetect,modconf", "-c /etc/other.conf");
    let (text, _) = told(&host(NEW, ARCH, &by_option), BOTH).unwrap_err();
    assert!(
        text.contains("-c /etc/other.conf") && text.contains("/etc/modprobe.d/*.conf out of the image"),
        "{text}"
    );
    // Where it says it all nothing is needed; a hook that is skipped says nothing.
    let all = ARCH.replace("MODULES=()", "MODULES=(vfio_pci vfio)");
    let (text, _) = told(&host(NEW, &all, &with_config), BOTH).unwrap_err();
    assert!(text.starts_with("linux.preset: fallback") && text.contains("/etc/modprobe.d/*.conf"), "{text}");
    let plain = with_config.replace(",modconf", "");
    assert_eq!(told(&host(NEW, &all, &plain), BOTH), Ok(Vec::new()));
    let mut with_rules = host(NEW, &all, &plain);
    with_rules.put_file(RULES, "");
    assert!(told(&with_rules, BOTH).unwrap_err().0.contains(RULES));
}

#[test]
fn an_older_version_reads_no_drop_ins() {
    let old = host(OLD, ARCH, &PRESET.replace("#ALL_config", "ALL_config"));
    let (text, remedy) = told(&old, BOTH).unwrap_err();
    assert!(text.starts_with("nothing shows that this mkinitcpio reads /etc/mkinitcpio.conf.d"), "{text}");
    assert!(!remedy.contains("comment"), "no drop-in would be read either way: {remedy}");
    let mut without_presets = host(OLD, ARCH, "");
    without_presets.remove("/etc/mkinitcpio.d/linux.preset");
    let (text, remedy) = told(&without_presets, BOTH).unwrap_err();
    assert!(text.starts_with("nothing shows that this mkinitcpio reads /etc/mkinitcpio.conf.d"), "{text}");
    assert!(remedy.contains("MODULES=(vfio_pci ...)"), "{remedy}");
    // A wrapper says nothing: the package's directory does.
    let mut wrapped = host("#!/bin/sh\nexec mkinitcpio.real \"$@\"\n", ARCH, PRESET);
    assert!(told(&wrapped, BOTH).is_err());
    wrapped.put_directory(CONF_D);
    assert_eq!(told(&wrapped, BOTH).unwrap().len(), 1);
}

#[test]
fn a_later_file_that_takes_it_back_and_one_that_only_a_run_can_tell_are_refused() {
    let mut host = host(NEW, ARCH, PRESET);
    host.put_file("/etc/mkinitcpio.conf.d/zzz.conf", "MODULES=(nvidia)\n");
    let (text, _) = told(&host, BOTH).unwrap_err();
    assert_eq!(
        text,
        "it is read behind /etc/mkinitcpio.conf.d/zz-reconcile.conf and leaves vfio_pci out of MODULES"
    );
    host.put_file("/etc/mkinitcpio.conf.d/zzz.conf", "MODULES+=(nvidia)\n");
    host.put_file("/etc/mkinitcpio.conf.d/10-x.conf", "MODULES=(amdgpu)\n# only an earlier one\n");
    assert!(told(&host, BOTH).is_ok());
    host.put_file("/etc/mkinitcpio.conf.d/10-x.conf", "\nif [[ -e /x ]]; then MODULES=(); fi\n");
    let (text, _) = told(&host, BOTH).unwrap_err();
    assert!(text.starts_with("a command, of which only a run can tell"), "{text}");
    let Told::Refused(objection) = Mkinitcpio.told(&host, BOTH).unwrap() else { panic!("it was refused") };
    assert_eq!(objection.chain[0].at.as_deref(), Some("/etc/mkinitcpio.conf.d/10-x.conf:2"));
    host.remove("/etc/mkinitcpio.conf.d/10-x.conf");
    host.put_file("/etc/mkinitcpio.d/linux.preset", "PRESETS=(a)\na_image=$(mktemp)\n");
    assert!(told(&host, BOTH).unwrap_err().0.starts_with("an expansion"));
}

#[test]
fn a_rebuild_is_foretold_where_every_image_gets_the_same() {
    let predicted = |host: &SimulatedHost<'_>| {
        let mut image = Image::default();
        Mkinitcpio.predict(host, RELEASE, &mut image).unwrap();
        let modules: Vec<String> = image.modules(RELEASE).map(ToString::to_string).collect();
        (
            modules.join(" "),
            image.file(Path::new("/etc/modprobe.d/a.conf")).is_some(),
            image.copy_of(Path::new(RULES)).is_some(),
        )
    };
    let mut host = host(NEW, ARCH, PRESET);
    host.put_file("/etc/modprobe.d/a.conf", "options igb RSS=1\n");
    host.put_file(RULES, "# a rule\n");
    assert_eq!(predicted(&host), (String::new(), false, false), "the fallback image skips modconf");
    host.put_file(DROP_IN, told(&host, BOTH).unwrap()[0].content.clone());
    assert_eq!(predicted(&host), ("vfio vfio_pci".to_owned(), true, true));
    host.put_file(DROP_IN, "# somebody else's\n");
    assert_eq!(predicted(&host), (String::new(), false, false));
    host.put_file(CONF, "MODULES=(i915? gone)\nHOOKS=(base modconf)\nFILES=(/etc/modprobe.d/*.conf)\n");
    assert_eq!(predicted(&host), ("i915".to_owned(), true, false));
}

#[test]
fn presets_tell_which_images_belong_to_a_kernel() {
    let mut host = host(NEW, ARCH, PRESET);
    let names = |host: &SimulatedHost<'_>, release: &str, package| {
        let images = images(host, release, package).unwrap().into_iter();
        images.map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    let all = ["/boot/initramfs-linux.img", "/boot/fallback.img", "/efi/EFI/Linux/arch-linux-fallback.efi"];
    assert_eq!(names(&host, RELEASE, Some("linux")), all);
    assert!(names(&host, RELEASE, Some("linux-lts")).is_empty() && names(&host, RELEASE, None).is_empty());
    host.put_file("/etc/mkinitcpio.d/own.preset", format!("PRESETS=(a b)\na_kver={RELEASE}\na_image=/boot/a.img\nb_kver=/usr/lib/modules/{RELEASE}/vmlinuz\nb_image=/boot/b.img\n"));
    assert_eq!(names(&host, RELEASE, None), ["/boot/a.img", "/boot/b.img"]);
    assert_eq!(detect(&host).unwrap().generator().unwrap().key(), "mkinitcpio");
    let command = |host: &SimulatedHost<'_>| Mkinitcpio.rebuild(host).unwrap();
    assert_eq!(command(&host), Means::Command(vec!["mkinitcpio".to_owned(), "-P".to_owned()]));
    for preset in ["linux", "own"] {
        host.remove(format!("/etc/mkinitcpio.d/{preset}.preset"));
    }
    assert!(matches!(command(&host), Means::Unknown(_)));
    host.put_file("/etc/kernel/install.conf", "initrd_generator=mkinitcpio\n");
    assert_eq!(command(&host), Means::Command(vec!["kernel-install".to_owned(), "add-all".to_owned()]));
}
