//! GRUB of distributions whose grub-mkconfig reads `/etc/default/grub` alone (Arch, Gentoo, openEuler, and others): one value in
//! it is edited in place.

use std::path::PathBuf;

use super::grub::{self, MenuProgram, Variant};
use super::shell_files::{self, Effective, Files, Layout, Words};
use super::{BootChain, Edits, Evidence, MenuEntry, Persisted, Sources, Wish};
use crate::engine::Means;
use crate::host::{HostError, ReadHost};
use crate::plan::{Objection, Reason};
use crate::types::KernelArg;

/// `GRUB_CMDLINE_LINUX_DEFAULT` is what recovery entries do not get; openEuler sets `GRUB_CMDLINE_LINUX` only.
pub(super) static LAYOUT: Layout = Layout {
    defaults: grub::DEFAULTS,
    drop_ins: &[],
    own: None,
    variables: &[grub::LINUX, grub::LINUX_DEFAULT],
    extends: &[grub::LINUX_DEFAULT, grub::LINUX],
    words: Words::Grub,
    unknown: grub::UNKNOWN,
    fixed: grub::FIXED,
};

/// GRUB without drop-ins.
#[derive(Debug, Clone, Copy)]
pub struct GrubInPlace;

impl BootChain for GrubInPlace {
    fn key(&self) -> &'static str {
        "grub-in-place"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        grub::evidence(host, Variant::OneFile)
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        match MenuProgram::find(host)? {
            Ok(_) => LAYOUT.sources(host),
            Err(reason) => Ok(Sources::refused(vec![reason])),
        }
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        let effective = Effective::of(&Files::of(&LAYOUT, sources))?;
        Ok(Persisted { lines: vec![effective.line(grub::DEFAULTS)] })
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        shell_files::edits(&LAYOUT, sources, wish)
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::Grub.unpassable(arg)
    }

    fn regenerate(&self, host: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(match MenuProgram::find(host)? {
            Ok(MenuProgram { name, menu }) => Means::Command(vec![name.to_owned(), "-o".to_owned(), menu]),
            Err(reason) => Means::Unknown(reason),
        })
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        match MenuProgram::find(host)? {
            Ok(program) => grub::entries(host, &program.menu),
            Err(_) => Ok(None),
        }
    }

    fn predict_regenerated(&self, host: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        match MenuProgram::find(host)? {
            Ok(program) => grub::predict(host, &program.menu, &LAYOUT),
            Err(_) => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests;
