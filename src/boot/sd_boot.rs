//! What the chains have in common that boot from loader entries of type 1 without GRUB: which of them a host has.

use std::path::{Path, PathBuf};

use super::detect::{Evidence, Weight, loader_info, stub_info};
use super::esp::{EntryFile, ROOTS, System, directories, entries_in};
use super::grub::{self, Variant};
use super::{Judged, MenuEntry};
use crate::formats::cmdline;
use crate::host::{HostError, ReadHost};
use crate::types::KernelArg;

/// Who writes the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// kernel-install.
    KernelInstall,
    /// An administrator, or an installer that is gone.
    Hand,
}

/// Whether kernel-install made the entry.
pub(super) fn is_made_by_kernel_install(entry: &EntryFile) -> bool {
    version(entry).is_some()
}

/// The kernel's version in the names that kernel-install gives: `TOKEN-VERSION` to the entry and `/TOKEN/VERSION/linux` to
/// its kernel (`90-loaderentry.install`).
pub(super) fn version(entry: &EntryFile) -> Option<String> {
    let kernel = entry.kernel()?;
    let parts: Vec<&str> = kernel.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [.., token, version, _] if entry.id == format!("{token}-{version}") => Some((*version).to_owned()),
        _ => None,
    }
}

/// Every entry of every directory.
///
/// # Errors
/// When the host does not answer.
pub(super) fn entries(host: &dyn ReadHost) -> Result<Vec<EntryFile>, HostError> {
    let mut entries = Vec::new();
    for directory in directories(host)? {
        entries.extend(entries_in(host, &directory)?);
    }
    Ok(entries)
}

/// What on the host speaks for entries by this author that systemd-boot, or another loader that is not GRUB, boots.
///
/// # Errors
/// When the host does not answer.
pub(super) fn evidence(host: &dyn ReadHost, author: Author) -> Result<Vec<Evidence>, HostError> {
    let mut found = Vec::new();
    let info = loader_info(host)?.filter(|info| info.tells.starts_with("systemd-boot"));
    if info.is_none() && !grub::evidence(host, Variant::LoaderEntries)?.is_empty() {
        return Ok(found);
    }
    let system = System::read(host)?;
    let entries = entries(host)?;
    if entries.is_empty() && info.is_none() {
        return Ok(found);
    }
    let ours: Vec<&EntryFile> = entries.iter().filter(|entry| entry.exempt(&system).is_none()).collect();
    let made = ours.iter().any(|entry| is_made_by_kernel_install(entry));
    let fits = match author {
        Author::KernelInstall => made,
        Author::Hand => !made,
    };
    if !fits {
        return Ok(found);
    }
    for directory in directories(host)? {
        let tells = match author {
            Author::KernelInstall => "holds boot loader specification entries, made by kernel-install",
            Author::Hand => "holds boot loader specification entries",
        };
        found.push(Evidence::new(directory.display().to_string(), tells));
    }
    for root in ROOTS {
        let path = Path::new(root).join("EFI/systemd");
        let names = host.list(&path)?.unwrap_or_default();
        if let Some(name) =
            names.iter().find(|name| name.starts_with("systemd-boot") && name.ends_with(".efi"))
        {
            found.push(Evidence::new(path.join(name).display().to_string(), "is systemd-boot"));
        }
    }
    // A unified kernel image may have been started by the loader: then no entry was.
    let by_entry = stub_info(host)?.is_none();
    found.extend(info.map(|info| if by_entry { info } else { info.weighing(Weight::Installed) }));
    Ok(found)
}

/// The entry as a menu shows it.
pub(super) fn shown(entry: &EntryFile, judged: Judged) -> MenuEntry {
    let options = entry.options();
    let args = cmdline::CommandLine::parse(&options).args().cloned().collect::<Vec<KernelArg>>();
    MenuEntry {
        title: entry.title(),
        kernel: entry.kernel().unwrap_or_default(),
        at: entry.place(),
        args,
        judged,
    }
}

/// The versions that kernel-install has entries of, each with its file.
pub(super) fn generated<'a>(entries: &'a [EntryFile], system: &System) -> Vec<&'a EntryFile> {
    entries
        .iter()
        .filter(|entry| is_made_by_kernel_install(entry) && entry.exempt(system).is_none())
        .collect()
}

/// A loader entry with other options; the field's key and the blanks after it stay.
pub(super) fn with_options(entry: &EntryFile, options: &[u8]) -> (PathBuf, Vec<u8>) {
    let fields = crate::formats::loader_entry::fields(&entry.text);
    let field = fields.iter().find(|field| field.key == "options");
    let mut text = Vec::new();
    if let Some(field) = field {
        text.extend_from_slice(entry.text.get(..field.value.start).unwrap_or_default());
        text.extend_from_slice(options);
        text.extend_from_slice(entry.text.get(field.value.end..).unwrap_or_default());
    }
    (entry.path.clone(), text)
}
