//! What the GRUB chains have in common: which of them a host has, where its menu is, which program writes it.

pub(super) mod menu;

use std::path::{Path, PathBuf};

use super::detect::{Evidence, loader_info};
use super::shell_files::DropIns;
use crate::host::{HostError, ReadHost};
use crate::plan::Reason;

/// Sourced first by grub-mkconfig.
pub(super) const DEFAULTS: &str = "/etc/default/grub";
/// Where Debian's grub-mkconfig looks for more.
pub(super) const DROP_INS: DropIns = DropIns { directory: "/etc/default/grub.d", suffix: ".cfg" };
/// Loader entries that `blscfg` reads.
pub(super) const ENTRIES: &str = "/boot/loader/entries";
pub(super) const LINUX: &str = "GRUB_CMDLINE_LINUX";
pub(super) const LINUX_DEFAULT: &str = "GRUB_CMDLINE_LINUX_DEFAULT";

/// Variables that grub-mkconfig or its environment has set before it sources the files, with values that a file
/// cannot know (grub-mkconfig of GRUB 2.06 and 2.12; sh(1)).
pub(super) const UNKNOWN: &[&str] = &[
    "GRUB_DEVICE",
    "GRUB_DEVICE_UUID",
    "GRUB_DEVICE_PARTUUID",
    "GRUB_DEVICE_BOOT",
    "GRUB_DEVICE_BOOT_UUID",
    "GRUB_DISABLE_OS_PROBER",
    "GRUB_EARLY_INITRD_LINUX_STOCK",
    "GRUB_FS",
    "EUID",
    "HOME",
    "IFS",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "OLDPWD",
    "OPTIND",
    "PACKAGE_NAME",
    "PACKAGE_VERSION",
    "PATH",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "SHELL",
    "TERM",
    "TEXTDOMAIN",
    "TEXTDOMAINDIR",
    "USER",
    "bindir",
    "datadir",
    "datarootdir",
    "exec_prefix",
    "grub_cfg",
    "grub_editenv",
    "grub_file",
    "grub_mkconfig_dir",
    "grub_mkrelpath",
    "grub_probe",
    "grub_script_check",
    "grub_tab",
    "host_os",
    "option",
    "pkgdatadir",
    "prefix",
    "sbindir",
    "self",
    "sysconfdir",
    "x",
];

/// Variables by which grub-mkconfig finds the drop-ins and `10_linux`.
pub(super) const FIXED: &[&str] = &["IFS", "grub_mkconfig_dir", "sysconfdir"];

/// The ways in which GRUB gets its menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// From grub-mkconfig, which reads drop-ins.
    DropIns,
    /// From grub-mkconfig, which reads `/etc/default/grub` alone.
    OneFile,
    /// From loader entries, by its `blscfg` command.
    LoaderEntries,
}

const SCRIPTS: [&str; 4] = [
    "/usr/sbin/grub-mkconfig",
    "/usr/bin/grub-mkconfig",
    "/usr/sbin/grub2-mkconfig",
    "/usr/bin/grub2-mkconfig",
];

/// What on the host speaks for this variant.
///
/// # Errors
/// When the host does not answer.
pub(super) fn evidence(host: &dyn ReadHost, variant: Variant) -> Result<Vec<Evidence>, HostError> {
    let mut signs = Signs::read(host)?;
    let mut found: Vec<Evidence> = Vec::new();
    let configured = signs.defaults.is_some() || signs.drop_ins;
    if !configured && signs.menus.is_empty() {
        return Ok(found);
    }
    match variant {
        Variant::DropIns => {
            if let Some(script) = signs.script.take_if(|script| script.reads_drop_ins) {
                found.push(Evidence::new(script.path, "reads /etc/default/grub.d"));
            } else if signs.script.is_none() && signs.drop_ins {
                found.push(Evidence::new(
                    DROP_INS.directory,
                    "holds drop-ins, which only Debian's grub-mkconfig reads",
                ));
            } else if signs.script.is_none() && configured && signs.other_system.is_none() {
                found.push(Evidence::new(DEFAULTS, "configures grub-mkconfig"));
            }
            if !found.is_empty() {
                found.extend(
                    signs
                        .menus
                        .iter()
                        .filter(|menu| menu.path.starts_with("/boot/grub/"))
                        .map(Menu::evidence),
                );
            }
        }
        Variant::OneFile | Variant::LoaderEntries => {
            let by_entries = variant == Variant::LoaderEntries;
            let mut one_file = Vec::new();
            if let Some(script) = signs.script.take_if(|script| !script.reads_drop_ins) {
                one_file.push(Evidence::new(script.path, "does not read /etc/default/grub.d"));
            } else if let (None, false, Some(system)) =
                (&signs.script, signs.drop_ins, signs.other_system.take())
            {
                one_file.push(system);
            }
            let elsewhere =
                signs.menus.iter().filter(|menu| menu.runs_blscfg || !menu.path.starts_with("/boot/grub/"));
            one_file.extend(elsewhere.map(Menu::evidence));
            if one_file.is_empty() {
                return Ok(found);
            }
            let says = |blscfg: bool| match signs.blscfg {
                Some(value) if value == blscfg => {
                    Some(Evidence::new(DEFAULTS, format!("sets GRUB_ENABLE_BLSCFG={value}")))
                }
                _ => None,
            };
            let menus = |blscfg: bool| signs.menus.iter().filter(move |menu| menu.runs_blscfg == blscfg);
            // The setting decides what the next menu is, the menu what the next boot is: they have to agree.
            let for_entries = menus(true).next().is_some()
                || signs.blscfg == Some(true) && (signs.entries || signs.menus.is_empty());
            let for_menu = menus(false).next().is_some() || signs.blscfg == Some(false) || !for_entries;
            if by_entries && for_entries {
                found.extend(menus(true).map(Menu::evidence));
                found.extend(says(true));
                if signs.entries {
                    found.push(Evidence::new(ENTRIES, "holds boot loader specification entries"));
                }
            } else if !by_entries && for_menu {
                found.extend(
                    one_file.into_iter().filter(|one| !menus(true).any(|menu| one.path == menu.path)),
                );
                found.extend(says(false));
            }
        }
    }
    if !found.is_empty() {
        if signs.defaults.is_some() && !found.iter().any(|found| found.path == DEFAULTS) {
            found.insert(0, Evidence::new(DEFAULTS, "configures grub-mkconfig"));
        }
        if let Some(info) = loader_info(host)?.filter(|info| info.tells.starts_with("GRUB")) {
            found.push(info);
        }
    }
    Ok(found)
}

struct Script {
    path: &'static str,
    reads_drop_ins: bool,
}

struct Signs {
    defaults: Option<String>,
    /// `GRUB_ENABLE_BLSCFG`, where it is set.
    blscfg: Option<bool>,
    drop_ins: bool,
    script: Option<Script>,
    menus: Vec<Menu>,
    entries: bool,
    /// A distribution whose GRUB reads no drop-ins.
    other_system: Option<Evidence>,
}

impl Signs {
    fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let defaults = host.text(Path::new(DEFAULTS))?;
        let blscfg = defaults.as_deref().and_then(|text| {
            let value =
                text.lines().filter_map(|line| line.trim().strip_prefix("GRUB_ENABLE_BLSCFG=")).next_back();
            value.map(|value| value.trim_matches(['"', '\'', ' ']) == "true")
        });
        Ok(Self {
            blscfg,
            drop_ins: host.exists(Path::new(DROP_INS.directory))?,
            script: script(host)?,
            menus: menus(host)?,
            entries: has_entries(host)?,
            other_system: if defaults.is_some() { other_system(host)? } else { None },
            defaults,
        })
    }
}

fn script(host: &dyn ReadHost) -> Result<Option<Script>, HostError> {
    for path in SCRIPTS {
        if let Some(text) = host.text(Path::new(path))? {
            return Ok(Some(Script { path, reads_drop_ins: text.contains("default/grub.d") }));
        }
    }
    Ok(None)
}

fn has_entries(host: &dyn ReadHost) -> Result<bool, HostError> {
    let names = host.list(Path::new(ENTRIES))?.unwrap_or_default();
    Ok(names.iter().any(|name| name.ends_with(".conf")))
}

/// A tree may lack the script; then its distribution tells.
fn other_system(host: &dyn ReadHost) -> Result<Option<Evidence>, HostError> {
    let release = host.text(Path::new("/etc/os-release"))?.unwrap_or_default();
    let like = |line: &&str| line.starts_with("ID=") || line.starts_with("ID_LIKE=");
    let ids: Vec<&str> = release.lines().filter(like).collect();
    let debian = ids.is_empty() || ids.iter().any(|line| line.contains("debian") || line.contains("ubuntu"));
    let tells = format!("says {}, whose GRUB reads no /etc/default/grub.d", ids.join(" "));
    Ok((!debian).then(|| Evidence::new("/etc/os-release", tells)))
}

/// A `grub.cfg` that is a menu, not a stub that leads to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Menu {
    pub(super) path: String,
    runs_blscfg: bool,
}

impl Menu {
    fn evidence(&self) -> Evidence {
        Evidence::new(&self.path, if self.runs_blscfg { "runs blscfg" } else { "is GRUB's menu" })
    }

    fn is_on_esp(&self) -> bool {
        self.path.contains("/EFI/")
    }
}

/// Every menu: in `/boot`, and on the ESP where distributions put it there (RHEL 8, openEuler).
fn menus(host: &dyn ReadHost) -> Result<Vec<Menu>, HostError> {
    let mut paths = vec!["/boot/grub/grub.cfg".to_owned(), "/boot/grub2/grub.cfg".to_owned()];
    for vendors in ["/boot/efi/EFI", "/efi/EFI", "/boot/EFI"] {
        let names = host.list(Path::new(vendors))?.unwrap_or_default();
        paths.extend(names.iter().map(|name| format!("{vendors}/{name}/grub.cfg")));
    }
    let mut menus = Vec::new();
    for path in paths {
        let Some(text) = host.text(Path::new(&path))? else { continue };
        let first = |line: &str, word: &str| line.split_whitespace().next() == Some(word);
        let runs_blscfg = text.lines().any(|line| first(line, "blscfg"));
        let has_entries =
            text.contains("### BEGIN /etc/grub.d/") || text.lines().any(|line| first(line, "menuentry"));
        // A stub of some lines finds the file system and goes on with `configfile`.
        if runs_blscfg || has_entries || !text.contains("configfile") {
            menus.push(Menu { path, runs_blscfg });
        }
    }
    Ok(menus)
}

/// Where grub-mkconfig has to write, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MenuProgram {
    pub(super) name: &'static str,
    pub(super) menu: String,
}

impl MenuProgram {
    /// Finds them; the reason where several menus could be the one that is booted.
    ///
    /// # Errors
    /// When the host does not answer.
    pub(super) fn find(host: &dyn ReadHost) -> Result<Result<Self, Reason>, HostError> {
        let menus = menus(host)?;
        let two = match script(host)? {
            Some(script) => script.path.ends_with("grub2-mkconfig"),
            None => menus.iter().any(|menu| !menu.path.starts_with("/boot/grub/")),
        };
        let name = if two { "grub2-mkconfig" } else { "grub-mkconfig" };
        let found = |menu: String| Ok(Ok(Self { name, menu }));
        match menus.as_slice() {
            [] => {
                for link in ["/etc/grub2-efi.cfg", "/etc/grub2.cfg"] {
                    if let Some(target) = linked(host, link)? {
                        return found(target);
                    }
                }
                return found(if two { "/boot/grub2/grub.cfg" } else { "/boot/grub/grub.cfg" }.to_owned());
            }
            [only] => return found(only.path.clone()),
            _ => {}
        }
        // Only a running machine has /sys/firmware, and it tells by what it was started.
        let on_esp = if host.exists(Path::new("/sys/firmware"))? {
            Some(host.exists(Path::new("/sys/firmware/efi"))?)
        } else {
            match (linked(host, "/etc/grub2-efi.cfg")?, linked(host, "/etc/grub2.cfg")?) {
                (Some(_), None) => Some(true),
                (None, Some(_)) => Some(false),
                _ => None,
            }
        };
        let fitting: Vec<&Menu> =
            menus.iter().filter(|menu| on_esp.is_none_or(|esp| menu.is_on_esp() == esp)).collect();
        if let [only] = fitting.as_slice() {
            return found(only.path.clone());
        }
        let paths: Vec<&str> = menus.iter().map(|menu| menu.path.as_str()).collect();
        let text = format!("{} are GRUB menus, and which of them is booted cannot be told", paths.join(", "));
        Ok(Err(Reason::new("boot-menu-ambiguous", text).remedy("remove the menus that are not booted")))
    }
}

/// Where a link of /etc leads to.
fn linked(host: &dyn ReadHost, link: &str) -> Result<Option<String>, HostError> {
    let Some(target) = host.read_link(Path::new(link))? else { return Ok(None) };
    let path =
        target.strip_prefix("../").map_or_else(|_| target.clone(), |inside| Path::new("/").join(inside));
    Ok(path.is_absolute().then(|| path.display().to_string()))
}

/// The entries of a menu; `None` where there is no such file.
///
/// # Errors
/// When the host does not answer.
pub(super) fn entries(host: &dyn ReadHost, path: &str) -> Result<Option<Vec<super::MenuEntry>>, HostError> {
    let text = host.read(Path::new(path))?;
    Ok(text.map(|text| menu::entries(path, &text)))
}

/// The menu as `10_linux` will write it with these values.
///
/// # Errors
/// When the host does not answer.
pub(super) fn predict(
    host: &dyn ReadHost,
    path: &str,
    layout: &'static super::shell_files::Layout,
) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
    use super::shell_files::{Effective, Files};
    let Some(text) = host.read(Path::new(path))? else { return Ok(Vec::new()) };
    let sources = layout.sources(host)?;
    let Ok(effective) = Effective::of(&Files::of(layout, &sources)) else { return Ok(Vec::new()) };
    let predicted = menu::regenerated(&text, effective.value(LINUX), effective.value(LINUX_DEFAULT));
    Ok(vec![(PathBuf::from(path), predicted)])
}
