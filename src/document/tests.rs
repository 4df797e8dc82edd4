use super::*;

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
fn schema_print() {
    println!("{}", serde_json::to_string_pretty(&schema()).unwrap());
}
