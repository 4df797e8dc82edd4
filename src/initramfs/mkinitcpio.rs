//! mkinitcpio (Arch and what comes from it): `mkinitcpio(8)`, `mkinitcpio.conf(5)`.
//!
//! Its configuration and its presets are scripts that bash sources: they are read, never run, and what cannot be read with
//! certainty is refused with its line. What `MODULES` lists is loaded before devices are looked at. Drop-ins are read
//! since version 36, and only for a preset that names no configuration of its own: with `-c` they are ignored. The hook
//! `modconf` copies modprobe.d; nothing copies rules of `/etc/udev`. Our drop-in puts both into `FILES`.

mod preset;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) use preset::images;
use preset::{Build, PRESETS, builds};
use settings::{Settings, Unclear};

use super::{Carries, Generator, Image, ImageFile, Needs, Told, kernel_install, refuse};
use crate::engine::Means;
use crate::host::kernels::{InKernels, index};
use crate::host::{HostError, Kernels, Reach, ReadHost};
use crate::plan::Reason;
use crate::resources::HEADER;
use crate::resources::bindings::RULES;
use crate::types::ModuleName;

/// mkinitcpio.
#[derive(Debug, Clone, Copy)]
pub struct Mkinitcpio;

/// Our drop-in; its name sorts behind others.
pub(super) const DROP_IN: &str = "/etc/mkinitcpio.conf.d/zz-reconcile.conf";
const CONF: &str = "/etc/mkinitcpio.conf";
const CONF_D: &str = "/etc/mkinitcpio.conf.d";
const PROGRAM: &str = "/usr/bin/mkinitcpio";
const MODPROBE: &str = "/etc/modprobe.d/*.conf";

impl Generator for Mkinitcpio {
    fn key(&self) -> &'static str {
        "mkinitcpio"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Option<String>, HostError> {
        // A captured tree need not hold programs.
        let captured = host.reach() == Reach::Tree && host.exists(Path::new(CONF))?;
        if host.exists(Path::new(PROGRAM))? {
            Ok(Some(PROGRAM.to_owned()))
        } else {
            Ok(captured.then(|| CONF.to_owned()))
        }
    }

    fn rebuild(&self, host: &dyn ReadHost) -> Result<Means, HostError> {
        let presets = super::conf_d(host, &[PRESETS], ".preset")?;
        if !presets.is_empty() {
            return Ok(Means::Command(["mkinitcpio", "-P"].map(str::to_owned).to_vec()));
        }
        kernel_install(host, self.key(), "rebuild each image: mkinitcpio -k RELEASE -g IMAGE")
    }

    /// What an image that cannot be read has follows from its hooks and the host's hardware; what may be in it counts as
    /// in it.
    fn carries(
        &self,
        _host: &dyn ReadHost,
        _kernels: &Kernels,
        modules: &BTreeMap<ModuleName, InKernels>,
    ) -> Result<BTreeMap<ModuleName, Carries>, HostError> {
        Ok(super::may_carry(self.key(), modules, |_| None))
    }

    fn told(&self, host: &dyn ReadHost, needs: Needs) -> Result<Told, HostError> {
        if !needs.vfio_pci && !needs.files {
            return Ok(Told::Files(Vec::new()));
        }
        match self.drop_in(host, needs) {
            Ok(files) => Ok(Told::Files(files)),
            Err(Unclear::Host(error)) => Err(error),
            Err(Unclear::Refused(reason, remedy)) => Ok(refuse(DROP_IN, *reason, remedy)),
        }
    }

    fn predict(&self, host: &dyn ReadHost, release: &str, image: &mut Image) -> Result<(), HostError> {
        let ours = host.text(Path::new(DROP_IN))?.filter(|text| crate::resources::is_own(text.as_bytes()));
        let ours =
            ours.map(|text| Needs { vfio_pci: text.contains("vfio_pci"), files: text.contains("FILES") });
        let all = builds(host).and_then(|builds| {
            builds.iter().map(|build| Settings::read(host, build, ours)).collect::<Result<Vec<_>, _>>()
        });
        let all = match all {
            Ok(all) => all,
            Err(Unclear::Host(error)) => return Err(error),
            // What cannot be read with certainty foretells nothing.
            Err(Unclear::Refused(..)) => return Ok(()),
        };
        image.follow_modprobe(host, |path| all.iter().all(|settings| settings.copies(path)))?;
        let rules = Path::new(RULES);
        let copied = all.iter().all(|settings| settings.copies(RULES));
        image.follow(rules, if copied { host.read(rules)? } else { None });
        let dep = host.text(&index(release, "modules.dep"))?.unwrap_or_default();
        let Some((first, rest)) = all.split_first() else { return Ok(()) };
        for module in first
            .modules()
            .filter(|module| rest.iter().all(|settings| settings.modules().any(|other| other == *module)))
        {
            image.add_with_dependencies(&module, release, &dep);
        }
        Ok(())
    }
}

impl Mkinitcpio {
    /// Our drop-in, if with it every image gets what is needed; none where no preset reads drop-ins and every one's
    /// configuration says it all.
    fn drop_in(&self, host: &dyn ReadHost, needs: Needs) -> Result<Vec<ImageFile>, Unclear> {
        let builds = builds(host)?;
        let mut is_text = false;
        for build in &builds {
            let settings = Settings::read(host, build, Some(needs))?;
            is_text |= settings.finds_text;
            let lacking = settings.lacking(host, needs)?;
            if let Some(lacking) = lacking {
                return Err(refusal(build, &settings, &lacking));
            }
        }
        let content = content(needs, is_text);
        let reads = builds.iter().any(|build| build.reads_drop_ins);
        Ok(reads
            .then(|| ImageFile { path: PathBuf::from(DROP_IN), content, mode: 0o644 })
            .into_iter()
            .collect())
    }
}

/// Everything that an array holds. A text is split as mkinitcpio splits it.
fn all(name: &str, is_text: bool) -> String {
    if is_text { format!("${{{name}[@]}}") } else { format!("\"${{{name}[@]}}\"") }
}

/// The drop-in's line that puts vfio-pci first.
fn modules_line(needs: Needs, is_text: bool) -> String {
    if needs.vfio_pci { format!("MODULES=(vfio_pci {})\n", all("MODULES", is_text)) } else { String::new() }
}

/// The drop-in.
fn content(needs: Needs, is_text: bool) -> String {
    // A file that is not there would be an error.
    format!(
        "{HEADER}{}FILES=({})\nfor reconcile_file in {MODPROBE} {RULES}; do\n    \
         [[ ! -f $reconcile_file ]] || FILES+=(\"$reconcile_file\")\ndone\n",
        modules_line(needs, is_text),
        all("FILES", is_text)
    )
}

/// Why an image would not get what is needed, and what has to be written where.
fn refusal(build: &Build, settings: &Settings, lacking: &[String]) -> Unclear {
    let lacking = lacking.join(" and ");
    let last = settings.last.display();
    let by_hand =
        format!("write it into {last}: MODULES=(vfio_pci ...), FILES=(... {RULES}), HOOKS with modconf");
    let (text, remedy) = match &build.config {
        _ if build.reads_drop_ins => (
            format!("it is read behind {DROP_IN} and leaves {lacking}"),
            format!(
                "make {last} add to what is there (MODULES+=(...), FILES+=(...)), or give it a name that sorts before"
            ),
        ),
        Some((config, preset)) if build.knows_drop_ins => (
            format!(
                "{} is built with -c {}, for which mkinitcpio reads no drop-in, and that leaves {lacking}",
                build.name,
                config.display()
            ),
            format!(
                "comment the setting of the configuration out in {}, so that drop-ins are read, or {by_hand}",
                preset.display()
            ),
        ),
        _ => (
            format!(
                "nothing shows that this mkinitcpio reads {CONF_D} (it does since version 36), and this file leaves \
                 {lacking}"
            ),
            by_hand,
        ),
    };
    Unclear::Refused(Box::new(Reason::new("generator-not-told", text).at(last)), remedy)
}

#[cfg(test)]
mod tests;
