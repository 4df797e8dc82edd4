//! Guests that are only defined: a change that takes a function from under them is made, and said.
//!
//! What runs is guarded. A guest that does not run loses nothing now; it will not start any more, or it takes the function
//! from the host again. libvirt binds what it needs itself (`managed='yes'`), so that a function which goes to a guest's
//! driver conflicts with no definition.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::live;
use crate::engine::devices::Devices;
use crate::formats::domain_xml::host_functions;
use crate::host::{HostError, ReadHost};
use crate::plan::{ItemVerdict, Reason, Verdict, Warning};
use crate::types::{DriverName, PciAddress};

/// Where libvirt keeps definitions (`cfg->configDir`); a file for each domain.
const DEFINED: &str = "/etc/libvirt/qemu";

/// The code of such a warning.
pub const DEFINED_GUEST: &str = "defined-guest";

/// A warning for each defined guest that names a function which these changes take from guests. Definitions are read only
/// where there is such a change.
pub fn warn_of_guests<'a>(
    items: impl IntoIterator<Item = (&'static str, &'a ItemVerdict)>,
    devices: &Devices,
    host: &dyn ReadHost,
) -> Vec<Warning> {
    let mut taken: BTreeMap<PciAddress, (&'static str, &'static str)> = BTreeMap::new();
    for (resource, item) in items {
        let Verdict::Change(change) = &item.verdict else { continue };
        for function in change.steps.iter().filter_map(live::unbound_from) {
            if function.1.parse().is_ok_and(|driver: DriverName| driver.is_vfio()) {
                taken.insert(function.0, (resource, "this change gives back to the host"));
            }
        }
        // Of several writes the last count stays.
        if let Some((pf, count)) = change.steps.iter().filter_map(live::count_after).next_back() {
            let vfs = devices.function(pf).map(|facts| facts.vfs.clone()).unwrap_or_default();
            let gone = vfs.into_iter().skip(usize::from(count)).flatten();
            taken.extend(gone.map(|vf| (vf, (resource, "this change removes"))));
        }
    }
    if taken.is_empty() {
        return Vec::new();
    }
    definitions(host)
        .map(|definitions| {
            let named = definitions.iter().flat_map(|(guest, path, named)| {
                named
                    .iter()
                    .filter_map(|function| Some(warning(guest, path, *function, taken.get(function)?)))
            });
            named.collect()
        })
        .unwrap_or_else(|error| {
            let (resource, subject) = (Cow::Borrowed("guests"), DEFINED.to_owned());
            vec![Warning { resource, subject, reason: error.reason() }]
        })
}

/// What is said of one guest and one function.
fn warning(guest: &str, path: &str, function: PciAddress, (resource, how): &(&'static str, &str)) -> Warning {
    let text = format!("the guest {guest} is defined with {function}, which {how}");
    let remedy = format!("take its hostdev out (virsh edit {guest}), or keep {function} in the document");
    let reason = Reason::new(DEFINED_GUEST, text).at(path).remedy(remedy);
    Warning { resource: Cow::Borrowed(resource), subject: function.to_string(), reason }
}

/// A guest, its file, and the functions that it names.
type Definition = (String, String, BTreeSet<PciAddress>);

fn definitions(host: &dyn ReadHost) -> Result<Vec<Definition>, HostError> {
    let mut found = Vec::new();
    for file in host.list(Path::new(DEFINED))?.unwrap_or_default() {
        let Some(guest) = file.strip_suffix(".xml") else { continue };
        let path = Path::new(DEFINED).join(&file);
        let named = host_functions(&host.text(&path)?.unwrap_or_default()).into_iter().collect();
        found.push((guest.to_owned(), path.display().to_string(), named));
    }
    Ok(found)
}
