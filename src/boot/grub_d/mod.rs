//! Debian's GRUB: `/etc/default/grub`, then `/etc/default/grub.d/*.cfg`, sourced by grub-mkconfig, whose
//! `10_linux` writes both command-line variables into every entry of `grub.cfg`.

use std::path::PathBuf;

use super::grub::{self, Variant};
use super::shell_files::{self, Effective, Files, Layout, Words};
use super::{BootChain, Edits, Evidence, MenuEntry, Persisted, Sources, Wish};
use crate::engine::Means;
use crate::host::{HostError, ReadHost};
use crate::plan::{Objection, Reason};
use crate::types::KernelArg;

/// Ours; sorts after what distributions and cloud images ship.
pub const OWN_DROP_IN: &str = "/etc/default/grub.d/zz-reconcile.cfg";
/// What `update-grub` writes.
const MENU: &str = "/boot/grub/grub.cfg";

static LAYOUT: Layout = Layout {
    defaults: grub::DEFAULTS,
    drop_ins: &[grub::DROP_INS],
    own: Some(OWN_DROP_IN),
    variables: &[grub::LINUX, grub::LINUX_DEFAULT],
    extends: &[grub::LINUX_DEFAULT],
    words: Words::Grub,
    unknown: grub::UNKNOWN,
    fixed: grub::FIXED,
};

/// Debian's GRUB.
#[derive(Debug, Clone, Copy)]
pub struct GrubD;

impl BootChain for GrubD {
    fn key(&self) -> &'static str {
        "grub"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        grub::evidence(host, Variant::DropIns)
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        LAYOUT.sources(host)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        let effective = Effective::told(&Files::of(&LAYOUT, sources))?;
        Ok(Persisted { lines: vec![effective.line(grub::DEFAULTS)] })
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        shell_files::edits(&LAYOUT, sources, wish)
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::Grub.unpassable(arg)
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::Command(vec!["update-grub".to_owned()]))
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        grub::entries(host, MENU)
    }

    fn predict_regenerated(&self, host: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        grub::predict(host, MENU, &LAYOUT)
    }
}

#[cfg(test)]
mod tests;
