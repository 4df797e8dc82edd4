//! What an image says about the modules that it has, against what our files say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::formats::modprobe::{Config, Directive, FileOfConfig, split_arguments};
use super::{CARRIED, Spec, State, claims};
use crate::initramfs::{Found, Image};
use crate::resources::bindings;
use crate::types::{ModuleName, PciAddress};

/// What has to change in the image, one phrase for each thing, such as "does not blacklist nouveau". What is about a
/// module that the image does not have makes no difference, nor does what another file says just as well.
pub(super) fn stale(image: &Image, release: &str, state: &State, spec: &Spec) -> Vec<String> {
    let State { own, config, natives, .. } = state;
    let needs_vfio_pci = claims(spec, &state.files) && state.with_vfio_pci.contains(release);
    let mut stale = Vec::new();
    if needs_vfio_pci && "vfio_pci".parse().is_ok_and(|module| !image.has(&module, release)) {
        stale.push("has no vfio-pci".to_owned());
    }
    let Ok(effective) = image.modprobe_config() else {
        stale.push("has a modprobe.d in which a link leads in circles".to_owned());
        return stale;
    };
    let (mut said, mut copied) = (BTreeSet::new(), Vec::new());
    for path in CARRIED.map(PathBuf::from).iter().filter(|path| path.starts_with("/etc/modprobe.d")) {
        said.extend(directives(path, own.get(path).map(String::as_bytes)).iter().filter_map(module_of));
        if image.instead_of_modprobe().is_none() {
            let theirs = directives(path, image.file(path).as_deref());
            copied.extend(theirs.into_iter().map(|directive| (path.clone(), directive)));
        }
    }
    // Where all of modprobe.d is one file, what we had put there is not told from the rest.
    if let Some(FileOfConfig { path, bytes }) = image.instead_of_modprobe() {
        let theirs = directives(&path, Some(&bytes));
        copied.extend(theirs.into_iter().map(|directive| (path.clone(), directive)));
    }
    let concerned = said.iter().chain(&spec.modules).filter(|module| image.has(module, release));
    for module in concerned.collect::<BTreeSet<_>>() {
        stale.extend(statements(module, config).iter().filter_map(|wanted| missing(wanted, &effective)));
    }
    for (path, directive) in copied {
        let Some(module) = module_of(&directive).filter(|module| image.has(module, release)) else { continue };
        // Another value of the same thing is told as missing already.
        let other = |wanted: &Directive| std::mem::discriminant(wanted) == std::mem::discriminant(&directive);
        if missing(&directive, config).is_some() && !statements(&module, config).iter().any(other) {
            stale.push(format!("still has \"{}\" in {}", shown(&directive), path.display()));
        }
    }
    let ours: BTreeSet<&str> = lines(own.get(Path::new(bindings::RULES)).map_or("", String::as_str));
    let text = rules_of(image);
    let theirs = lines(&text);
    let in_image = |line: &&&str| {
        let natives = address_of(line).and_then(|address| natives.get(&address));
        natives.into_iter().flatten().find(|native| image.has(native, release))
    };
    for line in ours.symmetric_difference(&theirs) {
        let (Some(native), Some(address)) = (in_image(&line), address_of(line)) else { continue };
        let what = if ours.contains(line) { "has no rule for" } else { "has another rule for" };
        stale.push(format!("has {native} and {what} {address}"));
    }
    stale
}

/// What the configuration says about one module and the image does not.
pub(super) fn lacks(image: &Image, config: &Config, module: &ModuleName) -> Vec<String> {
    let effective = image.modprobe_config().unwrap_or_default();
    statements(module, config).iter().filter_map(|wanted| missing(wanted, &effective)).collect()
}

/// The directives of one file.
fn directives(path: &Path, content: Option<&[u8]>) -> Vec<Directive> {
    let file = FileOfConfig { path: path.to_owned(), bytes: content.unwrap_or_default().to_vec() };
    Config::new(vec![file], None).entries().map(|(_, directive)| directive.clone()).collect()
}

/// The module that a directive is about.
fn module_of(directive: &Directive) -> Option<ModuleName> {
    let name = match directive {
        Directive::Alias { alias, .. } => alias,
        Directive::Blacklist { module } | Directive::Options { module, .. } => module,
        Directive::Softdep(softdep) => &softdep.module,
        _ => return None,
    };
    name.parse().ok()
}

/// What a configuration says about a module, as far as this program says such things: of an option its last value.
fn statements(module: &ModuleName, config: &Config) -> Vec<Directive> {
    let name = module.to_string();
    let mut found = Vec::new();
    if config.blacklisted(module).next().is_some() {
        found.push(Directive::Blacklist { module: name.clone() });
    }
    if config.switched_off(module).next().is_some() {
        found.push(Directive::Alias { alias: name.clone(), module: "off".to_owned() });
    }
    let options = config.options(module).map(|setting| (setting.parameter, setting.value));
    for (parameter, value) in options.collect::<BTreeMap<_, _>>() {
        let arguments = value.map_or_else(|| parameter.clone(), |value| format!("{parameter}={value}"));
        found.push(Directive::Options { module: name.clone(), arguments });
    }
    found.extend(config.softdep(module).map(|(_, softdep)| Directive::Softdep(softdep.clone())));
    found
}

/// What of a directive has no effect in this configuration; `None` where it has.
fn missing(directive: &Directive, effective: &Config) -> Option<String> {
    let module = module_of(directive)?;
    match directive {
        Directive::Blacklist { .. } => {
            effective.blacklisted(&module).next().is_none().then(|| format!("does not blacklist {module}"))
        }
        Directive::Alias { module: target, .. } if target == "off" => effective
            .switched_off(&module)
            .next()
            .is_none()
            .then(|| format!("does not switch the alias {module} off")),
        Directive::Options { arguments, .. } => split_arguments(arguments).into_iter().find_map(|argument| {
            let last = effective.options(&module).filter(|setting| setting.parameter == argument.name).last();
            let value = |value: &Option<String>| value.as_ref().map_or(String::new(), |value| format!("={value}"));
            match last {
                Some(setting) if setting.value == argument.value => None,
                Some(setting) => {
                    Some(format!("gives {module} {}{}", argument.name, value(&setting.value)))
                }
                None => Some(format!("does not give {module} {}{}", argument.name, value(&argument.value))),
            }
        }),
        Directive::Softdep(wanted) => {
            let first = effective.softdep(&module).map(|(_, softdep)| softdep);
            let same = first.is_some_and(|first| (&first.pre, &first.post) == (&wanted.pre, &wanted.post));
            (!same).then(|| format!("does not load {} before {module}", wanted.pre.join(" and ")))
        }
        _ => None,
    }
}

/// A directive as a file has it.
fn shown(directive: &Directive) -> String {
    match directive {
        Directive::Alias { alias, module } => format!("alias {alias} {module}"),
        Directive::Blacklist { module } => format!("blacklist {module}"),
        Directive::Options { module, arguments } => format!("options {module} {arguments}"),
        Directive::Softdep(softdep) => format!("softdep {} pre: {}", softdep.module, softdep.pre.join(" ")),
        other => format!("{other:?}"),
    }
}

/// The rules that the host or an image has for functions.
pub(super) fn rules(own: &BTreeMap<PathBuf, String>, images: &[Found]) -> BTreeSet<String> {
    let theirs = images.iter().filter_map(|found| found.content.as_ref().ok()).map(|image| rules_of(image));
    let ours = own.get(Path::new(bindings::RULES)).cloned();
    theirs.chain(ours).flat_map(|text| lines(&text).into_iter().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Our rules in an image.
fn rules_of(image: &Image) -> String {
    let found = image.copy_of(Path::new(bindings::RULES));
    String::from_utf8_lossy(&found.unwrap_or_default()).into_owned()
}

fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).collect()
}

/// The function that a rule of ours is about.
pub(super) fn address_of(line: &str) -> Option<PciAddress> {
    line.split_once("KERNEL==\"")?.1.split('"').next()?.parse().ok()
}
