//! `/etc/mkinitcpio.d/*.preset`: which images `mkinitcpio -P` builds, and with which arguments (`process_preset`).

use std::path::{Path, PathBuf};

use super::settings::{Unclear, source};
use super::{CONF_D, PROGRAM};
use crate::formats::bash_variables::Variables;
use crate::host::{HostError, ReadHost};
use crate::initramfs::conf_d;

pub(super) const PRESETS: &str = "/etc/mkinitcpio.d";

/// One call of mkinitcpio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build {
    /// `linux.preset: fallback`.
    pub(super) name: String,
    /// What `-c` names, and the preset that has it.
    pub(super) config: Option<(PathBuf, PathBuf)>,
    /// Whether the program knows drop-ins.
    pub(super) knows_drop_ins: bool,
    /// Whether they are read for this image.
    pub(super) reads_drop_ins: bool,
    /// Hooks that are left out.
    pub(super) skipped: Vec<String>,
    /// Hooks that are added.
    pub(super) added: Vec<String>,
    /// The kernel: its release, or the path of its image.
    kernel: String,
    /// The images that are written.
    images: Vec<PathBuf>,
}

/// Every build of every preset; where there is no preset, the one that kernel-install or an operator makes.
pub(super) fn builds(host: &dyn ReadHost) -> Result<Vec<Build>, Unclear> {
    let drop_ins = are_drop_ins_read(host)?;
    let mut builds = Vec::new();
    for preset in conf_d(host, &[PRESETS], ".preset")? {
        let mut variables = Variables::default();
        source(host, &preset, &mut variables)?;
        let file = preset.file_name().unwrap_or_default().to_string_lossy().into_owned();
        builds.extend(
            variables.words("PRESETS").iter().map(|name| build(&variables, name, &file, &preset, drop_ins)),
        );
    }
    if builds.is_empty() {
        let name = "an image".to_owned();
        let (skipped, added, kernel, images) = Default::default();
        builds.push(Build {
            name,
            config: None,
            knows_drop_ins: drop_ins,
            reads_drop_ins: drop_ins,
            skipped,
            added,
            kernel,
            images,
        });
    }
    Ok(builds)
}

/// Whether drop-ins are read where no configuration is named: the program says where they are. Where it is a wrapper, or a
/// tree has none, the directory tells: the package has it since it reads it.
fn are_drop_ins_read(host: &dyn ReadHost) -> Result<bool, HostError> {
    match host.text(Path::new(PROGRAM))?.filter(|text| text.contains("_f_config")) {
        Some(program) => Ok(program.contains("mkinitcpio.conf.d")),
        None => host.exists(Path::new(CONF_D)),
    }
}

fn build(variables: &Variables, name: &str, file: &str, preset: &Path, drop_ins: bool) -> Build {
    let own = |suffix: &str| variables.words(&format!("{name}_{suffix}"));
    let one = |suffix: &str| {
        let (own, all) = (own(suffix), variables.words(&format!("ALL_{suffix}")));
        own.first().or(all.first()).map(|text| (*text).to_owned())
    };
    let mut config = one("config");
    let (mut skipped, mut added) = (Vec::new(), Vec::new());
    let options = own("options");
    let mut options = options
        .iter()
        .flat_map(|option| option.split_once('=').map_or(vec![*option], |(name, value)| vec![name, value]));
    while let Some(option) = options.next() {
        let mut hooks = |list: &mut Vec<String>| {
            list.extend(options.next().unwrap_or_default().split(',').map(str::to_owned));
        };
        match option {
            "-S" | "--skiphooks" => hooks(&mut skipped),
            "-A" | "--addhooks" | "--add" => hooks(&mut added),
            "-c" | "--config" => config = options.next().map(str::to_owned),
            _ => {}
        }
    }
    Build {
        name: format!("{file}: {name}"),
        knows_drop_ins: drop_ins,
        reads_drop_ins: drop_ins && config.is_none(),
        config: config.map(|config| (PathBuf::from(config), preset.to_owned())),
        skipped,
        added,
        kernel: one("kver").unwrap_or_default(),
        images: [one("image"), one("uki"), one("efi_image")]
            .into_iter()
            .flatten()
            .map(PathBuf::from)
            .collect(),
    }
}

/// The images that presets build for a kernel of this release, whose package is `package`; of presets that cannot be read
/// none.
pub(in crate::initramfs) fn images(
    host: &dyn ReadHost,
    release: &str,
    package: Option<&str>,
) -> Result<Vec<PathBuf>, HostError> {
    let builds = match builds(host) {
        Ok(builds) => builds,
        Err(Unclear::Host(error)) => return Err(error),
        Err(Unclear::Refused(..)) => return Ok(Vec::new()),
    };
    let is_its = |build: &&Build| {
        let name = Path::new(&build.kernel).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        build.kernel == release
            || Path::new(&build.kernel).iter().any(|part| part.to_str() == Some(release))
            || package.is_some_and(|package| name.strip_prefix("vmlinuz-") == Some(package))
    };
    Ok(builds.iter().filter(is_its).flat_map(|build| build.images.iter().cloned()).collect())
}
