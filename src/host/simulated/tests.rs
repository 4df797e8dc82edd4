use super::*;
use crate::host::EmptyHost;
use crate::host::pci::Pci;

const PF: &str = "0000:03:00.0";

fn address(text: &str) -> PciAddress {
    text.parse().unwrap()
}

fn driver(name: &str) -> DriverName {
    name.parse().unwrap()
}

fn function(at: &str, id: &str, class: u32) -> Function {
    Function { address: address(at), id: id.parse().unwrap(), subsystem: None, class }
}

/// An igb with seven VFs, a twin card, a bridge and a function without an IOMMU group.
fn host() -> SimulatedHost<'static> {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    for (at, id, class, group) in [
        (PF, "8086:10c9", 0x02_0000, Some(20)),
        ("0000:04:00.0", "10de:11bf", 0x03_0000, Some(45)),
        ("0000:05:00.0", "10de:11bf", 0x03_0000, Some(46)),
        ("0000:00:01.0", "8086:1e10", 0x06_0400, Some(1)),
        ("0000:06:00.0", "8086:10d3", 0x02_0000, None),
    ] {
        host.put_function(&function(at, id, class));
        if let Some(group) = group {
            host.put_in_group(address(at), IommuGroup::Number(group));
        }
    }
    for (at, name) in
        [(PF, "igb"), ("0000:04:00.0", "nouveau"), ("0000:00:01.0", "pcieport"), ("0000:06:00.0", "e1000e")]
    {
        host.put_driver(address(at), &driver(name));
    }
    for (name, text) in [
        ("sriov_totalvfs", "7"),
        ("sriov_numvfs", "0"),
        ("sriov_drivers_autoprobe", "1"),
        ("sriov_offset", "128"),
        ("sriov_stride", "2"),
        ("sriov_vf_device", "10ca"),
    ] {
        host.set(address(PF), name, text);
    }
    host.put_directory("/sys/bus/pci/drivers/vfio-pci");
    host.put_directory("/sys/bus/pci/drivers/igbvf");
    host
}

fn write(host: &mut SimulatedHost<'_>, path: &str, value: &str) -> Result<(), Errno> {
    match host.execute(&Step::quick_attr(path, None, value)) {
        Ok(()) => Ok(()),
        Err(StepError::Host(error)) => Err(Errno::from_raw(error.source.raw_os_error().unwrap())),
        Err(other) => panic!("{other}"),
    }
}

fn bound(host: &SimulatedHost<'_>, at: &str) -> Option<String> {
    Pci::new(host).driver(address(at)).unwrap().map(|driver| driver.to_string())
}

#[test]
fn vf_count_answers_as_the_kernel_does() {
    let numvfs = format!("/sys/bus/pci/devices/{PF}/sriov_numvfs");
    for (before, value, answer) in [
        ("0", "0", Ok(())),
        ("0", "4", Ok(())),
        ("0", "7", Ok(())),
        ("0", "0x4", Ok(())),
        ("0", "+4", Ok(())),
        ("0", "07", Ok(())),
        ("0", "8", Err(Errno::ERANGE)),
        ("0", "-1", Err(Errno::EINVAL)),
        ("0", "abc", Err(Errno::EINVAL)),
        ("0", "", Err(Errno::EINVAL)),
        ("0", " 4", Err(Errno::EINVAL)),
        ("0", "08", Err(Errno::EINVAL)),
        ("0", "65536", Err(Errno::EINVAL)),
        ("4", "4", Ok(())),
        ("4", "2", Err(Errno::EBUSY)),
        ("4", "7", Err(Errno::EBUSY)),
        ("4", "8", Err(Errno::ERANGE)),
        ("4", "0", Ok(())),
    ] {
        let mut host = host();
        write(&mut host, &numvfs, before).unwrap();
        assert_eq!(write(&mut host, &numvfs, value), answer, "{before} -> {value:?}");
    }
}

#[test]
fn a_pf_needs_a_driver_unless_nothing_changes() {
    let mut host = host();
    let numvfs = format!("/sys/bus/pci/devices/{PF}/sriov_numvfs");
    write(&mut host, "/sys/bus/pci/drivers/igb/unbind", PF).unwrap();
    assert_eq!(write(&mut host, &numvfs, "4"), Err(Errno::ENOENT));
    assert_eq!(write(&mut host, &numvfs, "0"), Ok(()));
    write(&mut host, &format!("/sys/bus/pci/devices/{PF}/driver_override"), "vfio-pci").unwrap();
    write(&mut host, "/sys/bus/pci/drivers_probe", PF).unwrap();
    assert_eq!(bound(&host, PF).as_deref(), Some("vfio-pci"));
    assert_eq!(write(&mut host, &numvfs, "4"), Err(Errno::ENOENT));
    host.put_file("/sys/module/vfio_pci/parameters/enable_sriov", "Y\n");
    assert_eq!(write(&mut host, &numvfs, "4"), Ok(()));
    assert_eq!(bound(&host, "0000:03:10.0").as_deref(), Some("vfio-pci"), "VFs inherit the override");
}

#[test]
fn vfs_come_with_their_addresses_ids_and_named_groups() {
    let mut host = host();
    write(&mut host, &format!("/sys/bus/pci/devices/{PF}/sriov_numvfs"), "4").unwrap();
    let pci = Pci::new(&host);
    let vfs: Vec<String> =
        pci.vfs(address(PF), 4).unwrap().into_iter().flatten().map(|vf| vf.to_string()).collect();
    assert_eq!(vfs, ["0000:03:10.0", "0000:03:10.2", "0000:03:10.4", "0000:03:10.6"]);
    let vf = address("0000:03:10.2");
    assert_eq!(pci.function(vf).unwrap().unwrap().id.to_string(), "8086:10ca");
    assert_eq!(pci.physfn(vf).unwrap(), Some(address(PF)));
    assert_eq!(pci.iommu_group(vf).unwrap(), Some(IommuGroup::Of(vf)));
    assert_eq!(pci.group_members(IommuGroup::Of(vf)).unwrap(), [vf]);
    assert_eq!(pci.sriov(address(PF)).unwrap().unwrap().current, 4);
    assert_eq!(pci.scan().unwrap().functions.len(), 9);
    let through_pf = format!("/sys/bus/pci/devices/{PF}/virtfn1/physfn/sriov_numvfs");
    assert_eq!(host.text(Path::new(&through_pf)).unwrap().as_deref(), Some("4"));
}

#[test]
fn vfs_go_with_their_pf() {
    for (path, value) in [
        (format!("/sys/bus/pci/devices/{PF}/sriov_numvfs"), "0"),
        ("/sys/bus/pci/drivers/igb/unbind".to_owned(), PF),
    ] {
        let mut host = host();
        write(&mut host, &format!("/sys/bus/pci/devices/{PF}/sriov_numvfs"), "4").unwrap();
        write(&mut host, &path, value).unwrap();
        let pci = Pci::new(&host);
        assert_eq!(pci.function(address("0000:03:10.0")).unwrap(), None);
        assert_eq!(pci.vf(address(PF), 0).unwrap(), None);
        assert_eq!(pci.scan().unwrap().functions.len(), 5);
    }
}

#[test]
fn native_probing_of_vfs_obeys_autoprobe_and_aliases() {
    for (autoprobe, expected) in [("1", Some("igbvf")), ("0", None)] {
        let mut host = host();
        host.put_file("/proc/sys/kernel/osrelease", "6.12.0\n");
        host.put_file(
            "/lib/modules/6.12.0/modules.alias",
            "alias pci:v00008086d000010CAsv*sd*bc*sc*i* igbvf\n",
        );
        write(&mut host, &format!("/sys/bus/pci/devices/{PF}/sriov_drivers_autoprobe"), autoprobe).unwrap();
        write(&mut host, &format!("/sys/bus/pci/devices/{PF}/sriov_numvfs"), "1").unwrap();
        assert_eq!(bound(&host, "0000:03:10.0").as_deref(), expected);
        write(&mut host, "/sys/bus/pci/drivers_probe", "0000:03:10.0").unwrap();
        assert_eq!(bound(&host, "0000:03:10.0").as_deref(), expected);
        if expected.is_none() {
            write(&mut host, "/sys/bus/pci/devices/0000:03:10.0/driver_override", "vfio-pci").unwrap();
            write(&mut host, "/sys/bus/pci/drivers_probe", "0000:03:10.0").unwrap();
            assert_eq!(
                bound(&host, "0000:03:10.0").as_deref(),
                Some("vfio-pci"),
                "an override is probed anyway"
            );
        }
    }
}

#[test]
fn udev_loads_the_module_of_new_vfs() {
    for (modprobe_d, expected) in [("", Some("igbvf")), ("blacklist igbvf\n", None)] {
        let mut host = host();
        host.remove("/sys/bus/pci/drivers/igbvf");
        host.put_file("/proc/sys/kernel/osrelease", "6.12.0\n");
        host.put_file("/etc/modprobe.d/local.conf", modprobe_d);
        let kernel = Path::new("/lib/modules/6.12.0");
        host.put_file(kernel.join("modules.alias"), "alias pci:v00008086d000010CAsv*sd*bc*sc*i* igbvf\n");
        host.put_file(kernel.join("modules.dep"), "kernel/drivers/net/ethernet/intel/igbvf/igbvf.ko.xz:\n");
        write(&mut host, &format!("/sys/bus/pci/devices/{PF}/sriov_numvfs"), "2").unwrap();
        assert_eq!(bound(&host, "0000:03:10.0").as_deref(), expected);
        assert_eq!(bound(&host, "0000:03:10.2").as_deref(), expected);
        assert_eq!(host.exists(Path::new("/sys/module/igbvf")).unwrap(), expected.is_some());
    }
}

#[test]
fn rebinding_by_override() {
    let mut host = host();
    let card = "0000:04:00.0";
    let path = format!("/sys/bus/pci/devices/{card}/driver_override");
    write(&mut host, &path, "vfio-pci").unwrap();
    assert_eq!(bound(&host, card).as_deref(), Some("nouveau"), "an override does not unbind");
    write(&mut host, "/sys/bus/pci/drivers_probe", card).unwrap();
    assert_eq!(bound(&host, card).as_deref(), Some("nouveau"), "a probe of a bound function changes nothing");
    assert_eq!(write(&mut host, "/sys/bus/pci/drivers/vfio-pci/bind", card), Err(Errno::EBUSY));
    assert_eq!(write(&mut host, "/sys/bus/pci/drivers/vfio-pci/unbind", card), Err(Errno::ENODEV));
    write(&mut host, &format!("/sys/bus/pci/devices/{card}/driver/unbind"), card).unwrap();
    assert_eq!(bound(&host, card), None);
    assert_eq!(write(&mut host, "/sys/bus/pci/drivers/nouveau/bind", card), Err(Errno::ENODEV));
    write(&mut host, "/sys/bus/pci/drivers_probe", card).unwrap();
    assert_eq!(bound(&host, card).as_deref(), Some("vfio-pci"));
    assert_eq!(bound(&host, "0000:05:00.0"), None, "the twin is left alone");
    write(&mut host, &path, "").unwrap();
    assert_eq!(host.text(Path::new(&path)).unwrap().as_deref(), Some("(null)"));
    write(&mut host, "/sys/bus/pci/drivers/vfio-pci/unbind", card).unwrap();
    write(&mut host, "/sys/bus/pci/drivers_probe", card).unwrap();
    assert_eq!(bound(&host, card).as_deref(), Some("nouveau"), "the native driver has it again");
}

#[test]
fn a_successful_probe_proves_nothing() {
    let mut host = host();
    for at in ["0000:00:01.0", "0000:06:00.0"] {
        let native = bound(&host, at).unwrap();
        write(&mut host, &format!("/sys/bus/pci/devices/{at}/driver_override"), "vfio-pci").unwrap();
        write(&mut host, &format!("/sys/bus/pci/drivers/{native}/unbind"), at).unwrap();
        assert_eq!(write(&mut host, "/sys/bus/pci/drivers_probe", at), Ok(()));
        assert_eq!(bound(&host, at), None, "a bridge, and a function without a group, are refused");
        assert_eq!(write(&mut host, "/sys/bus/pci/drivers/vfio-pci/bind", at), Err(Errno::EINVAL));
    }
    for (value, answer) in
        [("0000:99:00.0", Err(Errno::ENODEV)), ("03:00.0", Err(Errno::ENODEV)), ("", Err(Errno::ENODEV))]
    {
        assert_eq!(write(&mut host, "/sys/bus/pci/drivers_probe", value), answer);
    }
    assert_eq!(write(&mut host, "/sys/bus/pci/devices/0000:04:00.0/no_such", "1"), Err(Errno::ENOENT));
    assert_eq!(write(&mut host, "/sys/bus/pci/drivers/vfio-pci/new_id", "10de 11bf"), Err(Errno::EOPNOTSUPP));
}

#[test]
fn a_pf_with_vfs_does_not_go_to_vfio() {
    let mut host = host();
    write(&mut host, &format!("/sys/bus/pci/devices/{PF}/driver_override"), "vfio-pci").unwrap();
    write(&mut host, "/sys/bus/pci/drivers/igb/unbind", PF).unwrap();
    host.set(address(PF), "sriov_numvfs", "2");
    assert_eq!(write(&mut host, "/sys/bus/pci/drivers/vfio-pci/bind", PF), Err(Errno::EBUSY));
}

#[test]
fn a_loaded_module_brings_its_driver_which_takes_waiting_functions() {
    let mut host = host();
    host.remove("/sys/bus/pci/drivers/vfio-pci");
    write(&mut host, "/sys/bus/pci/devices/0000:05:00.0/driver_override", "vfio-pci").unwrap();
    write(&mut host, "/sys/bus/pci/drivers_probe", "0000:05:00.0").unwrap();
    assert_eq!(bound(&host, "0000:05:00.0"), None);
    let argv = ["modprobe", "-a", "vfio-pci"].map(str::to_owned).to_vec();
    host.execute(&Step::Run { argv: argv.clone(), deadline_ms: 1000 }).unwrap();
    assert_eq!(bound(&host, "0000:05:00.0").as_deref(), Some("vfio-pci"));
    assert!(host.exists(Path::new("/sys/module/vfio_pci")).unwrap());
    assert!(host.text(Path::new("/proc/modules")).unwrap().unwrap().starts_with("vfio_pci "));
    host.execute(&Step::Run { argv, deadline_ms: 1000 }).unwrap();
    assert_eq!(host.text(Path::new("/proc/modules")).unwrap().unwrap().lines().count(), 1);
}

#[test]
fn modprobe_loads_dependencies_and_fails_on_unknown_modules() {
    let mut host = host();
    host.put_file("/proc/sys/kernel/osrelease", "6.12.0\n");
    host.put_file(
        "/lib/modules/6.12.0/modules.dep",
        "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/pci/vfio-pci-core.ko.xz kernel/drivers/vfio/vfio.ko.xz\nkernel/drivers/vfio/vfio.ko.xz:\n",
    );
    host.put_file("/lib/modules/6.12.0/modules.builtin", "kernel/drivers/char/hw_random/rng-core.ko\n");
    let mut run = |name: &str| {
        let argv = vec!["/sbin/modprobe".to_owned(), name.to_owned()];
        host.execute(&Step::Run { argv, deadline_ms: 1000 }).map_err(|error| error.to_string())
    };
    run("vfio_pci").unwrap();
    run("rng-core").unwrap();
    assert!(run("vfio_virqfd").unwrap_err().contains("vfio_virqfd"));
    for module in ["vfio", "vfio_pci", "vfio_pci_core"] {
        assert!(host.exists(&Path::new("/sys/module").join(module)).unwrap(), "{module}");
    }
}

#[test]
fn files_are_laid_over_and_links_followed() {
    let mut below = SimulatedHost::new(&EmptyHost(Reach::Machine));
    below.put_file("/etc/modules", "vfio\n");
    below.put_link("/etc/modules-load.d/modules.conf", "../modules");
    below.put_file("/etc/modprobe.d/a.conf", "blacklist a\n");
    let mut host = SimulatedHost::new(&below);
    let before = host.file_state(Path::new("/etc/modules-load.d/modules.conf")).unwrap();
    let path = PathBuf::from("/etc/modules-load.d/modules.conf");
    let step = Step::WriteFile { path: path.clone(), before, after: "vfio\nvfio_pci\n".into(), mode: 0o644 };
    host.execute(&step).unwrap();
    assert_eq!(host.text(Path::new("/etc/modules")).unwrap().as_deref(), Some("vfio\nvfio_pci"));
    assert_eq!(host.kind(&path).unwrap(), Some(FileKind::Link), "the link stays");
    assert!(matches!(host.execute(&step), Err(StepError::Changed { .. })));

    let new = PathBuf::from("/etc/udev/rules.d/10-x.rules");
    let step =
        Step::WriteFile { path: new.clone(), before: FileState::Absent, after: "x\n".into(), mode: 0o600 };
    host.execute(&step).unwrap();
    assert_eq!(host.list(Path::new("/etc/udev/rules.d")).unwrap().unwrap(), ["10-x.rules"]);
    assert_eq!(
        host.list(Path::new("/etc")).unwrap().unwrap(),
        ["modprobe.d", "modules", "modules-load.d", "udev"]
    );
    let before = host.file_state(Path::new("/etc/modprobe.d/a.conf")).unwrap();
    host.execute(&Step::RemoveFile { path: "/etc/modprobe.d/a.conf".into(), before }).unwrap();
    assert_eq!(host.list(Path::new("/etc/modprobe.d")).unwrap().unwrap(), Vec::<String>::new());
    assert_eq!(
        below.text(Path::new("/etc/modules")).unwrap().as_deref(),
        Some("vfio"),
        "nothing below changed"
    );
}

#[test]
fn cyclic_links_are_an_error() {
    let mut host = SimulatedHost::new(&EmptyHost(Reach::Machine));
    host.put_link("/etc/a", "b");
    host.put_link("/etc/b", "a");
    assert!(host.read(Path::new("/etc/a")).is_err());
}
