//! Debian's GRUB: `/etc/default/grub`, then `/etc/default/grub.d/*.cfg`, sourced by grub-mkconfig, whose
//! `10_linux` writes both command-line variables into every entry of `grub.cfg`.

mod edits;
mod effective;
mod entries;

use std::path::{Path, PathBuf};

use super::{BootChain, Edits, Evidence, MenuEntry, Persisted, Sources, Wish};
use crate::formats::grub_script;
use crate::host::{HostError, ReadHost};
use crate::plan::{FileState, Objection, Reason};
use crate::types::KernelArg;

/// Sourced first.
const DEFAULTS: &str = "/etc/default/grub";
/// Its `*.cfg` are sourced next.
const DROP_INS: &str = "/etc/default/grub.d";
/// Ours; sorts after what distributions and cloud images ship.
pub const OWN_DROP_IN: &str = "/etc/default/grub.d/zz-reconcile.cfg";
/// What `update-grub` writes.
const MENU: &str = "/boot/grub/grub.cfg";

/// Debian's GRUB.
#[derive(Debug, Clone, Copy)]
pub struct GrubD;

impl BootChain for GrubD {
    fn key(&self) -> &'static str {
        "grub"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        let mut evidence = Vec::new();
        for (path, tells) in [
            (DEFAULTS, "configures grub-mkconfig"),
            (DROP_INS, "holds drop-ins, which only Debian's grub-mkconfig reads"),
        ] {
            if host.exists(Path::new(path))? {
                evidence.push(Evidence::new(path, tells));
            }
        }
        if evidence.is_empty() {
            return Ok(evidence);
        }
        let script = "/usr/sbin/grub-mkconfig";
        if host.text(Path::new(script))?.is_some_and(|script| script.contains("default/grub.d")) {
            evidence.push(Evidence::new(script, "reads /etc/default/grub.d"));
        }
        if host.exists(Path::new(MENU))? {
            evidence.push(Evidence::new(MENU, "is GRUB's menu"));
        }
        Ok(evidence)
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let mut sources = Sources::default();
        let own = Path::new(OWN_DROP_IN);
        let defaults = PathBuf::from(DEFAULTS);
        // grub-mkconfig tests `-f`, and `-e` for drop-ins: links count if they lead somewhere.
        if host.read(&defaults)?.is_some() {
            let state = host.file_state(&defaults)?;
            sources.files.push((defaults, state));
        }
        let mut names = host.list(Path::new(DROP_INS))?.unwrap_or_default();
        names.retain(|name| name.ends_with(".cfg") && !name.starts_with('.'));
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            let path = Path::new(DROP_INS).join(name);
            let state = host.file_state(&path)?;
            if path == own {
                sources.own = Some((path.clone(), state.clone()));
            }
            if state != FileState::Absent {
                sources.files.push((path, state));
            }
        }
        sources.own.get_or_insert_with(|| (own.to_owned(), FileState::Absent));
        Ok(sources)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        effective::Effective::told(&effective::Files::of(sources)).map(|effective| effective.persisted())
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        edits::edits(sources, wish)
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        let error = grub_script::quote(arg).err()?;
        Some(
            Reason::new("argument-unpassable", error.to_string())
                .remedy("choose a value without quotes and backslashes"),
        )
    }

    fn regenerate(&self) -> Vec<String> {
        vec!["update-grub".to_owned()]
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        let Some(text) = host.read(Path::new(MENU))? else { return Ok(None) };
        Ok(Some(entries::entries(MENU, &text)))
    }

    fn predict_regenerated(&self, host: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        let Some(text) = host.read(Path::new(MENU))? else { return Ok(Vec::new()) };
        let sources = self.sources(host)?;
        let files = effective::Files::of(&sources);
        let Ok(effective) = effective::Effective::of(&files) else { return Ok(Vec::new()) };
        let predicted = entries::regenerated(&text, effective.linux(), effective.linux_default());
        Ok(vec![(PathBuf::from(MENU), predicted)])
    }
}

#[cfg(test)]
mod tests;
