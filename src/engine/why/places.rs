//! Where the layers have an item.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Layer, Standing, Trail, module_of};
use crate::boot::{self, Detection, Judged, Line, MenuEntry, Persisted};
use crate::engine::{Facts, Plan};
use crate::formats::modprobe::Config;
use crate::host::kmod::{self, LoadedAtBoot};
use crate::host::{Kernels, ReadHost};
use crate::initramfs::{self, Found};
use crate::plan::{ItemVerdict, Reason, Verdict};
use crate::resources::Resource;
use crate::resources::bindings::RULES;
use crate::resources::initramfs::{Initramfs, image_lacks};
use crate::types::{KernelArg, ModuleName};

/// What is looked up; what cannot be read is left out, for the resource says so.
pub(super) struct Places {
    persisted: Option<Persisted>,
    entries: Vec<MenuEntry>,
    config: Config,
    loaded: Vec<LoadedAtBoot>,
    rules: String,
    images: Vec<Found>,
    /// The images that a rebuild would not mend, with what does.
    beyond_rebuild: BTreeMap<String, String>,
    kernels: Kernels,
}

/// What mends the images that the plan refuses to have rebuilt.
fn beyond_rebuild(plan: &Plan) -> BTreeMap<String, String> {
    let refused = plan.items().filter_map(|(resource, found)| match &found.verdict {
        Verdict::Refused(objection) if resource == Initramfs::KEY => {
            Some((found.item.clone(), objection.chain.last()?.remedy.clone()?))
        }
        _ => None,
    });
    refused.collect()
}

impl Places {
    pub(super) fn read(plan: &Plan, host: &dyn ReadHost, facts: &Facts) -> Self {
        let chain = match boot::detect(host, facts.boot_chain.as_ref()) {
            Ok(Detection::One(chain, _)) => Some(chain),
            _ => None,
        };
        let persisted = chain.and_then(|chain| chain.persisted(&chain.sources(host).ok()?).ok());
        let entries = chain.and_then(|chain| chain.entries(host).ok().flatten()).unwrap_or_default();
        Self {
            persisted,
            entries,
            config: kmod::modprobe_config(host).unwrap_or_default(),
            loaded: kmod::loaded_at_boot(host).unwrap_or_default(),
            rules: host.text(Path::new(RULES)).ok().flatten().unwrap_or_default(),
            images: initramfs::found(host, &facts.kernels).unwrap_or_default(),
            beyond_rebuild: beyond_rebuild(plan),
            kernels: facts.kernels.clone(),
        }
    }

    /// The trail of one item, given where the resource says that it is lost.
    pub(super) fn trail(
        &self,
        resource: &'static str,
        found: &ItemVerdict,
        mut loss: Option<(Layer, Vec<Reason>)>,
    ) -> Trail {
        let item = &found.item;
        let mut layers = vec![Standing {
            layer: Layer::Desired,
            holds: found.origin.as_ref().map(|_| true),
            detail: found
                .origin
                .clone()
                .unwrap_or_else(|| "it follows from other entries, or is taken back".to_owned()),
        }];
        let stands = |layer: Layer, detail: String| Standing { layer, holds: Some(true), detail };
        if let Some(at) = self.persisted_at(resource, item) {
            layers.push(stands(Layer::Persisted, at));
        }
        if resource == "kernel_args" && !self.entries.is_empty() {
            layers.push(self.generated(item));
        }
        if let Some(module) = module_of(resource, item).filter(|_| resource != "modules") {
            let image = self.image(&module, resource == "vfio_ids" && !item.starts_with("softdep "));
            if let Some(lacking) = image.iter().find(|image| image.holds == Some(false)) {
                let is_its =
                    |(image, _): &(&String, &String)| lacking.detail.starts_with(&format!("{image} "));
                let beyond = self.beyond_rebuild.iter().find(is_its).map(|(_, remedy)| remedy.as_str());
                let remedy = beyond.unwrap_or("run reconcile, which has the images rebuilt");
                let reason = Reason::new("image-stale", lacking.detail.clone()).remedy(remedy);
                if loss.as_ref().is_none_or(|(layer, _)| *layer > Layer::Image) {
                    loss = Some((Layer::Image, vec![reason]));
                }
            }
            layers.extend(image);
        }
        let (lost_at, reasons) = loss.map_or((None, Vec::new()), |(layer, reasons)| (Some(layer), reasons));
        let why = reasons.last().map(|reason| reason.text.clone());
        if let (Some(layer), Some(why)) = (lost_at, why) {
            // A layer that was found lacking keeps what was found there.
            if !layers.iter().any(|standing| standing.layer == layer && standing.holds == Some(false)) {
                layers.retain(|standing| standing.layer != layer);
                layers.push(Standing { layer, holds: Some(false), detail: why });
            }
        }
        if lost_at != Some(Layer::Running) && resource != "initramfs" {
            let (holds, detail) = match lost_at {
                None if matches!(resource, "blacklist" | "vfio_ids") => (
                    None,
                    "it acts when modules are loaded; what it is for, a function, has its own trail"
                        .to_owned(),
                ),
                None => (Some(true), "as desired".to_owned()),
                Some(layer) => (None, format!("looked at once it is in order at \"{}\"", layer.name())),
            };
            layers.push(Standing { layer: Layer::Running, holds, detail });
        }
        layers.sort_by_key(|standing| standing.layer);
        Trail { resource, item: item.clone(), in_effect: lost_at.is_none(), layers, lost_at, reasons }
    }

    /// File and line that the next boot has the item from.
    fn persisted_at(&self, resource: &str, item: &str) -> Option<String> {
        let module = module_of(resource, item);
        let origin = match (resource, &module) {
            ("kernel_args", _) => {
                let arg: KernelArg = item.parse().ok()?;
                let given = self
                    .persisted
                    .as_ref()?
                    .lines
                    .iter()
                    .flat_map(Line::kernel)
                    .find(|given| given.arg == arg)?;
                return Some(given.at.clone());
            }
            ("modules", Some(module)) => {
                let names = |entry: &&LoadedAtBoot| entry.name.parse().as_ref() == Ok(module);
                let entry = self.loaded.iter().find(names)?;
                return Some(format!("{}:{}", entry.path.display(), entry.line));
            }
            ("bindings", _) => {
                let rule = format!("KERNEL==\"{item}\"");
                let has_rule = self.rules.contains(&rule);
                return Some(if has_rule { RULES } else { "the unit at boot binds it" }.to_owned());
            }
            ("sriov", _) => return Some("the unit at boot sets it".to_owned()),
            ("qemu_acl", _) => return Some("/etc/libvirt/qemu.conf".to_owned()),
            ("blacklist", Some(module)) => {
                self.config.blacklisted(module).find(|origin| origin.is_persistent())
            }
            ("vfio_ids", Some(module)) if item.starts_with("softdep ") => {
                self.config.softdep(module).map(|(origin, _)| origin)
            }
            ("vfio_ids", Some(module)) => self.setting(module, "ids"),
            ("module_options", Some(module)) => self.setting(module, item.split_once('.')?.1),
            _ => None,
        };
        origin.map(ToString::to_string)
    }

    /// Where the last setting of a parameter stands.
    fn setting(&self, module: &ModuleName, parameter: &str) -> Option<&crate::formats::modprobe::Origin> {
        let settings = self.config.options(module).filter(|setting| setting.parameter == parameter);
        settings.map(|setting| setting.origin).last()
    }

    /// Which of the menu's entries pass an argument.
    fn generated(&self, item: &str) -> Standing {
        let passes = |entry: &&MenuEntry| entry.args.iter().any(|arg| arg.to_string() == item);
        let ours: Vec<&MenuEntry> =
            self.entries.iter().filter(|entry| entry.judged == Judged::Ours).collect();
        let passing = ours.iter().filter(|entry| passes(entry)).count();
        let detail = match ours.iter().find(|entry| !passes(entry)) {
            None => format!("all {passing} menu entries that boot this system normally pass it"),
            Some(entry) => {
                format!(
                    "{passing} of {} menu entries pass it; not \"{}\" ({})",
                    ours.len(),
                    entry.title,
                    entry.at
                )
            }
        };
        // Whether it has to be passed the resource says: an argument can be wanted absent.
        Standing { layer: Layer::Generated, holds: (passing == ours.len()).then_some(true), detail }
    }

    /// What the images say about a module that they have, or have to have.
    fn image(&self, module: &ModuleName, is_needed: bool) -> Vec<Standing> {
        let builtin = self.kernels.vfio_pci_builtin() && module.as_str() == "vfio_pci";
        let standing = |found: &Found| {
            let path = found.path.display();
            let (holds, detail) = match &found.content {
                Err(reason) => (None, reason.text.clone()),
                Ok(image) if !image.has(module, &found.release) && is_needed && !builtin => {
                    (Some(false), format!("{path} does not have {module}"))
                }
                Ok(image) if !image.has(module, &found.release) => {
                    (None, format!("{path} does not have {module}, so it makes no difference there"))
                }
                Ok(image) => match image_lacks(image, &self.config, module).first() {
                    Some(lacks) => (Some(false), format!("{path} has {module} and {lacks}")),
                    None => (Some(true), format!("{path} has {module} and says the same")),
                },
            };
            Standing { layer: Layer::Image, holds, detail }
        };
        let note = builtin.then(|| Standing {
            layer: Layer::Image,
            holds: None,
            detail: "vfio-pci is built into an installed kernel, which reads no modprobe.d".to_owned(),
        });
        self.images.iter().map(standing).chain(note).collect()
    }
}
