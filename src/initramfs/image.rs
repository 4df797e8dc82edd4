//! What an image really holds, read from the image itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read as _};
use std::path::{Component, Path, PathBuf};

use super::unpack::{Visit, unpack};
use crate::formats::booster::InitConfig;
use crate::formats::cpio::{Archive, Entry, Kind};
use crate::formats::modprobe::{self, FileOfConfig};
use crate::formats::{kmod_index, pe};
use crate::host::{EmptyHost, HostError, Reach, ReadHost, SimulatedHost, kmod};
use crate::types::ModuleName;

/// A file of configuration above this size is none that this program has business with.
const MAX_KEPT: u32 = 4 << 20;
/// A larger file with several names is no configuration: generators link copies of programs together.
const MAX_LINKED: u32 = 64 << 10;
/// All that is kept of one image: names and contents.
const MAX_ALL: usize = 64 << 20;

/// What booster's init reads instead of modprobe.d.
pub(super) const BOOSTER_INIT: &str = "/etc/booster.init.yaml";

static NOTHING: EmptyHost = EmptyHost(Reach::Tree);

/// An image's content, as far as this program asks for it: which modules it has, its links, and the files that
/// configure what is loaded.
#[derive(Debug, Clone)]
pub struct Image {
    root: SimulatedHost<'static>,
    /// The modules, and the releases of the kernels that they are for.
    modules: BTreeMap<ModuleName, BTreeSet<String>>,
    /// What booster's init is told; only its images have it.
    booster: Option<InitConfig>,
}

impl Default for Image {
    fn default() -> Self {
        Self { root: SimulatedHost::new(&NOTHING), modules: BTreeMap::new(), booster: None }
    }
}

impl Image {
    /// Reads an image from its first byte to its last; of a unified kernel image the initramfs in it.
    ///
    /// # Errors
    /// When it is cut off, damaged, or unpacked by no kernel.
    pub fn read(input: &mut dyn BufRead) -> io::Result<Self> {
        let mut unpacking = Unpacking::default();
        if input.fill_buf()?.starts_with(&pe::MAGIC) {
            let missing =
                || io::Error::new(io::ErrorKind::InvalidData, "it is a PE file without an initramfs");
            unpack(&mut pe::section(input, ".initrd")?.ok_or_else(missing)?, &mut unpacking)?;
        } else {
            unpack(input, &mut unpacking)?;
        }
        unpacking.finish()
    }

    /// Its files: those of modprobe.d, modules-load.d, udev's rules and the generators' own lists.
    pub fn files(&self) -> &dyn ReadHost {
        &self.root
    }

    /// The content of one file; `None` where the image has none.
    pub fn file(&self, path: &Path) -> Option<Vec<u8>> {
        self.root.read(path).ok().flatten()
    }

    /// Whether it has a module for this kernel.
    pub fn has(&self, module: &ModuleName, release: &str) -> bool {
        self.modules.get(module).is_some_and(|releases| releases.contains(release))
    }

    /// The kernels that it has modules for.
    pub fn releases(&self) -> BTreeSet<&str> {
        self.modules.values().flatten().map(String::as_str).collect()
    }

    /// Every module that it has for this kernel.
    pub fn modules(&self, release: &str) -> impl Iterator<Item = &ModuleName> {
        self.modules.iter().filter(move |(_, releases)| releases.contains(release)).map(|(module, _)| module)
    }

    /// The configuration of modules while the image is in charge, without the kernel's command line.
    ///
    /// # Errors
    /// When a link in it leads in circles.
    pub fn modprobe_config(&self) -> Result<modprobe::Config, HostError> {
        match self.instead_of_modprobe() {
            Some(file) => Ok(modprobe::Config::new(vec![file], None)),
            None => kmod::modprobe_config(&self.root),
        }
    }

    /// What stands for modprobe.d in an image whose init does not read it, said as modprobe.d would.
    pub fn instead_of_modprobe(&self) -> Option<FileOfConfig> {
        let init = self.booster.as_ref()?;
        let line = |(module, arguments): (&String, &String)| {
            format!("options {module} {}\n", arguments.replace('\n', " "))
        };
        let lines: String = init.options.iter().map(line).collect();
        Some(FileOfConfig { path: PathBuf::from(BOOSTER_INIT), bytes: lines.into_bytes() })
    }

    /// Makes what booster's init is told what a rebuild would make of it.
    pub(super) fn follow_options(&mut self, options: BTreeMap<String, String>) {
        if let Some(init) = &mut self.booster {
            let has = |module: &String| {
                let module = module.parse::<ModuleName>().ok();
                module
                    .and_then(|module| self.modules.get(&module))
                    .is_some_and(|in_releases| in_releases.contains(&init.kernel))
            };
            init.options = options.into_iter().filter(|(module, _)| has(module)).collect();
        }
    }

    /// Takes a module out, as far as it is for this kernel.
    pub(super) fn remove_module(&mut self, module: &ModuleName, release: &str) {
        if let Some(releases) = self.modules.get_mut(module) {
            releases.remove(release);
        }
    }

    /// What it holds of a file that the host has at `path`: a rule of udev's may lie where the distribution's do.
    pub fn copy_of(&self, path: &Path) -> Option<Vec<u8>> {
        copies(path).find_map(|path| self.file(&path))
    }

    /// Makes its copy of the host's file at `path` what a rebuild would make of it.
    pub(super) fn follow(&mut self, path: &Path, content: Option<Vec<u8>>) {
        for copy in copies(path).filter(|copy| self.file(copy).is_some()).collect::<Vec<_>>() {
            self.root.remove(&copy);
        }
        if let Some(content) = content {
            self.root.unpack_file(path, content);
        }
    }

    /// Makes its `/etc/modprobe.d` what a rebuild would make of it: the host's files, as far as they are copied.
    pub(super) fn follow_modprobe(
        &mut self,
        host: &dyn ReadHost,
        is_copied: impl Fn(&str) -> bool,
    ) -> Result<(), HostError> {
        let directory = Path::new("/etc/modprobe.d");
        let mut names = host.list(directory)?.unwrap_or_default();
        names.extend(self.root.list(directory)?.unwrap_or_default());
        for path in names.iter().map(|name| directory.join(name)).collect::<BTreeSet<_>>() {
            let copied = path.to_str().is_some_and(|path| path.ends_with(".conf") && is_copied(path));
            self.follow(&path, if copied { host.read(&path)? } else { None });
        }
        Ok(())
    }

    /// Puts a module with those that it needs, as a rebuild would; `dep` is the kernel's `modules.dep`.
    pub(super) fn add_with_dependencies(&mut self, module: &ModuleName, release: &str, dep: &str) {
        for (path, needs) in kmod_index::dependencies(dep) {
            if kmod_index::module_of_path(path).as_ref() == Some(module) {
                let modules = std::iter::once(path).chain(needs).filter_map(kmod_index::module_of_path);
                modules.for_each(|module| self.add_module(module, release));
            }
        }
    }

    fn add_module(&mut self, module: ModuleName, release: &str) {
        self.modules.entry(module).or_default().insert(release.to_owned());
    }
}

/// Where an image may have a copy of a file.
fn copies(path: &Path) -> impl Iterator<Item = PathBuf> {
    let rule = path.strip_prefix("/etc/udev/rules.d").ok();
    let moved = ["/usr/lib/udev/rules.d", "/lib/udev/rules.d"];
    let moved = rule.into_iter().flat_map(move |name| moved.map(|place| Path::new(place).join(name)));
    std::iter::once(path.to_owned()).chain(moved)
}

/// Whether a file's content is kept: what configures which modules are loaded, with which options, in which order.
fn is_kept(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let directory = path.parent().unwrap_or(path);
    let within = |suffix: &str| directory.ends_with(suffix);
    match name {
        // initramfs-tools: what `load_modules` loads; mkinitcpio: MODULES; booster: what its init is told.
        "modules" => within("conf"),
        "config" => directory == Path::new("/"),
        "booster.init.yaml" => within("etc"),
        "modules.softdep" => true,
        _ => {
            let is_conf = name.ends_with(".conf");
            (is_conf && (within("modprobe.d") || within("modules-load.d") || within("cmdline.d")))
                || (name.ends_with(".rules") && within("rules.d"))
        }
    }
}

/// The module and the release in `/lib/modules/RELEASE/kernel/…/NAME.ko.xz`, below /usr or not. The release is empty in
/// `/lib/modules/NAME.ko`: that is how booster lays its only kernel's modules out.
fn module_at(path: &Path) -> Option<(ModuleName, String)> {
    let mut names = path.iter().filter_map(|name| name.to_str());
    names.by_ref().take_while(|name| *name != "lib").for_each(drop);
    let (Some("modules"), Some(next)) = (names.next(), names.next()) else { return None };
    let module = kmod_index::module_of_path(path.to_str()?)?;
    let release = if names.next().is_some() { next } else { "" };
    Some((module, release.to_owned()))
}

/// The names of one file, and its content once a name had it.
#[derive(Default)]
struct HardLinks {
    names: Vec<PathBuf>,
    content: Option<Vec<u8>>,
}

/// An image in the making.
#[derive(Default)]
struct Unpacking {
    image: Image,
    links: BTreeMap<(u32, u32, u32), HardLinks>,
    kept: usize,
}

impl Visit for Unpacking {
    fn entry(&mut self, entry: &Entry, content: &mut Archive<'_>) -> io::Result<()> {
        let path = absolute(&entry.name);
        match entry.kind() {
            Kind::Link => {
                let target = self.content(entry, content)?;
                let target = String::from_utf8_lossy(&target).trim_end_matches('\0').to_owned();
                self.image.root.unpack_link(&path, Path::new(&target));
                if let Some((module, release)) = module_at(&path) {
                    self.image.add_module(module, &release);
                }
            }
            Kind::File => {
                if let Some((module, release)) = module_at(&path) {
                    self.count(path.as_os_str().len())?;
                    self.image.add_module(module, &release);
                } else if entry.links > 1 && entry.size <= MAX_LINKED {
                    // Which of a file's names is one that counts may come out only later.
                    let bytes = self.content(entry, content)?;
                    self.hard_link(entry, path, bytes);
                } else if is_kept(&path) && entry.size <= MAX_KEPT {
                    let bytes = self.content(entry, content)?;
                    self.image.root.unpack_file(&path, bytes);
                }
            }
            Kind::Directory | Kind::Other => {}
        }
        Ok(())
    }

    fn archive_ends(&mut self) {
        self.links.clear();
    }
}

impl Unpacking {
    /// What is known only of the whole: for which kernel booster has laid modules out.
    fn finish(self) -> io::Result<Image> {
        let mut image = self.image;
        if let Some(text) = image.file(Path::new(BOOSTER_INIT)) {
            let unclear = |problem| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("its {BOOSTER_INIT} cannot be read: {problem}"),
                )
            };
            image.booster = Some(InitConfig::parse(&text).map_err(unclear)?);
        }
        let kernel = image.booster.as_ref().map(|init| init.kernel.clone());
        for releases in image.modules.values_mut() {
            if releases.remove("") {
                releases.extend(kernel.clone());
            }
        }
        image.modules.retain(|_, releases| !releases.is_empty());
        Ok(image)
    }

    /// One of several names of a file; the content stands at one of them (`init/initramfs.c`, `maybe_link`).
    fn hard_link(&mut self, entry: &Entry, path: PathBuf, bytes: Vec<u8>) {
        let links = self.links.entry(entry.inode).or_default();
        links.names.push(path);
        if !bytes.is_empty() || links.content.is_none() {
            links.content = Some(bytes);
        }
        let content = links.content.clone().unwrap_or_default();
        for name in links.names.iter().filter(|name| is_kept(name)) {
            self.image.root.unpack_file(name, content.clone());
        }
    }

    fn content(&mut self, entry: &Entry, content: &mut Archive<'_>) -> io::Result<Vec<u8>> {
        if entry.size > MAX_KEPT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is too large a link", entry.name),
            ));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        self.count(entry.name.len() + bytes.len())?;
        Ok(bytes)
    }

    fn count(&mut self, more: usize) -> io::Result<()> {
        self.kept += more;
        if self.kept > MAX_ALL {
            let what = format!(
                "its configuration and the names of its modules are larger than {} MiB",
                MAX_ALL >> 20
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        Ok(())
    }
}

/// A name as the kernel resolves it while its root is all there is.
fn absolute(name: &str) -> PathBuf {
    let mut path = PathBuf::from("/");
    for part in Path::new(name).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path
}

#[cfg(test)]
mod tests;
