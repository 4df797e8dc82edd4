//! Proxmox VE: proxmox-boot-tool copies kernels to ESPs that are normally not mounted, and writes their menus.
//!
//! An ESP is systemd-boot's or GRUB's, and a host can have both: the first line of `/etc/kernel/cmdline` is what the former
//! get, `/etc/default/grub` and its drop-ins what the latter get (`zz-proxmox-boot`). So both are edited.

use std::path::{Path, PathBuf};

use super::conform::Demand;
use super::esp::System;
use super::kernel_cmdline::CMDLINE;
use super::lines::{Form, Holder, edited, first_line};
use super::shell_files::{self, Effective, Files, Layout, Words};
use super::{BootChain, Edits, Evidence, Judged, MenuEntry, Persisted, Sources, Weight, Wish, grub, sd_boot};
use crate::engine::Means;
use crate::formats::cmdline;
use crate::host::{HostError, ReadHost};
use crate::plan::{FileState, Objection, Reason};
use crate::types::KernelArg;

const UUIDS: &str = "/etc/kernel/proxmox-boot-uuids";

const FORM: Form = Form { read: first_line, words: Words::Kernel };

/// Debian's files; arguments are added where the value stands, as in `/etc/kernel/cmdline`.
static LAYOUT: Layout = Layout {
    defaults: grub::DEFAULTS,
    drop_ins: &[grub::DROP_INS],
    own: None,
    variables: &[grub::LINUX, grub::LINUX_DEFAULT],
    extends: &[grub::LINUX_DEFAULT],
    words: Words::Grub,
    unknown: grub::UNKNOWN,
    fixed: grub::FIXED,
};

/// proxmox-boot-tool.
#[derive(Debug, Clone, Copy)]
pub struct Proxmox;

fn shell(sources: &Sources) -> Option<Files> {
    let there = sources.files.iter().any(|(path, _)| path == Path::new(grub::DEFAULTS));
    there.then(|| Files::of(&LAYOUT, sources))
}

impl BootChain for Proxmox {
    fn key(&self) -> &'static str {
        "proxmox-boot-tool"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        let listed = host.text(Path::new(UUIDS))?.is_some_and(|text| !text.trim().is_empty());
        let evidence = Evidence::new(UUIDS, "lists the ESPs that it writes to").weighing(Weight::InCharge);
        Ok(listed.then_some(evidence).into_iter().collect())
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let mut sources = Sources::default();
        let state = host.file_state(Path::new(CMDLINE))?;
        if let Some(text) = state.bytes() {
            let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            if !cmdline::tokens(line).iter().any(|token| token.arg.is_named("root")) {
                let text = "the first line of /etc/kernel/cmdline has no root=, and proxmox-boot-tool refuses such a one";
                let reason = Reason::new("cmdline-without-root", text).at(format!("{CMDLINE}:1"));
                return Ok(Sources::refused(vec![
                    reason.remedy("write the whole command line on the first line"),
                ]));
            }
        }
        if state != FileState::Absent {
            sources.files.push((PathBuf::from(CMDLINE), state));
        }
        sources.files.extend(LAYOUT.sources(host)?.files);
        if sources.files.is_empty() {
            let reason =
                Reason::new("cmdline-unknown", "there is neither /etc/kernel/cmdline nor /etc/default/grub");
            return Ok(Sources::refused(vec![reason.at(CMDLINE).remedy("write /etc/kernel/cmdline")]));
        }
        Ok(sources)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        let mut persisted = Persisted::default();
        if let Some(holder) = Holder::of(sources, Path::new(CMDLINE), FORM) {
            persisted.lines.extend(holder.lines()?);
        }
        if let Some(files) = shell(sources) {
            persisted.lines.push(Effective::of(&files)?.line(grub::DEFAULTS));
        }
        Ok(persisted)
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        let given = self.persisted(sources).map_err(super::conform::uncertain)?;
        let mut steps = Vec::new();
        if let Some(holder) = Holder::of(sources, Path::new(CMDLINE), FORM) {
            steps.extend(holder.step(edited(&holder, &Demand::of(wish), None)?.0));
        }
        if shell(sources).is_some() {
            steps.extend(shell_files::edits(&LAYOUT, sources, wish)?.steps);
        }
        let new = |arg: &&KernelArg| !given.lines.iter().any(|line| line.args().contains(arg));
        Ok(Edits { steps, ours: wish.present.iter().filter(new).cloned().collect() })
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::Grub.unpassable(arg).or_else(|| Words::Kernel.unpassable(arg))
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::Command(vec!["proxmox-boot-tool".to_owned(), "refresh".to_owned()]))
    }

    /// Where an ESP is mounted; normally none is, and what its entries pass cannot be told.
    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        let (system, entries) = (System::read(host)?, sd_boot::entries(host)?);
        let ours = entries.iter().filter(|entry| entry.id.starts_with("proxmox-"));
        let shown: Vec<MenuEntry> = ours
            .map(|entry| sd_boot::shown(entry, entry.exempt(&system).map_or(Judged::Ours, Judged::Exempt)))
            .collect();
        Ok((!shown.is_empty()).then_some(shown))
    }

    fn predict_regenerated(&self, host: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        let Some(text) = host.read(Path::new(CMDLINE))? else { return Ok(Vec::new()) };
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let (system, entries) = (System::read(host)?, sd_boot::entries(host)?);
        let ours = entries
            .iter()
            .filter(|entry| entry.id.starts_with("proxmox-") && entry.exempt(&system).is_none());
        Ok(ours.map(|entry| sd_boot::with_options(entry, line)).collect())
    }
}

#[cfg(test)]
mod tests;
