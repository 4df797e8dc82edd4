//! The document's mappings as they are written: the keys, the short and long forms, and the words of the schema.

use std::borrow::Cow;

use schemars::JsonSchema;

use super::ModuleOption;
use super::error::DocumentError;
use super::reader::Reader;
use super::scalar::Kind;
use super::shape::{At, Named, OneOrMany, Shape, ShortOrLong, mapping};
use super::text::{DeviceNode, IdPin, Mac, Serial, Slot};
use super::tree::{Content, Node};
use crate::boot::ChainName;
use crate::plan::Because;
use crate::types::{DriverName, Entry, KernelArg, ModuleName, PciId, Selector, VfioId};

mapping! {
    /// The desired state of one hypervisor. A section that is left out is not managed; one that is present and empty
    /// takes back all that reconcile put there.
    struct RawDocument as "a mapping that begins with `version: 1`" {
        /// Version of this format.
        version: Version,
        /// Kernel arguments: a list of those wanted, or `present` and `absent`.
        kernel_args: Option<ShortOrLong<Vec<Entry<KernelArg>>, RawKernelArgs>>,
        /// Modules that are loaded now and at every boot.
        modules: Option<ShortOrLong<Vec<Entry<ModuleName>>, RawModules>>,
        /// Modules that no device may load.
        blacklist: Option<Vec<ShortOrLong<Entry<ModuleName>, RawBlacklisted>>>,
        /// Options by module, each NAME or NAME=VALUE.
        module_options: Option<Named<ModuleName, OneOrMany<Entry<ModuleOption>>>>,
        /// What goes to vfio-pci, and so to guests.
        vfio_pci: Option<RawVfioPci>,
        /// VF counts of SR-IOV cards.
        sriov: Option<Vec<At<RawSriov>>>,
        /// QEMU's part of libvirt.
        qemu: Option<RawQemu>,
        /// How the system is booted, where the host alone does not tell.
        boot: Option<RawBoot>,
        /// Losses that the operator consents to: what a guard would refuse for these reasons is made.
        allow: Option<Vec<At<RawAllowed>>>,
    }

    /// How the system is booted.
    struct RawBoot as "a mapping with chain" {
        /// The boot chain that is in charge.
        chain: Option<Entry<ChainName>>,
    }

    /// Kernel arguments.
    struct RawKernelArgs as "a list of kernel arguments, or a mapping of present and absent" {
        /// Arguments that the kernel must be given.
        present: Option<Vec<Entry<KernelArg>>>,
        /// Arguments that it must not be given: NAME=VALUE exactly, or NAME with any value.
        absent: Option<Vec<Entry<KernelArg>>>,
    }

    /// Modules.
    struct RawModules as "a list of modules, or a mapping with present" {
        /// Modules that are loaded.
        present: Option<Vec<Entry<ModuleName>>>,
    }

    /// A blacklisted module.
    struct RawBlacklisted as "a module's name, or a mapping of module and alias_off" {
        /// The module.
        module: Entry<ModuleName>,
        /// Whether `alias MODULE off` is wanted too, so that loading it by name fails as well.
        alias_off: Option<At<bool>>,
    }

    /// What goes to vfio-pci.
    struct RawVfioPci as "a mapping of ids and devices" {
        /// Every function with one of these ids: `VENDOR:DEVICE[:SUBVENDOR[:SUBDEVICE[:CLASS[:MASK]]]]`.
        ids: Option<Vec<Entry<VfioId>>>,
        /// These functions: an address, a filter, a mapping with a pin, or a VF of a PF.
        devices: Option<Vec<At<ShortOrLong<Entry<Selector>, RawDevice>>>>,
    }

    /// A function by its address, with what it has to be.
    struct RawPinned as "a mapping of address and what the card has to be" {
        /// Address, or a filter that matches exactly one function.
        address: Entry<Selector>,
        /// PCI id: `VENDOR:DEVICE[:SUBVENDOR:SUBDEVICE]`.
        id: Option<Entry<IdPin>>,
        /// Subsystem id: SUBVENDOR:SUBDEVICE.
        subsystem: Option<Entry<PciId>>,
        /// PCIe device serial number as lspci prints it.
        serial: Option<Entry<Serial>>,
        /// MAC address of the PF's network interface.
        mac: Option<Entry<Mac>>,
        /// Name of the physical slot as in /sys/bus/pci/slots.
        slot: Option<Entry<Slot>>,
    }

    /// A virtual function by its physical one, whatever its address.
    struct RawVf as "a mapping of pf and vf" {
        /// The physical function: address, or a filter that matches exactly one function.
        pf: Entry<Selector>,
        /// Index of the VF, from 0.
        vf: u16,
        /// PCI id of the VF: `VENDOR:DEVICE[:SUBVENDOR:SUBDEVICE]`.
        id: Option<Entry<IdPin>>,
        /// Subsystem id of the VF: SUBVENDOR:SUBDEVICE.
        subsystem: Option<Entry<PciId>>,
        /// PCIe device serial number as lspci prints it.
        serial: Option<Entry<Serial>>,
        /// MAC address of the PF's network interface.
        mac: Option<Entry<Mac>>,
        /// Name of the physical slot as in /sys/bus/pci/slots.
        slot: Option<Entry<Slot>>,
    }

    /// The VF count of one physical function.
    struct RawSriov as "a mapping of device, vfs and driver" {
        /// The physical function: an address, a filter, or a mapping with a pin.
        device: At<ShortOrLong<Entry<Selector>, RawPf>>,
        /// How many VFs it has; 0 takes them away.
        vfs: u16,
        /// Driver of the VFs that are not named elsewhere; left out, it is the kernel's choice.
        driver: Option<Entry<DriverName>>,
    }

    /// QEMU's part of libvirt.
    struct RawQemu as "a mapping with cgroup_device_acl" {
        /// Device nodes that QEMU may open: a list of those wanted, or a mapping that can say more.
        cgroup_device_acl: Option<ShortOrLong<Vec<Entry<DeviceNode>>, RawAcl>>,
    }

    /// Device nodes that QEMU may open.
    struct RawAcl as "a list of device nodes, or a mapping of vfio_groups, exact, present and absent" {
        /// Whether /dev/vfio/vfio and the group nodes of all functions handed to vfio-pci here are wanted.
        vfio_groups: Option<At<bool>>,
        /// Whether the list is exactly `present` and the group nodes.
        exact: Option<At<bool>>,
        /// Nodes that must be in the list.
        present: Option<Vec<Entry<DeviceNode>>>,
        /// Nodes that must not.
        absent: Option<Vec<Entry<DeviceNode>>>,
    }

    /// Consent to the loss of one function, for these reasons and no others.
    struct RawAllowed as "a mapping of device and because" {
        /// The function: an address, a filter, a mapping with a pin, or a VF of a PF.
        device: At<ShortOrLong<Entry<Selector>, RawDevice>>,
        /// What may be lost: one word or a list of words, as the refusal names them.
        #[schemars(extend("minItems" = 1))]
        because: OneOrMany<Entry<Because>>,
    }
}

/// The long form of a device.
#[derive(Debug, JsonSchema)]
#[schemars(untagged, inline)]
pub(super) enum RawDevice {
    /// By address.
    Pinned(RawPinned),
    /// By PF and index.
    Vf(RawVf),
}

impl Shape for RawDevice {
    fn expected() -> Cow<'static, str> {
        "an address, or a mapping of address and pin, or of pf and vf".into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Content::Mapping(entries) = &node.content else {
            return reader.wrong_type(node, &Self::expected());
        };
        let has = |name: &str| entries.iter().any(|(key, _)| key.text == name);
        if has("pf") || (has("vf") && !has("address")) {
            RawVf::read(node, reader).map(Self::Vf)
        } else {
            RawPinned::read(node, reader).map(Self::Pinned)
        }
    }
}

/// The long form of a physical function.
#[derive(Debug, JsonSchema)]
#[schemars(transparent, inline)]
pub(super) struct RawPf(pub(super) RawPinned);

impl Shape for RawPf {
    fn expected() -> Cow<'static, str> {
        RawPinned::expected()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if let Content::Mapping(entries) = &node.content
            && let Some((key, _)) = entries.iter().find(|(key, _)| matches!(key.text.as_str(), "pf" | "vf"))
        {
            let error = DocumentError::new("vf-of-vf", &reader.place(key.at), "a VF has no VFs of its own");
            let error =
                error.text(key.text.clone()).accepted("an address, a filter, or a mapping with address");
            return reader.problem(error.remedy("name the physical function"));
        }
        RawPinned::read(node, reader).map(Self)
    }
}

/// The format's version; there is one.
#[derive(Debug)]
pub(super) struct Version;

impl Shape for Version {
    fn expected() -> Cow<'static, str> {
        "1, the only version of this format".into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Some(scalar) = node.scalar().filter(|scalar| scalar.kind() != Kind::Null) else {
            return reader.wrong_type(node, &Self::expected());
        };
        if scalar.plain && scalar.text == "1" {
            return Some(Self);
        }
        let problem = if scalar.text == "1" {
            "the version is written as text".to_owned()
        } else {
            format!("version {} of the document format is not supported", scalar.text)
        };
        let error = DocumentError::new("unsupported-version", &reader.place(node.at), problem);
        reader.problem(error.text(scalar.text.clone()).accepted("version: 1"))
    }
}

impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "const": 1 })
    }
}
