//! Where a soft dependency has to stand so that it counts.

use std::path::Path;

use super::natives::{Native, join};
use super::{EARLY_FILE, FILE};
use crate::formats::modprobe::{Config, Softdep};
use crate::plan::Reason;
use crate::resources::precedence::comes_behind;

/// Where the line for a native driver goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placed {
    /// Nowhere: others load vfio-pci before it already.
    Given,
    /// Into the file with the ids.
    Late(String),
    /// Into the file that is read before others.
    Early(String),
}

/// Places the soft dependency of one native driver.
///
/// # Errors
/// Why no soft dependency can help.
pub(super) fn place(native: &Native, others: &Config) -> Result<Placed, Reason> {
    let module = &native.module;
    if native.kernels.is_builtin_everywhere() {
        let text = format!("{module} is built in and is there before vfio-pci, whatever its ids");
        let remedy = "name the functions in vfio_pci.devices: their overrides keep it off";
        return Err(Reason::new("native-driver-builtin", text).remedy(remedy));
    }
    let before = |softdep: &Softdep| softdep.pre.iter().any(|name| name.replace('-', "_") == "vfio_pci");
    let mut joined =
        Softdep { module: module.to_string(), pre: vec!["vfio-pci".to_owned()], post: Vec::new() };
    let first = others.softdep(module);
    if let Some((origin, softdep)) = first {
        if before(softdep) && origin.is_persistent() {
            return Ok(Placed::Given);
        }
        if !comes_behind(origin, Path::new(EARLY_FILE).file_name()) {
            let text =
                format!("{origin} gives {module} a soft dependency that hides ours: only the first counts");
            let remedy = format!("add vfio-pci to its pre: list in {origin}");
            return Err(Reason::new("softdep-hidden", text).at(origin).remedy(remedy));
        }
        join(&mut joined, softdep);
    }
    if let Some(own) = &native.own {
        join(&mut joined, own);
    }
    let mut line = format!("softdep {module} pre: {}", joined.pre.join(" "));
    if !joined.post.is_empty() {
        line = format!("{line} post: {}", joined.post.join(" "));
    }
    let late_counts = first.is_none_or(|(origin, _)| comes_behind(origin, Path::new(FILE).file_name()));
    Ok(if late_counts && native.own.is_none() { Placed::Late(line) } else { Placed::Early(line) })
}
