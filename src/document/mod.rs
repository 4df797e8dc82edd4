//! The desired state: YAML to typed values, with places; joining; lint.

mod model;

pub use model::{Blacklisted, DeviceAcl, Document, KernelArgs, ModuleOption, Qemu, Sriov, VfioPci};
