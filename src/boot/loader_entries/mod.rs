//! systemd-boot with entries written by hand (Arch, and others): the `options` of each are edited in place.

use std::path::PathBuf;

use super::conform::{Demand, uncertain};
use super::esp::System;
use super::lines::{Form, Holder, edited, options};
use super::sd_boot::{self, Author};
use super::shell_files::Words;
use super::{BootChain, Edits, Evidence, Judged, MenuEntry, Persisted, Sources, Wish};
use crate::engine::Means;
use crate::host::{HostError, ReadHost};
use crate::plan::{Objection, Reason, Step};
use crate::types::KernelArg;

const FORM: Form = Form { read: options, words: Words::Kernel };

/// Entries written by hand.
#[derive(Debug, Clone, Copy)]
pub struct LoaderEntries;

/// The edits of files that each hold command lines of their own.
///
/// # Errors
/// When no edit achieves what is wished with certainty.
pub(super) fn edits_of(holders: &[Holder<'_>], wish: &Wish<'_>) -> Result<Edits, Objection> {
    let demand = Demand::of(wish);
    let mut steps: Vec<Step> = Vec::new();
    let mut given: Vec<KernelArg> = Vec::new();
    for holder in holders {
        let (after, _) = edited(holder, &demand, None)?;
        steps.extend(holder.step(after));
        let lines = holder.lines().map_err(uncertain)?;
        given.extend(lines.iter().flat_map(|line| line.args().into_iter().cloned()));
    }
    Ok(Edits { steps, ours: wish.present.iter().filter(|arg| !given.contains(arg)).cloned().collect() })
}

/// What they give.
///
/// # Errors
/// Where a boot loader could not read one.
pub(super) fn persisted_of(holders: &[Holder<'_>]) -> Result<Persisted, Vec<Reason>> {
    let mut persisted = Persisted::default();
    for holder in holders {
        persisted.lines.extend(holder.lines()?);
    }
    Ok(persisted)
}

fn holders(sources: &Sources) -> Vec<Holder<'_>> {
    sources.files.iter().filter_map(|(path, _)| Holder::of(sources, path, FORM)).collect()
}

impl BootChain for LoaderEntries {
    fn key(&self) -> &'static str {
        "loader-entries"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        sd_boot::evidence(host, Author::Hand)
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let system = System::read(host)?;
        let mut sources = Sources::default();
        for entry in sd_boot::entries(host)?.into_iter().filter(|entry| entry.exempt(&system).is_none()) {
            let state = host.file_state(&entry.path)?;
            sources.files.push((entry.path, state));
        }
        if sources.files.is_empty() {
            let reason =
                Reason::new("entries-missing", "no loader entry boots this system; is the ESP mounted?");
            let remedy = "mount the ESP, or write an entry for this system";
            return Ok(Sources::refused(vec![reason.at("/boot/loader/entries").remedy(remedy)]));
        }
        Ok(sources)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        persisted_of(&holders(sources))
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        edits_of(&holders(sources), wish)
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::Kernel.unpassable(arg)
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::NotNeeded(Reason::new("entries-edited", "the boot loader reads the entries themselves")))
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        let (system, entries) = (System::read(host)?, sd_boot::entries(host)?);
        let judged =
            |entry| super::esp::EntryFile::exempt(entry, &system).map_or(Judged::Ours, Judged::Exempt);
        Ok(Some(entries.iter().map(|entry| sd_boot::shown(entry, judged(entry))).collect()))
    }

    fn predict_regenerated(&self, _: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
