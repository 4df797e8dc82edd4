//! Modules: what modprobe and udev load, and the drivers that come with them. A deliberately small kmod: `options`,
//! `blacklist`, `softdep ... pre:` and `alias ... off` of the plain form, from the files of the machine.

use std::fs;

use nix::errno::Errno;

use super::drivers::{Driver, glob};
use super::{Answer, Kernel};

/// modprobe.d, as far as loading at boot depends on it.
#[derive(Debug, Default)]
struct ModprobeConfig {
    options: Vec<(String, String)>,
    blacklist: Vec<String>,
    pre: Vec<(String, String)>,
}

impl Kernel {
    /// The release of the running kernel.
    fn release(&self) -> String {
        self.tree.text("/proc/sys/kernel/osrelease").unwrap_or_default()
    }

    fn module_file(&self, name: &str) -> String {
        let path = self.root.join("lib/modules").join(self.release()).join(name);
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Modules that the running kernel can load, `None` where the tree does not list them.
    fn loadable(&self) -> Option<Vec<(String, Vec<String>)>> {
        let text = self.module_file("modules.dep");
        let name = |path: &str| {
            normal(path.rsplit('/').next().unwrap_or(path).split(".ko").next().unwrap_or_default())
        };
        let modules = text.lines().filter_map(|line| line.split_once(':'));
        let modules = modules.map(|(path, needs)| (name(path), needs.split_whitespace().map(name).collect()));
        (!text.is_empty()).then(|| modules.collect())
    }

    fn is_builtin(&self, module: &str) -> bool {
        let text = self.module_file("modules.builtin");
        text.lines()
            .any(|line| line.rsplit('/').next().is_some_and(|file| normal(file) == format!("{module}.ko")))
    }

    fn is_loaded(&self, module: &str) -> bool {
        self.proc_modules().lines().any(|line| line.split(' ').next() == Some(module))
    }

    fn proc_modules(&self) -> String {
        let text = self.tree.text("/proc/modules").unwrap_or_default();
        if text.is_empty() { text } else { text + "\n" }
    }

    /// `modprobe NAME`: the module with what it needs; one that is in the kernel is no error.
    pub fn modprobe(&mut self, name: &str) -> Answer {
        let module = normal(name);
        if self.is_loaded(&module) || self.is_builtin(&module) {
            return Ok(());
        }
        let needs = match self.loadable() {
            None => Vec::new(),
            Some(all) => all.into_iter().find(|(name, _)| *name == module).ok_or(Errno::ENOENT)?.1,
        };
        let config = self.modprobe_config();
        for (_, first) in config.pre.iter().filter(|(after, _)| *after == module) {
            let _ = self.modprobe(first);
        }
        for need in needs.iter().rev() {
            self.modprobe(need)?;
        }
        self.insert(&module, &config);
        Ok(())
    }

    fn insert(&mut self, module: &str, config: &ModprobeConfig) {
        let directory = format!("/sys/module/{module}");
        self.tree.put_file(&format!("{directory}/initstate"), "live\n", 0o444);
        self.tree.put_file(&format!("{directory}/refcnt"), "0\n", 0o444);
        let modules = format!("{module} 16384 0 - Live 0x0000000000000000\n{}", self.proc_modules());
        self.tree.put_file("/proc/modules", modules, 0o444);
        if module == "vfio_pci" {
            for name in ["disable_denylist", "disable_idle_d3", "enable_sriov", "nointxmask"] {
                self.tree.put_file(&format!("{directory}/parameters/{name}"), "N\n", 0o644);
            }
        }
        let mut ids = String::new();
        for (_, options) in config.options.iter().filter(|(of, _)| of == module) {
            for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
                match (module, name) {
                    // A string parameter: the last one wins; not readable (permission 0).
                    ("vfio_pci", "ids") => value.clone_into(&mut ids),
                    _ => {
                        let path = format!("{directory}/parameters/{name}");
                        self.tree.put_file(&path, format!("{value}\n"), 0o444);
                    }
                }
            }
        }
        for (name, mut driver) in self.drivers_in(module) {
            driver.dynamic.extend(ids.split(',').filter_map(|id| {
                let mut fields = id.split(':').map(|field| u32::from_str_radix(field, 16).ok());
                Some((fields.next()??, fields.next()??))
            }));
            self.register(&name, driver);
        }
    }

    /// The PCI drivers that a module brings: those learned from the captured tree, else what its aliases say.
    fn drivers_in(&self, module: &str) -> Vec<(String, Driver)> {
        let table: Vec<String> =
            self.aliases().into_iter().filter(|(_, of)| of == module).map(|(p, _)| p).collect();
        let mut drivers: Vec<(String, Driver)> = self
            .known_drivers
            .iter()
            .filter(|(_, known)| known.module == module)
            .map(|(n, d)| (n.clone(), d.clone()))
            .collect();
        if drivers.is_empty() && (module == "vfio_pci" || !table.is_empty()) {
            let name = if module == "vfio_pci" { "vfio-pci" } else { module };
            drivers.push((name.to_owned(), Driver { module: module.to_owned(), ..Driver::default() }));
        }
        for (_, driver) in &mut drivers {
            driver.table.extend(table.iter().cloned());
        }
        drivers
    }

    /// `modules.alias`: patterns of PCI devices with their modules.
    fn aliases(&self) -> Vec<(String, String)> {
        let text = self.module_file("modules.alias");
        let mut aliases = Vec::new();
        for line in text.lines() {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["alias", pattern, module] if pattern.starts_with("pci:") => {
                    aliases.push(((*pattern).to_owned(), normal(module)));
                }
                _ => {}
            }
        }
        // Where the tree has no aliases, a driver that it shows bound is the one that the alias would name.
        let mut shown = Vec::new();
        for known in self.known_drivers.values().filter(|known| !known.module.is_empty()) {
            let named = |pattern: &&String| aliases.iter().any(|(alias, _)| glob(alias, pattern));
            let unnamed = known.table.iter().filter(|pattern| !named(pattern));
            shown.extend(unnamed.map(|pattern| (pattern.clone(), normal(&known.module))));
        }
        aliases.extend(shown);
        aliases
    }

    /// What udev does with the event of a function that came: its rules set the override, and when they are through,
    /// the modules are loaded, those that a rule names first (their files sort before 80-drivers.rules).
    pub(super) fn coldplug(&mut self, address: &str) {
        let mut load = Vec::new();
        for (_, text) in self.drop_ins("udev/rules.d", ".rules") {
            for rule in text.lines().filter(|line| !line.starts_with('#')) {
                self.udev_rule(rule, address, &mut load);
            }
        }
        for module in load {
            let _ = self.modprobe(&module);
        }
        let modalias = self.modalias(address);
        let config = self.modprobe_config();
        for (pattern, module) in self.aliases() {
            if glob(&pattern, &modalias) && !config.blacklist.contains(&module) {
                let _ = self.modprobe(&module);
            }
        }
    }

    /// One rule: every `==` must hold; then `ATTR{driver_override}=` and `RUN{builtin}+="kmod load ..."`.
    fn udev_rule(&mut self, rule: &str, address: &str, load: &mut Vec<String>) {
        let Some(directory) = self.directory(address) else { return };
        let mut assignments = Vec::new();
        for part in rule.split(", ") {
            let Some((key, value)) = part.split_once('=') else { return };
            let value = value.trim_start_matches('=').trim_matches('"');
            let holds = match (part.contains("=="), key) {
                (true, "ACTION") => value.split('|').any(|action| action == "add"),
                (true, "SUBSYSTEM") => value == "pci",
                (true, "KERNEL") => glob(value, address),
                (true, _) => {
                    let name = key.strip_prefix("ATTR{").and_then(|name| name.strip_suffix('}'));
                    name.is_some_and(|name| self.attribute(address, name).as_deref() == Some(value))
                }
                (false, _) => {
                    assignments.push((key, value));
                    true
                }
            };
            if !holds {
                return;
            }
        }
        for (key, value) in assignments {
            match key {
                "ATTR{driver_override}" => {
                    let _ = self.override_driver(&format!("{directory}/driver_override"), value);
                }
                "RUN{builtin}+" => load.extend(value.strip_prefix("kmod load ").map(str::to_owned)),
                _ => {}
            }
        }
    }

    /// `/etc/modules-load.d`, `/etc/modules`: loaded at boot unless blacklisted.
    pub(super) fn load_listed_modules(&mut self) {
        let mut files = self.drop_ins("modules-load.d", ".conf");
        files.push((
            "modules".to_owned(),
            fs::read_to_string(self.root.join("etc/modules")).unwrap_or_default(),
        ));
        let config = self.modprobe_config();
        for line in files.iter().flat_map(|(_, text)| text.lines()).map(str::trim) {
            if !line.is_empty() && !line.starts_with(['#', ';']) && !config.blacklist.contains(&normal(line))
            {
                let _ = self.modprobe(line);
            }
        }
    }

    /// Drop-ins of the machine by name; `/etc` masks `/run` masks `/usr/lib` masks `/lib`.
    fn drop_ins(&self, directory: &str, suffix: &str) -> Vec<(String, String)> {
        let mut files = std::collections::BTreeMap::new();
        for top in ["lib", "usr/lib", "run", "etc"] {
            let directory = self.root.join(top).join(directory);
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(suffix) && !name.starts_with('.') {
                    files.insert(name, fs::read_to_string(entry.path()).unwrap_or_default());
                }
            }
        }
        files.into_iter().collect()
    }

    fn modprobe_config(&self) -> ModprobeConfig {
        let mut config = ModprobeConfig::default();
        let files = self.drop_ins("modprobe.d", ".conf");
        for line in files.iter().flat_map(|(_, text)| text.lines()) {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["options", module, options @ ..] => config.options.push((normal(module), options.join(" "))),
                ["blacklist", module, ..] => config.blacklist.push(normal(module)),
                ["softdep", module, "pre:", before @ ..] => {
                    let before = before.iter().take_while(|word| **word != "post:");
                    config.pre.extend(before.map(|before| (normal(module), normal(before))));
                }
                _ => {}
            }
        }
        // kmod appends the command line last.
        for token in self.tree.text("/proc/cmdline").unwrap_or_default().split_whitespace() {
            match token.split_once('=') {
                Some(("modprobe.blacklist", names)) => {
                    config.blacklist.extend(names.split(',').map(str::to_owned));
                }
                Some((name, value)) => {
                    if let Some((module, parameter)) = name.split_once('.') {
                        config.options.push((normal(module), format!("{parameter}={value}")));
                    }
                }
                None => {}
            }
        }
        config
    }
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}
