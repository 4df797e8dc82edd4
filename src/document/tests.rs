use super::*;
use crate::types::DeviceRef;

fn good(text: &str) -> Document {
    match load(&[Source::new("host.yaml", text)]) {
        Ok(loaded) => loaded.document,
        Err(errors) => panic!("{}", errors.render(false)),
    }
}

const FULL: &str = r#"
version: 1
kernel_args:
  - intel_iommu=on
  - iommu=pt
modules: [vfio, vfio_iommu_type1, vfio_pci]
blacklist: [nouveau, lbm-nouveau, {module: radeon, alias_off: true}]
module_options:
  nouveau: [modeset=0]
vfio_pci:
  ids: ["10de:11bf"]
  devices:
    - "0000:04:00.0"
    - {address: "0000:84:00.0", id: "10de:11bf"}
    - {pf: "0000:03:00.0", vf: 1}
sriov:
  - {device: "0000:03:00.0", vfs: 4, driver: vfio-pci}
qemu:
  cgroup_device_acl:
    vfio_groups: true
    present: [/dev/hpet]
"#;

#[test]
fn reads_the_whole_form() {
    let document = good(FULL);
    let places: Vec<_> =
        document.vfio_pci.unwrap().devices.unwrap().iter().map(|d| d.place.to_string()).collect();
    assert_eq!(places, ["host.yaml:13:7", "host.yaml:14:7", "host.yaml:15:7"]);
}

#[test]
fn a_section_that_is_absent_is_not_one_that_is_empty() {
    assert_eq!(good("version: 1\n"), Document::default());
    let empty = good("version: 1\nmodules: []\nvfio_pci: {ids: []}\nkernel_args: {}\n");
    assert_eq!(empty.modules, Some(Vec::new()));
    assert_eq!(empty.kernel_args, Some(KernelArgs::default()));
    assert_eq!(empty.vfio_pci, Some(VfioPci { ids: Some(Vec::new()), devices: None }));
}

#[test]
fn huge_page_counts_stay_with_their_sizes() {
    let text = "version: 1\nkernel_args: [hugepagesz=1G, hugepages=4, quiet, hugepagesz=2M, hugepages=4]\n";
    let again = "version: 1\nkernel_args: [quiet, hugepagesz=1G, hugepages=4, hugepagesz=16G]\n";
    let joined = load(&[Source::new("a", text), Source::new("b", again)]).unwrap().document;
    let args: Vec<_> = joined.kernel_args.unwrap().present.iter().map(|arg| arg.value.to_string()).collect();
    assert_eq!(
        args,
        ["hugepagesz=1G", "hugepages=4", "quiet", "hugepagesz=2M", "hugepages=4", "hugepagesz=16G"]
    );
}

#[test]
fn claims_that_agree_become_one_with_both_pins() {
    let text = "version: 1\nvfio_pci:\n  devices:\n    - \"04:00.0\"\n    - {address: \"0000:04:00.0\", id: \"10de:11bf\"}\n    - {address: \"0000:04:00.0\", slot: \"4\"}\n";
    let devices = good(text).vfio_pci.unwrap().devices.unwrap();
    let [device] = devices.as_slice() else { panic!("{devices:?}") };
    assert_eq!(device.place.to_string(), "host.yaml:4:7");
    assert_eq!(device.value.pin.id, Some("10de:11bf".parse().unwrap()));
    assert_eq!(device.value.pin.slot.as_deref(), Some("4"));
    assert_eq!(device.value.device, DeviceRef::Function("04:00.0".parse().unwrap()));
}

#[test]
fn an_alias_is_the_value_that_it_names() {
    let document = good(
        "version: 1\nmodules: &m [vfio, &n vfio_pci]\nmodule_options: {a: *m}\nblacklist: [{module: &x nouveau, alias_off: true}]\nsriov:\n- &card {device: {address: \"03:00.0\"}, vfs: 2}\n- *card\n",
    );
    assert_eq!(document.module_options.unwrap().into_values().next().unwrap().len(), 2);
    assert_eq!(document.sriov.unwrap().len(), 1);
}

#[test]
fn every_file_of_a_run_is_judged() {
    let unreadable = DocumentError::of_file("unreadable", "a.yaml", "a.yaml may not be read");
    let errors = load_all(&[Source::new("b.yaml", "x: 1\n"), Source::new("c.yaml", "[")], vec![unreadable])
        .unwrap_err();
    let codes: Vec<_> = errors.errors().iter().map(|error| error.code).collect();
    assert_eq!(codes, ["unreadable", "unknown-key", "missing-key", "not-yaml"]);
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[1]["line"], 1);
    assert_eq!(json[1]["text"], "x");
}

#[test]
fn colour_is_only_where_it_is_asked_for() {
    let errors = load(&[Source::new("host.yaml", "")]).unwrap_err();
    assert!(!errors.render(false).contains('\u{1b}') && errors.render(true).contains('\u{1b}'));
}

#[test]
fn every_loss_but_the_root_disk_can_be_allowed() {
    let schema = schema().to_string();
    for because in crate::plan::Because::ALL {
        let text = format!("version: 1\nallow: [{{device: \"03:00.0\", because: {because}}}]\n");
        let loaded = load(&[Source::new("host.yaml", text.as_str())]);
        assert_eq!(loaded.is_ok(), because.can_be_allowed(), "{because}");
        let other =
            load(&[Source::new("host.yaml", "version: 1\nallow: [{device: \"03:00.0\", because: x}]\n")]);
        let accepted = other.unwrap_err().to_string();
        assert_eq!(accepted.contains(because.as_str()), because.can_be_allowed(), "{because}: {accepted}");
        let pattern = schema.contains(&format!("{because}|")) || schema.contains(&format!("|{because})"));
        assert_eq!(pattern, because.can_be_allowed(), "{because} in the schema");
    }
}
