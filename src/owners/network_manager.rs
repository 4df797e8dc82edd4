//! NetworkManager: connections with an `[sriov]` section.
//!
//! Where the section is, the count is set when the connection is activated, 0 as well, and goes back to 0 when it is
//! deactivated unless `preserve-on-down` says otherwise (nm-settings(5)).

use super::matching::{Fits, Subject, drop_ins, glob};
use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::formats::ini;
use crate::host::{HostError, ReadHost};

/// Where keyfiles are, first wins.
const DIRECTORIES: [&str; 3] = [
    "/etc/NetworkManager/system-connections",
    "/run/NetworkManager/system-connections",
    "/usr/lib/NetworkManager/system-connections",
];

#[derive(Debug)]
pub(super) struct NetworkManager;

impl Owner for NetworkManager {
    fn name(&self) -> &'static str {
        "NetworkManager"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        !wanted.counts.is_empty()
    }

    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError> {
        let mut found = Found::default();
        for (path, text) in drop_ins(host, &DIRECTORIES, "")? {
            let Some(profile) = Profile::parse(&text) else { continue };
            for pf in wanted.counts.keys() {
                let fits = profile.fits(&Subject::read(host, wanted, *pf)?);
                if fits != Fits::No {
                    let (pf, name) = (*pf, &profile.name);
                    let sets = fits == Fits::Yes && profile.autoconnects;
                    let count = profile.count;
                    let perhaps = if fits == Fits::Yes { "" } else { " perhaps" };
                    let when = if profile.autoconnects { "" } else { ", once it is activated by hand," };
                    found.holdings.push(Holding {
                        setting: Setting::VfCount(pf, Some(count)),
                        force: if sets { Force::Sets } else { Force::Weak },
                        text: format!("NetworkManager's connection {name}{when}{perhaps} gives {pf} the VF count {count}"),
                        at: format!("{path}:{}", profile.line),
                        wins: "NetworkManager activates it after reconcile.service and sets its count then, 0 when it goes down: \
                               NetworkManager wins",
                        remedy: format!("nmcli connection modify \"{name}\" remove sriov"),
                    });
                }
            }
        }
        Ok(found)
    }
}

/// What a keyfile says of VFs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Profile {
    name: String,
    count: u16,
    line: usize,
    autoconnects: bool,
    /// Conditions on the device: key and value.
    conditions: Vec<(String, String)>,
}

impl Profile {
    /// `None` without an `[sriov]` section. Without a count that is 0.
    fn parse(text: &str) -> Option<Self> {
        let entries = ini::entries(text);
        let sriov = entries.iter().find(|entry| entry.section == "sriov")?;
        let value = |section: &str, key: &str| {
            entries.iter().find(|entry| entry.section == section && entry.key == key)
        };
        let count = value("sriov", "total-vfs");
        let conditions = entries.iter().filter_map(|entry| {
            let key = match (entry.section.as_str(), entry.key.as_str()) {
                ("connection" | "match", "interface-name") => "name",
                ("ethernet" | "802-3-ethernet", "mac-address") => "mac",
                ("match", "path") => "path",
                ("match", "driver") => "driver",
                ("match", other) => other,
                _ => return None,
            };
            Some((key.to_owned(), entry.value.clone()))
        });
        Some(Self {
            name: value("connection", "id")
                .or_else(|| value("connection", "uuid"))
                .map(|entry| entry.value.clone())
                .unwrap_or_default(),
            count: count.and_then(|entry| entry.value.parse().ok()).unwrap_or(0),
            line: count.unwrap_or(sriov).line,
            autoconnects: value("connection", "autoconnect").is_none_or(|entry| entry.value != "false"),
            conditions: conditions.collect(),
        })
    }

    /// Without a condition it may go to any device.
    fn fits(&self, subject: &Subject) -> Fits {
        let fit = |(key, value): &(String, String)| {
            let patterns = value.replace([';', ','], " ");
            Subject::one_of(&patterns, |pattern| match key.as_str() {
                "name" => subject.named(|name| glob(pattern, name)),
                "mac" => subject.has_mac(pattern),
                "path" => glob(pattern, &subject.path()).into(),
                "driver" => subject.driven(|driver| glob(pattern, driver)),
                _ => Fits::Perhaps,
            })
        };
        self.conditions.iter().map(fit).reduce(|one, other| one & other).unwrap_or(Fits::Perhaps)
    }
}
