//! Initramfs generators: one file each behind one small trait.
//!
//! To add one: write `initramfs/NAME.rs` with a type that implements [`Generator`], and add its line to `GENERATORS`
//! and its row to the README's table.

mod booster;
mod dracut;
mod found;
mod image;
mod initramfs_tools;
mod mkinitcpio;
mod summary;
pub mod unpack;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use booster::Booster;
pub use dracut::Dracut;
pub use found::{Found, found};
pub use image::Image;
pub use initramfs_tools::InitramfsTools;
pub use mkinitcpio::Mkinitcpio;
pub use summary::{Summary, rebuild_command};

use crate::engine::Means;
use crate::host::kernels::{InKernels, Presence};
use crate::host::{HostError, Kernels, ReadHost};
use crate::plan::{LiftedBy, Objection, Reason};
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

/// How a generator is told what the images need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// By these files, which are ours.
    Files(Vec<ImageFile>),
    /// It cannot be told with certainty.
    Refused(Objection),
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

    /// How the images of all kernels are rebuilt.
    ///
    /// # Errors
    /// When the host cannot be read.
    fn rebuild(&self, host: &dyn ReadHost) -> Result<Means, HostError>;

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

    /// What brings what is needed into the images.
    ///
    /// # Errors
    /// When the host cannot be read.
    fn told(&self, host: &dyn ReadHost, needs: Needs) -> Result<Told, HostError>;

    /// Makes of an image of this kernel what a rebuild would make of it, as far as this program asks.
    ///
    /// # Errors
    /// When the host cannot be read.
    fn predict(&self, host: &dyn ReadHost, release: &str, image: &mut Image) -> Result<(), HostError>;

    /// What an operator does about a thing in an image that no rebuild changes; `None` where a rebuild changes it all.
    fn beyond_rebuild(&self) -> Option<&'static str> {
        None
    }
}

/// What the images have to be brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// vfio-pci, in time to claim ids before a native driver is loaded.
    pub vfio_pci: bool,
    /// Our files of modprobe.d and our udev rules.
    pub files: bool,
}

/// Every known generator. initramfs-tools comes first, for it alone shows that it is the one in charge.
const GENERATORS: [&dyn Generator; 4] = [&InitramfsTools, &Dracut, &Mkinitcpio, &Booster];

/// The names of the known generators.
pub fn generators() -> impl Iterator<Item = &'static str> {
    GENERATORS.iter().map(|generator| generator.key())
}

/// The files that generators need, of all of them.
pub const GENERATOR_FILES: [&str; 4] =
    [initramfs_tools::HOOK, dracut::DROP_IN, mkinitcpio::DROP_IN, booster::CONF];

/// Generators that are recognised and not served: what shows them.
const UNSERVED: [(&str, &str); 1] = [("mkosi-initrd", "/usr/bin/mkosi-initrd")];

/// Where kernel-install is told which generator makes the images (`kernel-install(8)`); the first that is there counts.
const INSTALL_CONF: [&str; 2] = ["/etc/kernel/install.conf", "/usr/lib/kernel/install.conf"];

/// What builds the images of a host.
#[derive(Debug, Clone)]
pub enum Detected {
    /// A generator that reconcile can run, and what shows it.
    Served(&'static dyn Generator, String),
    /// A generator that reconcile cannot run, or several of which it cannot tell which one is in charge: the name, and what
    /// shows it.
    Unserved(String, String),
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

/// Finds the generator of a host. Where several are installed the one counts that kernel-install is told to use.
///
/// # Errors
/// When the host cannot be read.
pub fn detect(host: &dyn ReadHost) -> Result<Detected, HostError> {
    let mut found: BTreeMap<&str, (Option<&'static dyn Generator>, String)> = BTreeMap::new();
    for generator in GENERATORS {
        if let Some(evidence) = generator.evidence(host)? {
            if generator.key() == InitramfsTools.key() {
                return Ok(Detected::Served(generator, evidence));
            }
            found.insert(generator.key(), (Some(generator), evidence));
        }
    }
    for (name, path) in UNSERVED {
        if host.exists(Path::new(path))? {
            found.entry(name).or_insert_with(|| (None, path.to_owned()));
        }
    }
    if found.len() > 1
        && let Some(name) = told_to_use(host)?
        && let Some((name, chosen)) = found.remove_entry(name.as_str())
    {
        found = [(name, chosen)].into();
    }
    let names: Vec<&str> = found.keys().copied().collect();
    let evidence: Vec<&str> = found.values().map(|(_, evidence)| evidence.as_str()).collect();
    let (names, evidence) = (names.join(" or "), evidence.join(", "));
    Ok(match found.into_values().collect::<Vec<_>>().as_slice() {
        [] => Detected::None,
        [(Some(generator), _)] => Detected::Served(*generator, evidence),
        _ => Detected::Unserved(names, evidence),
    })
}

/// What `initrd_generator=` names in kernel-install's configuration.
fn told_to_use(host: &dyn ReadHost) -> Result<Option<String>, HostError> {
    for path in INSTALL_CONF {
        if let Some(text) = host.text(Path::new(path))? {
            let mut named = text.lines().filter_map(|line| line.trim().strip_prefix("initrd_generator="));
            return Ok(named.next_back().map(|name| name.trim_matches(['"', '\'']).to_owned()));
        }
    }
    Ok(None)
}

/// Which of these modules the images of this host carry: what an image holds is read from it, and for a kernel without one
/// that can be read the generator's configuration tells.
///
/// # Errors
/// When the host cannot be read.
pub fn carried(
    host: &dyn ReadHost,
    kernels: &Kernels,
    modules: &BTreeMap<ModuleName, InKernels>,
) -> Result<BTreeMap<ModuleName, Carries>, HostError> {
    if modules.is_empty() {
        return Ok(BTreeMap::new());
    }
    let images = found(host, kernels)?;
    let read: Vec<(&Found, &Image)> =
        images.iter().filter_map(|found| Some((found, found.content.as_deref().ok()?))).collect();
    let mut unread = kernels.clone();
    unread.installed.retain(|kernel| !read.iter().any(|(found, _)| found.release == kernel.release));
    let mut answers = match detect(host)?.generator() {
        Some(generator) if read.is_empty() || !unread.installed.is_empty() => {
            generator.carries(host, &unread, modules)?
        }
        _ => BTreeMap::new(),
    };
    for module in modules.keys() {
        if let Some((found, _)) = read.iter().find(|(found, image)| image.has(module, &found.release)) {
            answers.insert(module.clone(), Carries::Yes(format!("{} has it", found.path.display())));
        } else if !read.is_empty() {
            answers.entry(module.clone()).or_insert_with(|| Carries::No("no image has it".to_owned()));
        }
    }
    Ok(answers)
}

/// Whether a command rebuilds this host's images.
///
/// # Errors
/// When the host cannot be read.
pub fn is_rebuild(host: &dyn ReadHost, argv: &[String]) -> Result<bool, HostError> {
    let Some(generator) = detect(host)?.generator() else { return Ok(false) };
    Ok(matches!(generator.rebuild(host)?, Means::Command(command) if command == argv))
}

/// What a rebuild would make of the images that can be read.
///
/// # Errors
/// When the host cannot be read.
pub fn predict_rebuilt(host: &dyn ReadHost) -> Result<Vec<(PathBuf, Image)>, HostError> {
    let Some(generator) = detect(host)?.generator() else { return Ok(Vec::new()) };
    let mut rebuilt = Vec::new();
    for Found { release, path, content } in found(host, &Kernels::read(host)?)? {
        let Ok(image) = content else { continue };
        let mut image = Image::clone(&image);
        generator.predict(host, &release, &mut image)?;
        rebuilt.push((path, image));
    }
    Ok(rebuilt)
}

/// An objection to telling a generator something, with what lifts it.
fn refuse(subject: &str, reason: Reason, remedy: impl Into<String>) -> Told {
    let remedy = remedy.into();
    let reason = reason.remedy(remedy.clone());
    Told::Refused(Objection::new(subject, vec![reason], LiftedBy::Operator(remedy)))
}

/// By kernel-install where it is told to use this generator, or else by hand.
fn kernel_install(host: &dyn ReadHost, generator: &str, by_hand: &str) -> Result<Means, HostError> {
    if told_to_use(host)?.as_deref() == Some(generator) {
        return Ok(Means::Command(["kernel-install", "add-all"].map(str::to_owned).to_vec()));
    }
    let text = format!("nothing on this host tells which command makes {generator} rebuild all images");
    Ok(Means::Unknown(Reason::new("rebuild-unknown", text).remedy(by_hand)))
}

/// What images of a generator that takes what the hardware asks for may have: every module, except those for which
/// `left_out` has a reason.
fn may_carry(
    generator: &str,
    modules: &BTreeMap<ModuleName, InKernels>,
    left_out: impl Fn(&ModuleName) -> Option<&'static str>,
) -> BTreeMap<ModuleName, Carries> {
    let answer = |(module, found): (&ModuleName, &InKernels)| {
        let is_module = found.0.values().any(|presence| matches!(presence, Presence::Module(_)));
        let carries = match left_out(module) {
            _ if !is_module => Carries::No("no installed kernel has it as a module".to_owned()),
            Some(why) => Carries::No(why.to_owned()),
            None => Carries::Yes(format!("{generator} may have taken it")),
        };
        (module.clone(), carries)
    };
    modules.iter().map(answer).collect()
}

/// The files of drop-in directories that end so, in the order of their names; of each name the one in the first directory.
fn conf_d(host: &dyn ReadHost, directories: &[&str], suffix: &str) -> Result<Vec<PathBuf>, HostError> {
    let mut by_name: BTreeMap<String, PathBuf> = BTreeMap::new();
    for directory in directories.iter().map(Path::new) {
        for name in host.list(directory)?.unwrap_or_default() {
            if name.ends_with(suffix) && !name.starts_with('.') {
                let path = directory.join(&name);
                by_name.entry(name).or_insert(path);
            }
        }
    }
    Ok(by_name.into_values().collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_has_every_generator() {
        let readme = include_str!("../../README.md");
        let table = readme.split("| generator |").nth(1).unwrap().split("\n\n").next().unwrap();
        let rows: Vec<&str> =
            table.lines().skip(2).filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
        assert_eq!(rows, super::generators().collect::<Vec<_>>());
        let ran = table
            .lines()
            .skip(2)
            .map(|line| line.trim_end_matches(" |").rsplit("| ").next().unwrap_or_default());
        assert!(
            ran.clone().all(|cell| !cell.trim().is_empty()),
            "each says whether it ran for real: {table}"
        );
    }
}
