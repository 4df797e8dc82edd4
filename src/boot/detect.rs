//! Which boot chain a host has, by evidence that has to agree: one file alone proves nothing, because packages of
//! several boot loaders can be installed side by side.

use std::path::Path;

use super::{BootChain, REGISTRY};
use crate::host::{HostError, ReadHost};
use crate::plan::Reason;

/// Something on the host that speaks for a boot chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The file or directory.
    pub path: String,
    /// What it tells.
    pub tells: String,
}

impl Evidence {
    pub(super) fn new(path: impl Into<String>, tells: impl Into<String>) -> Self {
        Self { path: path.into(), tells: tells.into() }
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path, self.tells)
    }
}

/// What was detected.
#[derive(Debug, Clone)]
pub enum Detection {
    /// All evidence agrees.
    One(&'static dyn BootChain, Vec<Evidence>),
    /// Another chain is in charge, which is not managed.
    Unsupported {
        /// Its name.
        what: &'static str,
        /// What speaks for it.
        evidence: Vec<Evidence>,
    },
    /// The evidence speaks for several.
    Ambiguous(Vec<Evidence>),
    /// There is none.
    None,
}

impl Detection {
    /// Why kernel arguments cannot be managed here: the finding, then each piece of evidence. Empty for
    /// [`Detection::One`].
    pub fn refusal(&self) -> Vec<Reason> {
        let (head, evidence): (Reason, &[Evidence]) = match self {
            Self::One(..) => return Vec::new(),
            Self::Unsupported { what, evidence } => {
                let text = format!("this system is booted by {what}, which reconcile does not manage");
                (
                    Reason::new("boot-chain-unsupported", text)
                        .remedy(format!("set the arguments by {what}'s own means")),
                    evidence,
                )
            }
            Self::Ambiguous(evidence) => {
                let text = "what is installed speaks for several boot loaders, and only one of them boots this system";
                let remedy = "remove the boot loader that is not used, with its files";
                (Reason::new("boot-chain-ambiguous", text).remedy(remedy), evidence)
            }
            Self::None => {
                let text = "no boot loader's configuration was found";
                let remedy = "install GRUB (grub-pc or grub-efi), or leave kernel_args out of the document";
                (Reason::new("boot-chain-missing", text).remedy(remedy), &[])
            }
        };
        let found = evidence
            .iter()
            .map(|found| Reason::new("boot-chain-evidence", found.tells.clone()).at(&found.path));
        std::iter::once(head).chain(found).collect()
    }
}

/// Detects the host's boot chain.
///
/// # Errors
/// When the host does not answer.
pub fn detect(host: &dyn ReadHost) -> Result<Detection, HostError> {
    if let Some((what, evidence)) = in_charge(host)? {
        return Ok(Detection::Unsupported { what, evidence: vec![evidence] });
    }
    let mut found = Vec::new();
    for chain in REGISTRY {
        let evidence = chain.evidence(host)?;
        if !evidence.is_empty() {
            found.push((*chain, evidence));
        }
    }
    let rivals = rivals(host)?;
    if found.is_empty() {
        return Ok(match rivals.split_first() {
            None => Detection::None,
            Some(((what, _), _)) => {
                let evidence = rivals.iter().map(|(_, evidence)| evidence.clone()).collect();
                Detection::Unsupported { what, evidence }
            }
        });
    }
    let agreed = text(host, LOADER_INFO)?.is_some_and(|info| info.starts_with("GRUB"));
    match (found.len(), found.pop()) {
        (1, Some((chain, evidence))) if rivals.is_empty() || agreed => Ok(Detection::One(chain, evidence)),
        (_, last) => {
            let all = found.into_iter().chain(last).flat_map(|(_, evidence)| evidence);
            Ok(Detection::Ambiguous(all.chain(rivals.into_iter().map(|(_, evidence)| evidence)).collect()))
        }
    }
}

const LOADER_INFO: &str = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const STUB_INFO: &str = "/sys/firmware/efi/efivars/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const ENTRIES: &str = "/boot/loader/entries";

/// A chain that is in charge whatever else is installed.
fn in_charge(host: &dyn ReadHost) -> Result<Option<(&'static str, Evidence)>, HostError> {
    let exists = |path: &str| host.exists(Path::new(path));
    if exists("/run/ostree-booted")? {
        return Ok(Some(("rpm-ostree", Evidence::new("/run/ostree-booted", "an ostree deployment runs"))));
    }
    if exists("/etc/NIXOS")? {
        return Ok(Some((
            "NixOS",
            Evidence::new("/etc/NIXOS", "the system is generated from a Nix expression"),
        )));
    }
    let uuids = "/etc/kernel/proxmox-boot-uuids";
    if host.text(Path::new(uuids))?.is_some_and(|text| !text.trim().is_empty()) {
        return Ok(Some(("proxmox-boot-tool", Evidence::new(uuids, "lists the ESPs that it writes to"))));
    }
    let suse = "/etc/sysconfig/bootloader";
    if host.text(Path::new(suse))?.is_some_and(|text| text.contains("LOADER_TYPE")) {
        return Ok(Some(("update-bootloader", Evidence::new(suse, "names the boot loader in LOADER_TYPE"))));
    }
    if let Some(info) = text(host, LOADER_INFO)?.filter(|info| info.starts_with("systemd-boot")) {
        return Ok(Some(("systemd-boot", Evidence::new(LOADER_INFO, format!("{info} booted this system")))));
    }
    if let Some(info) = text(host, STUB_INFO)? {
        return Ok(Some((
            "unified kernel image",
            Evidence::new(STUB_INFO, format!("{info} booted this system")),
        )));
    }
    for cfg in ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"] {
        let blscfg = host
            .text(Path::new(cfg))?
            .is_some_and(|text| text.lines().any(|line| line.split_whitespace().next() == Some("blscfg")));
        if blscfg && has_entries(host)? {
            return Ok(Some((
                "GRUB with boot loader specification entries",
                Evidence::new(cfg, "runs blscfg"),
            )));
        }
    }
    Ok(None)
}

/// What speaks for other chains, without being proof.
fn rivals(host: &dyn ReadHost) -> Result<Vec<(&'static str, Evidence)>, HostError> {
    let exists = |path: &str| host.exists(Path::new(path));
    let mut rivals = Vec::new();
    if has_entries(host)? {
        rivals.push(("systemd-boot", Evidence::new(ENTRIES, "holds boot loader specification entries")));
    }
    if exists("/boot/extlinux/extlinux.conf")? {
        rivals.push(("extlinux", Evidence::new("/boot/extlinux/extlinux.conf", "is an extlinux menu")));
    }
    if exists("/etc/zipl.conf")? {
        rivals.push(("zipl", Evidence::new("/etc/zipl.conf", "configures the s390 boot loader")));
    }
    if exists("/boot/grub2/grub.cfg")? {
        let evidence =
            Evidence::new("/boot/grub2/grub.cfg", "is the menu of a GRUB without /etc/default/grub.d");
        rivals.push(("GRUB without drop-ins", evidence));
    }
    let mkconfig = "/usr/sbin/grub-mkconfig";
    if host.text(Path::new(mkconfig))?.is_some_and(|script| !script.contains("default/grub.d")) {
        rivals.push(("GRUB without drop-ins", Evidence::new(mkconfig, "does not read /etc/default/grub.d")));
    }
    if !exists(mkconfig)? && !exists("/etc/default/grub.d")? {
        // A tree without the script: other distributions' GRUB has no drop-ins.
        let release = host.text(Path::new("/etc/os-release"))?.unwrap_or_default();
        let like = |line: &&str| line.starts_with("ID=") || line.starts_with("ID_LIKE=");
        let ids: Vec<&str> = release.lines().filter(like).collect();
        if !ids.is_empty() && !ids.iter().any(|line| line.contains("debian") || line.contains("ubuntu")) {
            let tells = format!("says {}, whose GRUB reads no /etc/default/grub.d", ids.join(" "));
            rivals.push(("GRUB without drop-ins", Evidence::new("/etc/os-release", tells)));
        }
    }
    Ok(rivals)
}

fn has_entries(host: &dyn ReadHost) -> Result<bool, HostError> {
    let names = host.list(Path::new(ENTRIES))?.unwrap_or_default();
    Ok(names.iter().any(|name| name.ends_with(".conf")))
}

/// An EFI variable's text: four bytes of attributes, then UTF-16.
fn text(host: &dyn ReadHost, path: &str) -> Result<Option<String>, HostError> {
    let bytes = host.read(Path::new(path))?;
    Ok(bytes.map(|bytes| {
        let units = bytes.get(4..).unwrap_or_default().chunks_exact(2).map(|pair| match pair {
            [low, high] => u16::from_le_bytes([*low, *high]),
            _ => 0,
        });
        let text: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
        String::from_utf16_lossy(&text)
    }))
}
