//! Where loader entries are, and whose they are.

use std::path::{Path, PathBuf};

use crate::formats::{cmdline, loader_entry};
use crate::host::{HostError, ReadHost};
use crate::types::KernelArg;

/// Where the boot partition or the ESP is mounted (kernel-install(8), bootctl(1)).
pub(super) const ROOTS: [&str; 3] = ["/efi", "/boot", "/boot/efi"];

/// A loader entry's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryFile {
    pub(super) path: PathBuf,
    /// The name without `.conf` and boot counter.
    pub(super) id: String,
    pub(super) text: Vec<u8>,
}

impl EntryFile {
    fn value(&self, key: &str) -> Option<String> {
        loader_entry::value(&self.text, key)
    }

    /// Its title, as a menu shows it.
    pub(super) fn title(&self) -> String {
        self.value("title").unwrap_or_else(|| self.id.clone())
    }

    /// The Linux kernel that it loads; `None` where it starts something else.
    pub(super) fn kernel(&self) -> Option<String> {
        self.value("linux")
    }

    /// All `options`, joined.
    pub(super) fn options(&self) -> Vec<u8> {
        let fields = loader_entry::fields(&self.text).into_iter().filter(|field| field.key == "options");
        let values: Vec<&[u8]> = fields.filter_map(|field| self.text.get(field.value)).collect();
        values.join(&b' ')
    }

    /// The line of its first `options`, or of its kernel.
    pub(super) fn place(&self) -> String {
        let fields = loader_entry::fields(&self.text);
        let field = fields
            .iter()
            .find(|field| field.key == "options")
            .or(fields.iter().find(|field| field.key == "linux"));
        let at = field.map_or(0, |field| field.line.start);
        let line = 1 + self.text.iter().take(at).filter(|&&byte| byte == b'\n').count();
        format!("{}:{line}", self.path.display())
    }

    /// Why it need not pass what the document asks for; `None` where it boots this system normally.
    pub(super) fn exempt(&self, system: &System) -> Option<&'static str> {
        let args: Vec<KernelArg> =
            cmdline::tokens(&self.options()).into_iter().map(|token| token.arg).collect();
        let value = |name: &str| args.iter().rev().find(|arg| arg.is_named(name)).and_then(KernelArg::value);
        if self.kernel().is_none() {
            return Some(
                "it starts another boot loader or a unified kernel image, whose command line is its own",
            );
        }
        if self.id.contains("-0-rescue") || self.id.ends_with("-rescue") {
            return Some("it is a rescue entry");
        }
        if args
            .iter()
            .any(|arg| arg.value().is_none() && matches!(arg.name(), "single" | "emergency" | "rescue"))
        {
            return Some("it boots for repairs");
        }
        if let (Some(own), Some(other)) = (&system.machine_id, self.value("machine-id"))
            && *own != other
        {
            return Some("it boots another system: its machine-id is not this one's");
        }
        if let (Some(own), Some(other)) = (&system.root, value("root"))
            && own != other
        {
            return Some("it boots another system: its root= is not this one's");
        }
        None
    }
}

/// What tells this system from another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct System {
    pub(super) machine_id: Option<String>,
    /// Value of the running kernel's `root=`.
    root: Option<String>,
}

impl System {
    /// # Errors
    /// When the host does not answer.
    pub(super) fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let id = host.text(Path::new("/etc/machine-id"))?.map(|text| text.trim().to_owned());
        let line = host.read(Path::new("/proc/cmdline"))?.unwrap_or_default();
        let root = cmdline::tokens(&line).into_iter().rev().find(|token| token.arg.is_named("root"));
        Ok(Self {
            machine_id: id.filter(|id| !id.is_empty() && id != "uninitialized"),
            root: root.and_then(|token| token.arg.value().map(str::to_owned)),
        })
    }
}

/// The directories `loader/entries` that hold entries.
///
/// # Errors
/// When the host does not answer.
pub(super) fn directories(host: &dyn ReadHost) -> Result<Vec<PathBuf>, HostError> {
    let mut found = Vec::new();
    for root in ROOTS {
        let path = Path::new(root).join("loader/entries");
        let names = host.list(&path)?.unwrap_or_default();
        if names.iter().any(|name| loader_entry::id(name).is_some()) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Every entry of a directory, by name.
///
/// # Errors
/// When the host does not answer.
pub(super) fn entries_in(host: &dyn ReadHost, directory: &Path) -> Result<Vec<EntryFile>, HostError> {
    let mut entries = Vec::new();
    for name in host.list(directory)?.unwrap_or_default() {
        let path = directory.join(&name);
        if let (Some(id), Some(text)) = (loader_entry::id(&name), host.read(&path)?) {
            entries.push(EntryFile { path, id: id.to_owned(), text });
        }
    }
    Ok(entries)
}
