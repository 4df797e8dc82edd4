//! Which image belongs to which installed kernel, and what it holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Image, mkinitcpio};
use crate::host::kernels::{Kernels, index};
use crate::host::{HostError, ReadHost};
use crate::plan::Reason;

/// The image of an installed kernel.
#[derive(Debug, Clone)]
pub struct Found {
    /// The kernel's release.
    pub release: String,
    /// Where the image lies.
    pub path: PathBuf,
    /// What it holds, or why that cannot be told.
    pub content: Result<Rc<Image>, Reason>,
}

/// The images of the installed kernels. A kernel has none, one, or several: on a host with kernel-install one more lies
/// beside its loader entry.
///
/// # Errors
/// When a directory cannot be read; an image that cannot be read is a fact.
pub fn found(host: &dyn ReadHost, kernels: &Kernels) -> Result<Vec<Found>, HostError> {
    let mut images = Vec::new();
    let mut seen = BTreeSet::new();
    let tops = kernel_install_directories(host)?;
    for kernel in &kernels.installed {
        for path in candidates(host, &kernel.release, &tops)? {
            if !host.exists(&path)? || !seen.insert(path.clone()) {
                continue;
            }
            let content = match host.image(&path) {
                Ok(Some(image)) => Ok(image),
                Ok(None) => continue,
                Err(error) => Err(unreadable(&error)),
            };
            images.push(Found { release: kernel.release.clone(), path, content });
        }
    }
    Ok(images)
}

fn unreadable(error: &HostError) -> Reason {
    let text =
        format!("{}; what it holds is taken from its generator's configuration", crate::report::chain(error));
    let remedy = error.remedy().unwrap_or("rebuild it, or remove it if its kernel is not used");
    Reason::new("image-unreadable", text).remedy(remedy)
}

/// Where a kernel's image may lie. The names are those of initramfs-tools and Debian's dracut (`initrd.img-`), dracut
/// elsewhere (`initramfs-R.img`, SUSE's `initrd-`), mkinitcpio and booster on Arch (by the package that `pkgbase` names),
/// those in mkinitcpio's presets (unified kernel images too) and kernel-install.
fn candidates(host: &dyn ReadHost, release: &str, tops: &[PathBuf]) -> Result<Vec<PathBuf>, HostError> {
    let boot = Path::new("/boot");
    let mut paths: Vec<PathBuf> = ["initrd.img-R", "initramfs-R.img", "initrd-R", "booster-R.img"]
        .map(|name| boot.join(name.replace('R', release)))
        .to_vec();
    let package = host.text(&index(release, "pkgbase"))?;
    let package = package.as_deref().map(str::trim);
    if let Some(package) = package {
        let names = ["initramfs-P.img", "initramfs-P-fallback.img", "booster-P.img"];
        paths.extend(names.map(|name| boot.join(name.replace('P', package))));
    }
    paths.extend(mkinitcpio::images(host, release, package)?);
    for top in tops {
        let names =
            ["initrd".to_owned(), format!("initrd.img-{release}"), format!("initramfs-{release}.img")];
        paths.extend(names.into_iter().map(|name| top.join(release).join(name)));
    }
    Ok(paths)
}

/// The directories of kernel-install's layout `bls`, with a directory for each kernel in them: on the boot partition, by
/// the entry token (`kernel-install(8)`).
fn kernel_install_directories(host: &dyn ReadHost) -> Result<Vec<PathBuf>, HostError> {
    let mut tokens: BTreeSet<String> = BTreeSet::new();
    for file in ["/etc/kernel/entry-token", "/etc/machine-id"] {
        tokens.extend(host.text(Path::new(file))?.map(|token| token.trim().to_owned()));
    }
    let release = host.text(Path::new("/etc/os-release"))?.unwrap_or_default();
    let ids = release.lines().filter_map(|line| line.strip_prefix("ID="));
    tokens.extend(ids.map(|id| id.trim_matches(['"', '\'']).to_owned()));
    let mut found = Vec::new();
    for partition in ["/efi", "/boot/efi", "/boot"].map(Path::new) {
        for token in tokens.iter().filter(|token| !token.is_empty() && !token.contains('/')) {
            let top = partition.join(token);
            if host.exists(&top)? {
                found.push(top);
            }
        }
    }
    Ok(found)
}
