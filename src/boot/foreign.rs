//! Ways of booting that are recognised and cannot be managed: their menu is no file that can be edited with certainty.

use std::path::{Path, PathBuf};

use super::conform::objection;
use super::detect::{loader_info, stub_info};
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

/// Images of ostree have their arguments in the deployment.
pub static OSTREE: Foreign = Foreign {
    key: "rpm-ostree",
    evidence: |host| in_charge(host, "/run/ostree-booted", "an ostree deployment runs"),
    why: "this system is booted by rpm-ostree, which reconcile does not manage",
    remedy: "set the arguments by rpm-ostree kargs",
};

/// Proxmox.
pub static PROXMOX: Foreign = Foreign {
    key: "proxmox-boot-tool",
    evidence: |host| {
        let uuids = "/etc/kernel/proxmox-boot-uuids";
        let listed = host.text(Path::new(uuids))?.is_some_and(|text| !text.trim().is_empty());
        Ok(listed
            .then(|| Evidence::new(uuids, "lists the ESPs that it writes to").weighing(Weight::InCharge)))
    },
    why: "this system is booted by proxmox-boot-tool, which reconcile does not manage",
    remedy: "set the arguments in /etc/kernel/cmdline and run proxmox-boot-tool refresh",
};

/// SUSE.
pub static SUSE: Foreign = Foreign {
    key: "update-bootloader",
    evidence: |host| {
        let path = "/etc/sysconfig/bootloader";
        let names = host.text(Path::new(path))?.is_some_and(|text| text.contains("LOADER_TYPE"));
        Ok(names
            .then(|| Evidence::new(path, "names the boot loader in LOADER_TYPE").weighing(Weight::InCharge)))
    },
    why: "this system is booted by update-bootloader, which reconcile does not manage",
    remedy: "set the arguments by update-bootloader",
};

/// Loader entries under systemd-boot or GRUB.
pub static ENTRIES: Foreign = Foreign {
    key: "loader-entries",
    evidence: |host| {
        if let Some(info) = loader_info(host)?.filter(|info| info.tells.starts_with("systemd-boot")) {
            return Ok(Some(info));
        }
        let path = "/boot/loader/entries";
        let names = host.list(Path::new(path))?.unwrap_or_default();
        let there = names.iter().any(|name| name.ends_with(".conf"));
        Ok(there.then(|| Evidence::new(path, "holds boot loader specification entries")))
    },
    why: "this system is booted from loader entries, which reconcile does not manage",
    remedy: "set the arguments in /etc/kernel/cmdline",
};

/// A unified kernel image.
pub static UKI: Foreign = Foreign {
    key: "uki",
    evidence: stub_info,
    why: "this system is booted by a unified kernel image, whose command line is in the image",
    remedy: "put the arguments into /etc/kernel/cmdline and build the image anew",
};

/// extlinux.
pub static EXTLINUX: Foreign = Foreign {
    key: "extlinux",
    evidence: |host| {
        let path = "/boot/extlinux/extlinux.conf";
        Ok(host.exists(Path::new(path))?.then(|| Evidence::new(path, "is an extlinux menu")))
    },
    why: "this system is booted by extlinux, which reconcile does not manage",
    remedy: "set the arguments in /boot/extlinux/extlinux.conf",
};

/// zipl.
pub static ZIPL: Foreign = Foreign {
    key: "zipl",
    evidence: |host| {
        let path = "/etc/zipl.conf";
        Ok(host.exists(Path::new(path))?.then(|| Evidence::new(path, "configures the s390 boot loader")))
    },
    why: "this system is booted by zipl, which reconcile does not manage",
    remedy: "set the arguments in /etc/zipl.conf and run zipl",
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
