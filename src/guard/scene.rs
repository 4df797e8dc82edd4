//! What a guard may look at.

use std::fmt;

use super::{Consents, Loss, is_certain, losses_of};
use crate::boot::ChainName;
use crate::engine::Facts;
use crate::engine::devices::Devices;
use crate::host::{Kernels, Pci, Reach, ReadHost, Users};
use crate::types::{Entry, ModuleName, PciAddress};

/// The host and what is known about it. Uses of functions are looked for at the first question.
pub(super) struct Scene<'a> {
    pub(super) host: &'a dyn ReadHost,
    pub(super) kernels: &'a Kernels,
    pub(super) devices: &'a Devices,
    /// The boot chain that the document names.
    pub(super) boot_chain: Option<&'a Entry<ChainName>>,
    users: Users<'a>,
}

impl fmt::Debug for Scene<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").finish_non_exhaustive()
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(host: &'a dyn ReadHost, facts: &'a Facts) -> Self {
        Self {
            host,
            kernels: &facts.kernels,
            devices: &facts.devices,
            boot_chain: facts.boot_chain.as_ref(),
            users: Users::new(host),
        }
    }

    pub(super) fn consents(&self) -> &'a Consents {
        &self.devices.consents
    }

    /// What of the host goes with a function and its VFs.
    pub(super) fn losses_of(&mut self, function: PciAddress) -> Vec<Loss> {
        let losses = losses_of(function, &mut self.users);
        self.certain(losses)
    }

    /// What of the host goes with the VFs of a PF.
    pub(super) fn losses_of_vfs(&mut self, pf: PciAddress) -> Vec<Loss> {
        let losses = Loss::from_uses(self.users.of_vfs(pf));
        self.certain(losses)
    }

    /// What of the host goes with a module that drives no function: with a file system, a target of the device mapper.
    pub(super) fn losses_by(&mut self, module: &ModuleName) -> Vec<Loss> {
        let losses = Loss::from_uses(self.users.of_module(module));
        self.certain(losses)
    }

    /// A tree may lack what tells; what is to be made there is the machine's own decision.
    fn certain(&self, mut losses: Vec<Loss>) -> Vec<Loss> {
        losses.retain(|loss| self.host.reach() == Reach::Machine || is_certain(loss));
        losses
    }

    /// Whether this is a display controller, as far as that can be read.
    pub(super) fn is_display(&self, function: PciAddress) -> bool {
        let found = Pci::new(self.host).function(function).ok().flatten();
        found.is_some_and(|function| function.class >> 16 == 0x03)
    }
}
