//! `initramfs`: what the image of each installed kernel has to hold, because it decides before the root file system is
//! there which driver gets a function.
//!
//! No section asks for it: it follows from `blacklist`, `module_options` and `vfio_pci`. It writes what the generator
//! needs so that our files and vfio-pci get into the images, and then reads the images themselves: one that lacks what our
//! files say about a module that it has, or that still holds what they no longer say, has to be rebuilt.

mod judge;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::own_file::OwnFile;
use super::{Findings, ObserveError, Observer, Resource, bindings, blacklist, module_options, vfio_ids};
use crate::document::Document;
use crate::engine::Facts;
use crate::engine::devices::refused_ids;
use crate::formats::modprobe::Config;
use crate::host::kernels::Presence;
use crate::host::kmod;
use crate::host::pci::Pci;
use crate::initramfs::{self, Found, GENERATOR_FILES, Generator, Image, Needs, Told};
use crate::plan::{
    Change, Disruption, Followup, ItemVerdict, LiftedBy, Objection, Phase, Reason, Verdict, Warning,
};
use crate::types::{ModuleName, PciAddress};

/// Our files that an image has a copy of.
pub const CARRIED: [&str; 5] =
    [vfio_ids::EARLY_FILE, blacklist::FILE, module_options::FILE, vfio_ids::FILE, bindings::RULES];

/// `initramfs`.
#[derive(Debug)]
pub struct Initramfs;

/// What the images are needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Whether vfio-pci has ids to claim; `None` where `vfio_pci.ids` is not managed: what stands stays.
    claims: Option<bool>,
    /// Whether the document asks for something that modprobe.d or a udev rule says.
    says: bool,
    /// Our files of sections that are not in the document: they stay.
    left: Vec<&'static str>,
    /// The modules that the document is about.
    modules: BTreeSet<ModuleName>,
}

/// What was found.
#[derive(Debug)]
pub struct State {
    generator: Option<&'static dyn Generator>,
    /// What the generator has to be told.
    told: Told,
    /// The generator's files that are ours or would be, in the order of `GENERATOR_FILES`.
    files: Vec<OwnFile>,
    /// Our files that an image copies, as they stand.
    own: BTreeMap<PathBuf, String>,
    /// What modprobe.d says, as far as an image gets it.
    config: Config,
    images: Vec<Found>,
    /// What a rebuild would make of them, as the generator is told now; where some things are beyond it.
    rebuilt: BTreeMap<PathBuf, Image>,
    /// The kernels that have vfio-pci as a module.
    with_vfio_pci: BTreeSet<String>,
    /// The native drivers of functions that a udev rule is about.
    natives: BTreeMap<PciAddress, BTreeSet<ModuleName>>,
}

impl Resource for Initramfs {
    const KEY: &'static str = "initramfs";
    const SECTION: &'static str = "vfio_pci";
    const AFTER: &'static [&'static str] = &[];
    const OWN_FILES: &'static [&'static str] = &GENERATOR_FILES;
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, facts: &Facts) -> Option<Spec> {
        let vfio = document.vfio_pci.as_ref();
        if document.blacklist.is_none() && document.module_options.is_none() && vfio.is_none() {
            return None;
        }
        let installed = &facts.kernels.installed;
        let is_module = installed.is_empty() || installed.iter().any(|kernel| !kernel.vfio_pci_builtin);
        let ids = vfio.and_then(|vfio| vfio.ids.as_ref());
        let claims = ids.map(|ids| {
            let refused = refused_ids(document, facts);
            is_module && ids.iter().any(|entry| !refused.contains_key(&entry.value))
        });
        let devices = vfio.and_then(|vfio| vfio.devices.as_ref());
        let (blacklist, options) = (document.blacklist.as_ref(), document.module_options.as_ref());
        let says = ids.is_some_and(|ids| !ids.is_empty())
            || devices.is_some_and(|devices| !devices.is_empty())
            || blacklist.is_some_and(|list| !list.is_empty())
            || options.is_some_and(|options| !options.is_empty());
        let sections = [
            (blacklist::FILE, blacklist.is_some()),
            (module_options::FILE, options.is_some()),
            (vfio_ids::FILE, ids.is_some()),
            (vfio_ids::EARLY_FILE, ids.is_some()),
            (bindings::RULES, devices.is_some()),
        ];
        let left = sections.into_iter().filter(|(_, managed)| !managed).map(|(file, _)| file).collect();
        let mut modules: BTreeSet<ModuleName> =
            blacklist.into_iter().flatten().map(|entry| entry.value.module.clone()).collect();
        modules.extend(options.into_iter().flatten().map(|(module, _)| module.clone()));
        modules.extend(ids.and_then(|_| "vfio_pci".parse().ok()));
        Some(Spec { claims, says, left, modules })
    }

    fn observe(spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let (host, kernels) = (observer.host, &observer.facts.kernels);
        let mut own = BTreeMap::new();
        for path in CARRIED.map(PathBuf::from) {
            let lines: Vec<String> = OwnFile::read(host, &path)?.lines();
            if !lines.is_empty() {
                own.insert(path, lines.join("\n"));
            }
        }
        let files = GENERATOR_FILES.iter().map(|path| OwnFile::read(host, *path));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let generator = initramfs::detect(host)?.generator();
        let told = match generator {
            Some(generator) => generator.told(host, needs(spec, &files, &own))?,
            None => Told::Files(Vec::new()),
        };
        let images = initramfs::found(host, kernels)?;
        let mut natives = BTreeMap::new();
        let pci = Pci::new(host);
        let rules = judge::rules(&own, &images);
        for address in rules.iter().filter_map(|line| judge::address_of(line)) {
            let function = pci.function(address).ok().flatten();
            natives.insert(address, kernels.drivers_of(host, function.as_slice())?);
        }
        let vfio_pci: BTreeSet<ModuleName> = "vfio_pci".parse().into_iter().collect();
        let in_kernels = kernels.find(host, &vfio_pci)?;
        let modules = in_kernels.values().flat_map(|found| &found.0);
        let with_vfio_pci = modules.filter(|(_, presence)| matches!(presence, Presence::Module(_)));
        let mut rebuilt = BTreeMap::new();
        if let Some(generator) = generator.filter(|generator| generator.beyond_rebuild().is_some()) {
            for found in &images {
                let Ok(image) = &found.content else { continue };
                let mut image = Image::clone(image);
                generator.predict(host, &found.release, &mut image)?;
                rebuilt.insert(found.path.clone(), image);
            }
        }
        Ok(State {
            generator,
            told,
            files,
            with_vfio_pci: with_vfio_pci.map(|(release, _)| release.clone()).collect(),
            config: kmod::modprobe_config(host)?.copied_into_images(),
            own,
            images,
            rebuilt,
            natives,
        })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let mut findings = Findings::default();
        let wanted = match &state.told {
            Told::Files(files) => files.as_slice(),
            Told::Refused(objection) => {
                let verdict = Verdict::Refused(objection.clone());
                findings.items.push(ItemVerdict::new(objection.subject.clone(), verdict));
                &[]
            }
        };
        // Where it cannot be told what is needed, what it has been told stays.
        let is_told = matches!(state.told, Told::Files(_));
        for file in state.files.iter().filter(|_| is_told) {
            let wanted = wanted.iter().find(|wanted| wanted.path == file.path());
            // Somebody else's file is in the way only where ours is needed.
            let mode = wanted.map_or(0o644, |wanted| wanted.mode);
            let Some(step) = file.step(wanted.map(|wanted| wanted.content.clone()), mode) else { continue };
            let text = "what the images' generator is told follows from the document";
            let mut verdict = file.change(&step, Reason::new("initramfs-hook", text));
            if let Verdict::Change(change) = &mut verdict {
                change.followups.extend(state.generator.map(|_| Followup::Initramfs));
            }
            findings.items.push(ItemVerdict::new(file.path().display().to_string(), verdict));
        }
        let is_settled = findings.items.is_empty();
        for found in &state.images {
            let item = found.path.display().to_string();
            let image = match &found.content {
                Ok(image) => image,
                Err(reason) => {
                    let (resource, reason) = (Cow::Borrowed(Self::KEY), reason.clone());
                    findings.warnings.push(Warning { resource, subject: item, reason });
                    continue;
                }
            };
            let stale = judge::stale(image, &found.release, state, spec);
            let verdict = match stale.split_first() {
                None => Verdict::InSync,
                Some((first, _)) if is_settled && is_beyond_rebuild(found, state, spec) => {
                    beyond_rebuild(found, first, state)
                }
                Some((first, rest)) => {
                    let more = if rest.is_empty() { String::new() } else { format!("; and {} more", rest.len()) };
                    let text = format!("the image of {} {first}{more}", found.release);
                    let reason = Reason::new("image-stale", text).at(&item);
                    // A change without a step is shown by what it owes; why it does is said here.
                    findings.warnings.push(Warning {
                        resource: Cow::Borrowed(Self::KEY),
                        subject: item.clone(),
                        reason: reason.clone(),
                    });
                    let mut change = Change::new(Phase::Persisted, Vec::new(), Disruption::Reboot, reason);
                    change.followups.insert(Followup::Initramfs);
                    Verdict::Change(change)
                }
            };
            findings.items.push(ItemVerdict::new(item, verdict));
        }
        findings
    }
}

/// What the images have to be brought, with what stands of sections that are not managed.
fn needs(spec: &Spec, files: &[OwnFile], own: &BTreeMap<PathBuf, String>) -> Needs {
    Needs {
        vfio_pci: claims(spec, files),
        files: spec.says || spec.left.iter().any(|file| own.contains_key(Path::new(file))),
    }
}

/// Whether vfio-pci has ids to claim; where they are not managed, what stands tells.
fn claims(spec: &Spec, files: &[OwnFile]) -> bool {
    spec.claims.unwrap_or_else(|| files.iter().any(brings_vfio_pci))
}

/// Whether a rebuild would change nothing of what is wrong with an image.
fn is_beyond_rebuild(found: &Found, state: &State, spec: &Spec) -> bool {
    let rebuilt = state.rebuilt.get(&found.path);
    rebuilt.is_some_and(|rebuilt| {
        let Ok(image) = &found.content else { return false };
        judge::stale(rebuilt, &found.release, state, spec) == judge::stale(image, &found.release, state, spec)
    })
}

/// What is wrong with an image, and what helps where a rebuild does not.
fn beyond_rebuild(found: &Found, what: &str, state: &State) -> Verdict {
    let item = found.path.display().to_string();
    let text = format!("the image of {} {what}, and a rebuild would not change that", found.release);
    let remedy = state.generator.and_then(Generator::beyond_rebuild).unwrap_or_default();
    let reason = Reason::new("image-beyond-rebuild", text).at(&item).remedy(remedy);
    Verdict::Refused(Objection::new(item, vec![reason], LiftedBy::Operator(remedy.to_owned())))
}

/// What an image does not say about a module and this configuration does, one phrase for each thing.
pub fn image_lacks(image: &Image, config: &Config, module: &ModuleName) -> Vec<String> {
    judge::lacks(image, &config.copied_into_images(), module)
}

/// Whether a generator's file has vfio-pci brought into the images.
fn brings_vfio_pci(file: &OwnFile) -> bool {
    file.lines().iter().any(|line| line.contains("vfio_pci"))
}

#[cfg(test)]
mod tests;
