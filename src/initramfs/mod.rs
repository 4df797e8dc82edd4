//! Initramfs generators: one file each behind one small trait.
//!
//! To add one: write `initramfs/NAME.rs` with a type that implements [`Generator`], and add its line to `GENERATORS`.

mod image;
mod initramfs_tools;
mod summary;
pub mod unpack;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use image::Image;
pub use initramfs_tools::{HOOK as INITRAMFS_TOOLS_HOOK, InitramfsTools};
pub use summary::{Summary, rebuild_command};

use crate::host::kernels::InKernels;
use crate::host::{HostError, Kernels, ReadHost};
use crate::types::ModuleName;

/// Whether an image has, or would have, a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carries {
    /// It has, and why.
    Yes(String),
    /// It has not, and why.
    No(String),
}

/// A file that the generator needs so that the right things are in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Where it lies on the host.
    pub path: PathBuf,
    /// Its whole content, with our header.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

/// What builds the initramfs images of a host.
pub trait Generator: fmt::Debug + Sync {
    /// Its name in reports.
    fn key(&self) -> &'static str;

    /// What shows that this host uses it; `None` where it does not.
    ///
    /// # Errors
    /// When the host cannot be read.
    fn evidence(&self, host: &dyn ReadHost) -> Result<Option<String>, HostError>;

    /// The command that rebuilds the images of all kernels.
    fn rebuild(&self) -> Vec<String>;

    /// Which of these modules its images carry.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    fn carries(
        &self,
        host: &dyn ReadHost,
        kernels: &Kernels,
        modules: &BTreeMap<ModuleName, InKernels>,
    ) -> Result<BTreeMap<ModuleName, Carries>, HostError>;

    /// The files that bring vfio-pci and these udev rules into the image.
    fn image_files(&self, rules: &[&Path]) -> Vec<ImageFile>;
}

/// Every known generator.
const GENERATORS: [&dyn Generator; 1] = [&InitramfsTools];

/// Generators that are recognised and not served yet: what shows them.
const UNSERVED: [(&str, &str); 6] = [
    ("dracut", "/usr/bin/dracut"),
    ("dracut", "/usr/sbin/dracut"),
    ("mkinitcpio", "/usr/bin/mkinitcpio"),
    ("booster", "/usr/bin/booster"),
    ("booster", "/etc/booster.yaml"),
    ("mkosi-initrd", "/usr/bin/mkosi-initrd"),
];

/// What builds the images of a host.
#[derive(Debug, Clone)]
pub enum Detected {
    /// A generator that reconcile can run, and what shows it.
    Served(&'static dyn Generator, String),
    /// A generator that reconcile cannot run: its name, and what shows it.
    Unserved(&'static str, String),
    /// None.
    None,
}

impl Detected {
    /// The generator that reconcile can run.
    pub fn generator(&self) -> Option<&'static dyn Generator> {
        match self {
            Self::Served(generator, _) => Some(*generator),
            Self::Unserved(..) | Self::None => None,
        }
    }
}

/// Finds the generator of a host.
///
/// # Errors
/// When the host cannot be read.
pub fn detect(host: &dyn ReadHost) -> Result<Detected, HostError> {
    for generator in GENERATORS {
        if let Some(evidence) = generator.evidence(host)? {
            return Ok(Detected::Served(generator, evidence));
        }
    }
    for (name, path) in UNSERVED {
        if host.exists(Path::new(path))? {
            return Ok(Detected::Unserved(name, path.to_owned()));
        }
    }
    Ok(Detected::None)
}

/// Which of these modules the images of this host carry; nothing is carried where there is no generator to run.
///
/// # Errors
/// When the host cannot be read.
pub fn carried(
    host: &dyn ReadHost,
    kernels: &Kernels,
    modules: &BTreeMap<ModuleName, InKernels>,
) -> Result<BTreeMap<ModuleName, Carries>, HostError> {
    match detect(host)?.generator() {
        Some(generator) if !modules.is_empty() => generator.carries(host, kernels, modules),
        _ => Ok(BTreeMap::new()),
    }
}
