//! booster's configuration, `/etc/booster.yaml`, and what it tells its init in an image, `/etc/booster.init.yaml`
//! (`generator/config.go`, `init/config.go`).

use std::collections::BTreeMap;

use serde::Deserialize;

/// The part of `/etc/booster.yaml` that is about modules: lists separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct UserConfig {
    #[serde(default)]
    modules: Option<String>,
    #[serde(default)]
    modules_force_load: Option<String>,
}

impl UserConfig {
    /// Reads the file; an empty one says nothing.
    ///
    /// # Errors
    /// The reader's message, with the place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed: Option<Self> = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        Ok(parsed.unwrap_or_default())
    }

    /// Modules to take (`NAME`, a path, `DIRECTORY/`, `*`) or to leave out (the same behind a `-`), in order.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        list(self.modules.as_deref())
    }

    /// Modules to take and to load before devices are looked at.
    pub fn force_load(&self) -> impl Iterator<Item = &str> {
        list(self.modules_force_load.as_deref())
    }
}

fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The part of `/etc/booster.init.yaml` that is about modules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct InitConfig {
    /// The kernel's release.
    pub kernel: String,
    /// The arguments of each module: booster's init reads no modprobe.d.
    #[serde(rename = "modprobeoptions")]
    pub options: BTreeMap<String, String>,
}

impl InitConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// The reader's message, with the place.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let parsed: Option<Self> = serde_yaml::from_slice(text).map_err(|error| error.to_string())?;
        Ok(parsed.unwrap_or_default())
    }
}

/// The `options` lines of the files, in their order, as booster joins them for each module: of modprobe.d it reads nothing
/// else (`generator/kmod.go`, `parseModprobe`).
pub fn modprobe_options<'a>(files: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    for text in files {
        let mut begun = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(part) = line.strip_suffix('\\') {
                begun.push_str(part);
                begun.push(' ');
                continue;
            }
            begun.push_str(line);
            let whole = std::mem::take(&mut begun);
            let Some((module, arguments)) =
                whole.strip_prefix("options ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            let joined = options.entry(module.replace('-', "_")).or_default();
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(arguments);
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_separated_by_commas() {
        let text = "network:\n  dhcp: on\nuniversal: false\nmodules: -*,hid_apple, kernel/sound/usb/,\nmodules_force_load: vfio_pci,i915\nvconsole: true\n";
        let config = UserConfig::parse(text).unwrap();
        assert_eq!(config.modules().collect::<Vec<_>>(), ["-*", "hid_apple", "kernel/sound/usb/"]);
        assert_eq!(config.force_load().collect::<Vec<_>>(), ["vfio_pci", "i915"]);
        for empty in ["", "# nothing\n", "compression: none\n"] {
            assert_eq!(UserConfig::parse(empty).unwrap(), UserConfig::default(), "{empty}");
        }
        assert!(UserConfig::parse("modules: [a, b]\n").is_err(), "booster does not read a sequence either");
        assert!(UserConfig::parse("modules: {\n").is_err());
    }

    #[test]
    fn its_init_is_told_the_kernel_and_the_options() {
        let text = b"moduledependencies:\n  nvme:\n  - nvme_core\nmodulesforceload:\n- vfio_pci\nmodprobeoptions:\n  vfio_pci: ids=10de:11bf\nbuiltinmodules:\n  ext4: true\nkernel: 6.12.4-arch1-1\nmounttimeout: 180\n";
        let config = InitConfig::parse(text).unwrap();
        assert_eq!(config.kernel, "6.12.4-arch1-1");
        assert_eq!(config.options.get("vfio_pci").map(String::as_str), Some("ids=10de:11bf"));
        assert!(InitConfig::parse(b"\xff").is_err());
    }

    #[test]
    fn options_are_joined_in_the_order_of_the_files() {
        let files = [
            "options vfio-pci ids=1:2\nblacklist nouveau\noptions alone\n",
            "# x\n options igb \\\n RSS=1\noptions vfio_pci disable_vga=1\n",
        ];
        let options = modprobe_options(files);
        assert_eq!(options.get("vfio_pci").map(String::as_str), Some("ids=1:2 disable_vga=1"));
        assert_eq!(
            options.get("igb").map(|text| text.split_ascii_whitespace().collect()),
            Some(vec!["RSS=1"])
        );
        assert_eq!(options.len(), 2);
    }
}
