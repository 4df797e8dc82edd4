//! Which boot chain a host has, by evidence that has to agree: one file alone proves nothing, because packages of
//! several boot loaders can be installed side by side.

use std::path::Path;

use super::{BootChain, ChainName, REGISTRY};
use crate::host::{HostError, ReadHost};
use crate::plan::Reason;
use crate::types::Entry;

/// How much a piece of evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The chain's files are there.
    Installed,
    /// The chain's boot loader booted the system.
    Booted,
    /// The chain is in charge whatever else is installed.
    InCharge,
}

/// Something on the host that speaks for a boot chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The file or directory.
    pub path: String,
    /// What it tells.
    pub tells: String,
    /// How much that says.
    pub weight: Weight,
}

impl Evidence {
    pub(super) fn new(path: impl Into<String>, tells: impl Into<String>) -> Self {
        Self { path: path.into(), tells: tells.into(), weight: Weight::Installed }
    }

    pub(super) fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path, self.tells)
    }
}

/// A chain with what speaks for it.
pub type Found = (&'static dyn BootChain, Vec<Evidence>);

/// What was detected.
#[derive(Debug, Clone)]
pub enum Detection {
    /// All evidence agrees.
    One(&'static dyn BootChain, Vec<Evidence>),
    /// The evidence speaks for several chains: each with its own.
    Ambiguous(Vec<Found>),
    /// The document names a chain for which nothing speaks.
    Unfounded {
        /// The name and where it stands.
        named: Entry<ChainName>,
        /// What there is evidence for.
        found: Vec<Found>,
    },
    /// There is none.
    None,
}

impl Detection {
    /// Why kernel arguments cannot be managed here: the finding, then each piece of evidence. Empty for
    /// [`Detection::One`].
    pub fn refusal(&self) -> Vec<Reason> {
        let (head, found): (Reason, &[Found]) = match self {
            Self::One(..) => return Vec::new(),
            Self::Ambiguous(found) => {
                let text = "what is installed speaks for several boot chains, and only one of them boots this system";
                let remedy = format!("name the one that does in the document: {}", keys(found));
                (Reason::new("boot-chain-ambiguous", text).remedy(remedy), found)
            }
            Self::Unfounded { named, found } => {
                let text = format!(
                    "the document names the boot chain {}, and nothing on this host speaks for it",
                    named.value
                );
                let remedy = if found.is_empty() {
                    "take boot: {chain: ...} out of the document".to_owned()
                } else {
                    format!("take it out of the document, or name one that is there: {}", keys(found))
                };
                (Reason::new("boot-chain-unfounded", text).at(&named.place).remedy(remedy), found)
            }
            Self::None => {
                let text = "no boot loader's configuration was found";
                let remedy =
                    "install a boot loader with its configuration, or leave kernel_args out of the document";
                (Reason::new("boot-chain-missing", text).remedy(remedy), &[])
            }
        };
        let told = found.iter().flat_map(|(chain, evidence)| {
            evidence.iter().map(|found| {
                let text = format!("for {}: {}", chain.key(), found.tells);
                Reason::new("boot-chain-evidence", text).at(&found.path)
            })
        });
        std::iter::once(head).chain(told).collect()
    }
}

/// `boot: {chain: NAME}` for each of them.
fn keys(found: &[Found]) -> String {
    let keys: Vec<String> =
        found.iter().map(|(chain, _)| format!("boot: {{chain: {}}}", chain.key())).collect();
    keys.join(" or ")
}

/// Detects the host's boot chain; `named` is the one that the document names.
///
/// # Errors
/// When the host does not answer.
pub fn detect(host: &dyn ReadHost, named: Option<&Entry<ChainName>>) -> Result<Detection, HostError> {
    let mut found: Vec<Found> = Vec::new();
    for chain in REGISTRY {
        let evidence = chain.evidence(host)?;
        if !evidence.is_empty() {
            found.push((*chain, evidence));
        }
    }
    if let Some(named) = named {
        return Ok(match found.iter().position(|(chain, _)| chain.key() == named.value.as_str()) {
            Some(at) => {
                let (chain, evidence) = found.swap_remove(at);
                Detection::One(chain, evidence)
            }
            None => Detection::Unfounded { named: named.clone(), found },
        });
    }
    let heaviest = |evidence: &[Evidence]| evidence.iter().map(|found| found.weight).max();
    let weight = found.iter().filter_map(|(_, evidence)| heaviest(evidence)).max();
    found.retain(|(_, evidence)| heaviest(evidence) == weight);
    // Of several that are in charge the outer one is: the registry's order.
    if weight == Some(Weight::InCharge) {
        found.truncate(1);
    }
    Ok(match (found.len(), found.pop()) {
        (_, None) => Detection::None,
        (1, Some((chain, evidence))) => Detection::One(chain, evidence),
        (_, Some(last)) => Detection::Ambiguous(found.into_iter().chain([last]).collect()),
    })
}

const LOADER_INFO: &str = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const STUB_INFO: &str = "/sys/firmware/efi/efivars/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// What the boot loader said of itself; GRUB does so since 2.12, by its `bli` module.
///
/// # Errors
/// When the host does not answer.
pub(super) fn loader_info(host: &dyn ReadHost) -> Result<Option<Evidence>, HostError> {
    booted(host, LOADER_INFO)
}

/// What the stub of a unified kernel image said of itself.
///
/// # Errors
/// When the host does not answer.
pub(super) fn stub_info(host: &dyn ReadHost) -> Result<Option<Evidence>, HostError> {
    booted(host, STUB_INFO)
}

fn booted(host: &dyn ReadHost, path: &str) -> Result<Option<Evidence>, HostError> {
    let info = efi_text(host, path)?;
    Ok(info.map(|info| Evidence::new(path, format!("{info} booted this system")).weighing(Weight::Booted)))
}

/// An EFI variable's text: four bytes of attributes, then UTF-16.
fn efi_text(host: &dyn ReadHost, path: &str) -> Result<Option<String>, HostError> {
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
