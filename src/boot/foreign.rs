//! Ways of booting that are recognised and cannot be managed: their menu is no file that can be edited with certainty.

use std::path::{Path, PathBuf};

use super::conform::objection;
use super::detect::stub_info;
use super::{BootChain, Edits, Evidence, MenuEntry, Persisted, Sources, Weight, Wish};
use crate::engine::Means;
use crate::host::{HostError, ReadHost};
use crate::plan::{Objection, Reason};
use crate::types::KernelArg;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Foreign {
    key: &'static str,
    evidence: fn(&dyn ReadHost) -> Result<Option<Evidence>, HostError>,
    /// Why arguments cannot be managed.
    why: &'static str,
    /// Where they have to go instead.
    remedy: &'static str,
}

/// NixOS generates its boot menu.
pub static NIXOS: Foreign = Foreign {
    key: "nixos",
    evidence: |host| in_charge(host, "/etc/NIXOS", "marks a system that is generated from a Nix expression"),
    why: "the system is generated from a Nix expression, and its boot menu with it",
    remedy: "put the arguments into boot.kernelParams of configuration.nix and run nixos-rebuild boot",
};

/// A unified kernel image.
pub static UKI: Foreign = Foreign {
    key: "uki",
    evidence: stub_info,
    why: "a unified kernel image booted this system: its command line is in the image, and an argument outside it cannot take \
          effect",
    remedy: "put the arguments where the image is built: into /etc/kernel/cmdline, then mkinitcpio -P, or kernel-install \
             add-all with ukify; into a signed add-on (loader/addons/*.addon.efi) where somebody else signs the image",
};

fn in_charge(host: &dyn ReadHost, path: &str, tells: &str) -> Result<Option<Evidence>, HostError> {
    let there = host.exists(Path::new(path))?;
    Ok(there.then(|| Evidence::new(path, tells).weighing(Weight::InCharge)))
}

impl Foreign {
    fn refusal(&self) -> Reason {
        Reason::new("boot-chain-unsupported", self.why).remedy(self.remedy)
    }
}

impl BootChain for Foreign {
    fn key(&self) -> &'static str {
        self.key
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        Ok((self.evidence)(host)?.into_iter().collect())
    }

    fn sources(&self, _: &dyn ReadHost) -> Result<Sources, HostError> {
        Ok(Sources::refused(vec![self.refusal()]))
    }

    fn persisted(&self, _: &Sources) -> Result<Persisted, Vec<Reason>> {
        Err(vec![self.refusal()])
    }

    fn edits(&self, _: &Sources, _: &Wish<'_>) -> Result<Edits, Objection> {
        Err(objection("kernel arguments", vec![self.refusal()], self.remedy))
    }

    fn unpassable(&self, _: &KernelArg) -> Option<Reason> {
        None
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::Unknown(self.refusal()))
    }

    fn entries(&self, _: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        Ok(None)
    }

    fn predict_regenerated(&self, _: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        Ok(Vec::new())
    }
}
