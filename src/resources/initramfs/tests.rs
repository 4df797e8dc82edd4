use super::*;
use crate::document::{Document, Source};
use crate::engine::Memory;
use crate::formats::cpio::making::Cpio;
use crate::host::pci::Function;
use crate::host::{EmptyHost, Reach, SimulatedHost};
use crate::initramfs::predict_rebuilt;
use crate::resources::HEADER;

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);
const IMAGE: &str = "/boot/initrd.img-6.1";
const HOOK: &str = "/etc/initramfs-tools/hooks/reconcile-vfio";
const DOCUMENT: &str = "version: 1\nblacklist: [nouveau]\nmodule_options:\n  igb: [RSS=1]\nvfio_pci:\n  ids: ['10de:11bf']\n";

fn document(text: &str) -> Document {
    crate::document::load(&[Source::new("host.yaml", text)]).unwrap().document
}

/// What an image is made of, in short.
struct Content<'a> {
    modules: &'a [&'a str],
    files: &'a [(&'a str, &'a str)],
}

fn image(content: &Content<'_>) -> Vec<u8> {
    let mut archive = Cpio::default();
    for module in content.modules {
        archive = archive.file(&format!("usr/lib/modules/6.1/kernel/{module}.ko.xz"), "ELF");
    }
    for (name, text) in content.files {
        archive = archive.file(name, text);
    }
    archive.end()
}

/// A host with our files and this image; its kernel has vfio-pci and the drivers of two cards.
fn host(generator: &str, content: &Content<'_>) -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file(generator, "mkinitramfs");
    host.put_file(
        "/lib/modules/6.1/modules.dep",
        "kernel/vfio-pci.ko: kernel/vfio.ko\nkernel/vfio.ko:\nkernel/igb.ko:\nkernel/nouveau.ko:\n",
    );
    host.put_file("/lib/modules/6.1/modules.alias", "alias pci:v00008086d00001521sv*sd*bc*sc*i* igb\n");
    for (path, text) in FILES {
        host.put_file(path, format!("{HEADER}{text}"));
    }
    host.put_file(IMAGE, image(content));
    host
}

const FILES: [(&str, &str); 3] = [
    (blacklist::FILE, "blacklist nouveau\n"),
    (module_options::FILE, "options igb RSS=1\n"),
    (vfio_ids::FILE, "options vfio-pci ids=10de:11bf\nsoftdep nouveau pre: vfio-pci\n"),
];

fn findings(host: &SimulatedHost<'_>, document: &Document) -> Findings {
    let (memory, facts) = (Memory::default(), Facts::gather(document, host, None).unwrap());
    let observer = Observer { host, memory: &memory, facts: &facts };
    let Some(spec) = Initramfs::derive(document, &facts) else { return Findings::default() };
    Initramfs::diff(&spec, &Initramfs::observe(&spec, &observer).unwrap())
}

/// Why the image has to be rebuilt; `None` where it need not be.
fn stale(host: &SimulatedHost<'_>, document: &Document) -> Option<String> {
    let found = findings(host, document);
    let image = found.items.into_iter().find(|item| item.item.starts_with("/boot/")).expect("a verdict about the image");
    match image.verdict {
        Verdict::InSync => None,
        Verdict::Change(change) => {
            assert!(change.steps.is_empty() && change.followups.contains(&Followup::Initramfs));
            let warned = found.warnings.iter().any(|warning| warning.reason == change.reason);
            assert!(warned, "why a change without a step is one is said");
            Some(change.reason.text)
        }
        other => panic!("{other:?}"),
    }
}

const OURS: [(&str, &str); 3] = [
    ("etc/modprobe.d/zz-reconcile-blacklist.conf", "# x\nblacklist nouveau\n"),
    ("etc/modprobe.d/zz-reconcile-options.conf", "options igb RSS=1\n"),
    ("etc/modprobe.d/zz-reconcile-vfio-pci.conf", "options vfio-pci ids=10de:11bf\nsoftdep nouveau pre: vfio-pci\n"),
];

#[test]
fn an_image_is_stale_only_where_something_in_it_would_differ() {
    let generator = "/usr/sbin/update-initramfs";
    let all: &[&str] = &["vfio-pci", "igb", "nouveau"];
    let [blacklist, options, ids] = OURS;
    for (modules, files, expected) in [
        (all, &OURS[..], None),
        (&["igb"], &[options], Some("the image of 6.1 has no vfio-pci")),
        (&["vfio-pci"], &[ids], None),
        (&["vfio-pci", "ext4"], &[], Some("the image of 6.1 does not give vfio_pci ids=10de:11bf")),
        (&["vfio-pci", "igb"], &[ids], Some("the image of 6.1 does not give igb RSS=1")),
        (all, &[options, ids], Some("the image of 6.1 does not blacklist nouveau")),
        (
            all,
            &[blacklist, options, ("etc/modprobe.d/zz-reconcile-vfio-pci.conf", "options vfio-pci ids=1:2\n")],
            Some("the image of 6.1 does not load vfio-pci before nouveau; and 1 more"),
        ),
        // Another file says it just as well.
        (all, &[("lib/modprobe.d/x.conf", "blacklist nouveau\n"), options, ids], None),
        // A later file of the image wins.
        (
            all,
            &[blacklist, options, ids, ("etc/modprobe.d/zzz.conf", "options vfio-pci ids=8086:1\n")],
            Some("the image of 6.1 gives vfio_pci ids=8086:1"),
        ),
        (
            all,
            &[blacklist, ("etc/modprobe.d/zz-reconcile-options.conf", "options igb RSS=1\nblacklist igb\n"), ids],
            Some("the image of 6.1 still has \"blacklist igb\" in /etc/modprobe.d/zz-reconcile-options.conf"),
        ),
    ] {
        let host = host(generator, &Content { modules, files });
        assert_eq!(stale(&host, &document(DOCUMENT)).as_deref(), expected, "{modules:?} {files:?}");
    }
}

#[test]
fn what_was_taken_back_has_to_leave_the_image() {
    let mut host = host("/usr/sbin/update-initramfs", &Content { modules: &["vfio-pci", "nouveau"], files: &OURS });
    for (path, _) in FILES {
        host.remove(path);
    }
    let empty = document("version: 1\nblacklist: []\nvfio_pci: {ids: []}\nmodule_options: {}\n");
    let why = "the image of 6.1 still has \"blacklist nouveau\" in /etc/modprobe.d/zz-reconcile-blacklist.conf; and 2 more";
    assert_eq!(stale(&host, &empty).as_deref(), Some(why));
    assert!(findings(&host, &document("version: 1\nmodules: [vfio]\n")).items.is_empty(), "nothing concerns images");
}

#[test]
fn a_rule_has_to_be_in_the_image_with_the_native_driver() {
    let text = "version: 1\nvfio_pci:\n  devices: ['0000:01:00.0']\n";
    let rule = "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"0000:01:00.0\", ATTR{driver_override}=\"vfio-pci\"\n";
    for (modules, place, expected) in [
        (&["igb"], None, Some("the image of 6.1 has igb and has no rule for 0000:01:00.0")),
        (&["igb"], Some("usr/lib/udev/rules.d/10-reconcile-vfio.rules"), None),
        (&["nouveau"], None, None),
    ] {
        let copies: Vec<(&str, &str)> = place.map(|place| (place, rule)).into_iter().collect();
        let mut host = host("/usr/sbin/update-initramfs", &Content { modules, files: &copies });
        host.put_function(&Function {
            address: "0000:01:00.0".parse().unwrap(),
            id: "8086:1521".parse().unwrap(),
            subsystem: None,
            class: 0x02_0000,
        });
        for (path, _) in FILES {
            host.remove(path);
        }
        host.put_file(bindings::RULES, format!("{HEADER}{rule}"));
        assert_eq!(stale(&host, &document(text)).as_deref(), expected, "{modules:?} {place:?}");
    }
}

/// What a dry run foretells of a rebuild settles what asked for it.
#[test]
fn a_rebuild_is_foretold() {
    for (generator, files) in [
        ("/usr/sbin/update-initramfs", vec![(HOOK, 0o755)]),
        ("/usr/bin/dracut", vec![("/etc/dracut.conf.d/zz-reconcile.conf", 0o644)]),
        ("/usr/bin/mkinitcpio", vec![("/etc/mkinitcpio.conf.d/zz-reconcile.conf", 0o644)]),
    ] {
        let document = document(DOCUMENT);
        let modules = &["igb", "nouveau"];
        let old = ("etc/modprobe.d/zz-reconcile-vfio-pci.conf", "options vfio-pci ids=1:2\n");
        let mut host = host(generator, &Content { modules, files: &[old] });
        if generator.ends_with("mkinitcpio") {
            host.put_directory("/etc/mkinitcpio.conf.d");
            host.put_file("/etc/mkinitcpio.d/linux.preset", "PRESETS=(default)\n");
        }
        let mut written = Vec::new();
        for item in findings(&host, &document).items {
            let Verdict::Change(change) = item.verdict else { panic!("{item:?}") };
            for step in change.steps {
                let crate::plan::Step::WriteFile { path, after, mode, .. } = step else { panic!("{step:?}") };
                written.push((path.clone(), mode));
                host.put_file(path, after.0.to_vec());
            }
        }
        assert_eq!(written, files.into_iter().map(|(path, mode)| (PathBuf::from(path), mode)).collect::<Vec<_>>());
        assert!(stale(&host, &document).is_some());
        let [(path, rebuilt)] = &predict_rebuilt(&host).unwrap()[..] else { panic!("one image") };
        assert_eq!(path.to_str(), Some(IMAGE));
        let vfio = "vfio_pci".parse().unwrap();
        assert!(rebuilt.has(&vfio, "6.1"), "{generator}");
        let generator = initramfs::detect(&host).unwrap().generator().unwrap();
        let crate::engine::Means::Command(argv) = generator.rebuild(&host).unwrap() else { panic!("{generator:?}") };
        crate::host::Host::execute(&mut host, &crate::plan::Step::Run { argv, deadline_ms: 0 }).unwrap();
        assert_eq!(stale(&host, &document), None, "{}", generator.key());
    }
}

#[test]
fn an_image_that_cannot_be_read_is_said_so() {
    let mut host = host("/usr/sbin/update-initramfs", &Content { modules: &[], files: &[] });
    host.put_file(IMAGE, "\u{1f}junk");
    let found = findings(&host, &document(DOCUMENT));
    let [warning] = &found.warnings[..] else { panic!("{:?}", found.warnings) };
    assert_eq!((warning.subject.as_str(), warning.reason.code.as_ref()), (IMAGE, "image-unreadable"));
    assert!(found.items.iter().all(|item| item.item != IMAGE));
}

/// booster's init reads no blacklist: rebuilding would go on for ever, and what helps is said.
#[test]
fn what_no_rebuild_changes_is_refused_once_everything_is_told() {
    let text = "version: 1\nblacklist: [nouveau]\nvfio_pci:\n  ids: ['10de:11bf']\n";
    let mut host = host("/usr/bin/booster", &Content { modules: &[], files: &[] });
    for directory in [module_options::FILE, vfio_ids::FILE] {
        host.remove(directory);
    }
    host.put_file(vfio_ids::FILE, format!("{HEADER}options vfio-pci ids=10de:11bf\n"));
    host.put_file("/usr/lib/booster/regenerate_images", "");
    let flat = |modules: &[&str]| {
        let modules = modules.iter().fold(Cpio::default(), |archive, name| archive.file(&format!("usr/lib/modules/{name}.ko"), "ELF"));
        modules.file("etc/booster.init.yaml", "kernel: '6.1'\nmodprobeoptions:\n  vfio_pci: ids=1:2\n").end()
    };
    host.remove(IMAGE);
    host.put_file("/boot/booster-6.1.img", flat(&["vfio", "nouveau"]));
    let verdicts = |host: &SimulatedHost<'_>| {
        findings(host, &document(text)).items.into_iter().map(|item| (item.item, item.verdict)).collect::<Vec<_>>()
    };
    let rebuild = |host: &mut SimulatedHost<'_>| {
        let argv = vec!["/usr/lib/booster/regenerate_images".to_owned()];
        crate::host::Host::execute(host, &crate::plan::Step::Run { argv, deadline_ms: 0 }).unwrap();
    };
    let [(conf, Verdict::Change(_)), (image, Verdict::Change(_))] = &verdicts(&host)[..] else { panic!("{:?}", verdicts(&host)) };
    assert_eq!((conf.as_str(), image.as_str()), ("/etc/booster.yaml", "/boot/booster-6.1.img"));
    host.put_file("/etc/booster.yaml", format!("{HEADER}modules_force_load: vfio_pci\n"));
    assert_eq!(
        stale(&host, &document(text)).as_deref(),
        Some("the image of 6.1 has no vfio-pci; and 1 more"),
        "a rebuild changes a part of it"
    );
    rebuild(&mut host);
    let [(_, Verdict::Refused(objection))] = &verdicts(&host)[..] else { panic!("{:?}", verdicts(&host)) };
    assert_eq!(objection.chain[0].code, "image-beyond-rebuild");
    assert_eq!(objection.chain[0].text, "the image of 6.1 does not blacklist nouveau, and a rebuild would not change that");
    assert!(objection.chain[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("modules: -MODULE")));
    // As it says.
    host.put_file("/etc/booster.yaml", "modules: -nouveau\nmodules_force_load: vfio_pci\n");
    assert_eq!(stale(&host, &document(text)).as_deref(), Some("the image of 6.1 does not blacklist nouveau"));
    rebuild(&mut host);
    assert_eq!(stale(&host, &document(text)), None);
    // What was taken back leaves the image.
    host.remove(vfio_ids::FILE);
    let empty = document("version: 1\nvfio_pci: {ids: []}\n");
    let why = "the image of 6.1 still has \"options vfio_pci ids=10de:11bf\" in /etc/booster.init.yaml";
    assert_eq!(stale(&host, &empty).as_deref(), Some(why));
}
