//! systemd-boot with entries that kernel-install makes: from `/etc/kernel/cmdline`, anew for every kernel.

use std::path::{Path, PathBuf};

use super::conform::{Demand, uncertain};
use super::esp::{EntryFile, System};
use super::kernel_cmdline::{self, CMDLINE, FORM};
use super::lines::{Holder, edited};
use super::sd_boot::{self, Author};
use super::shell_files::Words;
use super::{BootChain, Edits, Evidence, Judged, MenuEntry, Persisted, Sources, Wish};
use crate::engine::Means;
use crate::host::{HostError, ReadHost};
use crate::plan::{Objection, Reason};
use crate::types::KernelArg;

const PROGRAM: &str = "/usr/bin/kernel-install";

/// Where `kernel-install add-all` looks for `VERSION/vmlinuz` (`kernel-install(8)`).
const MODULES: &str = "/usr/lib/modules/";

const UPDATE_INITRAMFS: &str = "/usr/sbin/update-initramfs";

/// Debian's hooks that have kernel-install make the entry of each image that update-initramfs has made.
const UPDATE_INITRAMFS_HOOKS: [&str; 2] =
    ["/etc/initramfs/post-update.d/systemd-boot", "/usr/share/initramfs/post-update.d/systemd-boot"];

/// systemd-boot through kernel-install.
#[derive(Debug, Clone, Copy)]
pub struct KernelInstall;

/// What `/etc/kernel/cmdline` alone gives.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn persisted(sources: &Sources) -> Result<Persisted, Vec<Reason>> {
    let holder = Holder::of(sources, Path::new(CMDLINE), FORM);
    Ok(Persisted { lines: holder.map_or(Ok(Vec::new()), |holder| holder.lines())? })
}

/// The edit of `/etc/kernel/cmdline` alone.
///
/// # Errors
/// When no edit achieves what is wished with certainty.
pub(super) fn edits(sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
    let Some(holder) = Holder::of(sources, Path::new(CMDLINE), FORM) else { return Ok(Edits::default()) };
    let (after, ours) = edited(&holder, &Demand::of(wish), None)?;
    holder.lines().map_err(uncertain)?;
    Ok(Edits { steps: holder.step(after).into_iter().collect(), ours })
}

/// Sources with `/etc/kernel/cmdline`, or why there are none.
///
/// # Errors
/// When the host does not answer.
pub(super) fn sources(host: &dyn ReadHost) -> Result<Sources, HostError> {
    let mut sources = Sources::default();
    if kernel_cmdline::add(host, &mut sources)? {
        return Ok(sources);
    }
    let text = "there is no /etc/kernel/cmdline, and nothing tells what the kernel needs to find its root file system";
    let reason = Reason::new("cmdline-unknown", text).at(CMDLINE);
    Ok(Sources::refused(vec![
        reason.remedy("write /etc/kernel/cmdline with root= and what else the system needs"),
    ]))
}

/// The line that goes into an entry: blanks squeezed, comments gone, the machine's id at its end where entries are named
/// by it (`90-loaderentry.install`).
fn entry_options(text: &[u8], machine_id: Option<&str>) -> Vec<u8> {
    let lines = text.split(|&byte| byte == b'\n');
    let lines = lines.filter(|line| line.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'#'));
    let words = lines.flat_map(|line| line.split(u8::is_ascii_whitespace)).filter(|word| !word.is_empty());
    let mut options = words.collect::<Vec<_>>().join(&b' ');
    let name = b"systemd.machine_id=";
    let named = options.windows(name.len()).any(|window| window == name);
    if let (Some(id), false) = (machine_id, named) {
        options.extend_from_slice(b" systemd.machine_id=");
        options.extend_from_slice(id.as_bytes());
    }
    options
}

/// The image of a kernel, where kernel-install or a distribution's hook takes it from.
fn kernel_image(host: &dyn ReadHost, version: &str) -> Result<Option<String>, HostError> {
    for image in [format!("{MODULES}{version}/vmlinuz"), format!("/boot/vmlinuz-{version}")] {
        if host.exists(Path::new(&image))? {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

/// The entries that `is_made` as they will be made anew from `/etc/kernel/cmdline`.
///
/// # Errors
/// When the host does not answer.
pub(super) fn predict(
    host: &dyn ReadHost,
    is_made: fn(&EntryFile) -> bool,
) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
    let (system, entries) = (System::read(host)?, sd_boot::entries(host)?);
    let Some(text) = host.read(Path::new(CMDLINE))? else { return Ok(Vec::new()) };
    let machine_id = system.machine_id.as_deref();
    let made = entries.iter().filter(|entry| is_made(entry) && entry.exempt(&system).is_none());
    let predicted = made.map(|entry| {
        let by_id = machine_id.filter(|id| entry.id.starts_with(&format!("{id}-")));
        sd_boot::with_options(entry, &entry_options(&text, by_id))
    });
    Ok(predicted.collect())
}

impl BootChain for KernelInstall {
    fn key(&self) -> &'static str {
        "kernel-install"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        sd_boot::evidence(host, Author::KernelInstall)
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        sources(host)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        persisted(sources)
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        edits(sources, wish)
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::Kernel.unpassable(arg)
    }

    /// `kernel-install add-all` since systemd 255, which takes the kernels that have their image beside their modules;
    /// elsewhere (Debian has it in `/boot`) one kernel at a time, and Debian's hook of update-initramfs for all of them.
    fn regenerate(&self, host: &dyn ReadHost) -> Result<Means, HostError> {
        let command =
            |words: &[&str]| Ok(Means::Command(words.iter().map(|word| (*word).to_owned()).collect()));
        let (system, entries) = (System::read(host)?, sd_boot::entries(host)?);
        let generated = sd_boot::generated(&entries, &system);
        let mut images = Vec::new();
        for version in generated.iter().filter_map(|entry| sd_boot::version(entry)) {
            images.push((version.clone(), kernel_image(host, &version)?));
        }
        let knows = |program: Vec<u8>| program.windows(7).any(|window| window == b"add-all");
        let beside =
            images.iter().all(|(_, image)| image.as_deref().is_none_or(|image| image.starts_with(MODULES)));
        if beside && host.read(Path::new(PROGRAM))?.is_none_or(knows) {
            return command(&["kernel-install", "add-all"]);
        }
        if let [(version, Some(image))] = images.as_slice() {
            return command(&["kernel-install", "add", version, image]);
        }
        let mut hooked = false;
        for hook in UPDATE_INITRAMFS_HOOKS {
            hooked |= host.exists(Path::new(hook))?;
        }
        if hooked && host.exists(Path::new(UPDATE_INITRAMFS))? {
            return command(&["update-initramfs", "-u", "-k", "all"]);
        }
        let text = "kernel-install makes one kernel's entry at a time here, and there are several";
        let known = images.iter().filter_map(|(version, image)| Some((version, image.as_ref()?)));
        let commands: Vec<String> =
            known.map(|(version, image)| format!("kernel-install add {version} {image}")).collect();
        let remedy = if commands.is_empty() {
            "run kernel-install add VERSION IMAGE for each of them".to_owned()
        } else {
            format!("run {}", commands.join("; "))
        };
        Ok(Means::Unknown(Reason::new("kernel-install-singly", text).remedy(remedy)))
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        let (system, entries) = (System::read(host)?, sd_boot::entries(host)?);
        let judged = |entry| match EntryFile::exempt(entry, &system) {
            Some(why) => Judged::Exempt(why),
            None if sd_boot::is_made_by_kernel_install(entry) => Judged::Ours,
            None => Judged::Exempt("it was not made by kernel-install but by hand"),
        };
        Ok(Some(entries.iter().map(|entry| sd_boot::shown(entry, judged(entry))).collect()))
    }

    fn predict_regenerated(&self, host: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        predict(host, sd_boot::is_made_by_kernel_install)
    }
}

#[cfg(test)]
mod tests;
