//! The desired state, typed and checked. Built by parsing; every value knows its place.

use std::collections::BTreeMap;

use crate::boot::ChainName;
use crate::plan::Because;
use crate::types::{DriverName, Entry, KernelArg, ModuleName, PinnedDevice, VfioId};

/// One or several joined documents.
///
/// A section that is `None` is not managed; one that is present and empty takes back all that was ours in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// `kernel_args`.
    pub kernel_args: Option<KernelArgs>,
    /// `modules`: loaded now and at every boot.
    pub modules: Option<Vec<Entry<ModuleName>>>,
    /// `blacklist`.
    pub blacklist: Option<Vec<Entry<Blacklisted>>>,
    /// `module_options`: options by module, each `name[=value]`.
    pub module_options: Option<BTreeMap<ModuleName, Vec<Entry<ModuleOption>>>>,
    /// `vfio_pci`.
    pub vfio_pci: Option<VfioPci>,
    /// `sriov`.
    pub sriov: Option<Vec<Entry<Sriov>>>,
    /// `qemu`.
    pub qemu: Option<Qemu>,
    /// `boot.chain`: the boot chain that is in charge.
    pub boot_chain: Option<Entry<ChainName>>,
    /// `allow`: losses that the operator consents to. It manages nothing, so that absent and empty are the same.
    pub allow: Vec<Entry<Allowed>>,
}

/// `kernel_args`: a list, or `{present, absent}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelArgs {
    /// Arguments that the kernel must be given.
    pub present: Vec<Entry<KernelArg>>,
    /// Arguments that it must not be given: `name=value` exactly, or `name` with any value.
    pub absent: Vec<Entry<KernelArg>>,
}

/// One entry of `blacklist`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blacklisted {
    /// The module that no alias may load.
    pub module: ModuleName,
    /// Whether `alias MODULE off` is wanted too.
    pub alias_off: bool,
}

/// One module option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleOption {
    /// The parameter.
    pub name: String,
    /// Its value; `None` for a bare flag.
    pub value: Option<String>,
}

/// `vfio_pci`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VfioPci {
    /// `ids`: every function that matches goes to vfio-pci.
    pub ids: Option<Vec<Entry<VfioId>>>,
    /// `devices`: these functions go to vfio-pci.
    pub devices: Option<Vec<Entry<PinnedDevice>>>,
}

/// One entry of `sriov`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sriov {
    /// The physical function.
    pub device: PinnedDevice,
    /// VF count.
    pub vfs: u16,
    /// The driver of those VFs that are not named elsewhere; `None` leaves it to the kernel.
    pub driver: Option<DriverName>,
}

/// `qemu`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Qemu {
    /// `cgroup_device_acl`.
    pub cgroup_device_acl: Option<DeviceAcl>,
}

/// `cgroup_device_acl`: a list, or `{vfio_groups, exact, present, absent}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceAcl {
    /// Whether `/dev/vfio/vfio` and the group nodes of all functions that this document gives to vfio-pci are wanted.
    pub vfio_groups: bool,
    /// Whether the list is exactly `present` and the group nodes.
    pub exact: bool,
    /// Nodes that must be in the list.
    pub present: Vec<Entry<String>>,
    /// Nodes that must not.
    pub absent: Vec<Entry<String>>,
}

/// One entry of `allow`: what may be lost of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The function.
    pub device: PinnedDevice,
    /// The losses, each with its place.
    pub because: Vec<Entry<Because>>,
}
