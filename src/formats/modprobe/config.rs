//! What all files and the kernel command line together amount to, with the place of every entry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Content, Directive, Dropped, Softdep, cmdline, lines, split_arguments};
use crate::formats::glob;
use crate::types::ModuleName;

/// Where an entry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file as kmod names it.
        path: Arc<Path>,
        /// The physical line that the entry begins on, from 1.
        line: u32,
    },
    /// The kernel command line.
    KernelCommandLine,
}

impl Origin {
    /// The file; `None` for the kernel command line.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::KernelCommandLine => None,
        }
    }

    /// Whether the entry is there again after a reboot as far as modprobe.d tells: neither /run nor the running
    /// kernel's command line are.
    pub fn is_persistent(&self) -> bool {
        self.file().is_some_and(|path| !path.starts_with("/run"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::KernelCommandLine => f.write_str("/proc/cmdline"),
        }
    }
}

/// A file to be read into a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOfConfig {
    /// Its path.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// One module option and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The parameter, with underscores.
    pub parameter: String,
    /// Its value; `None` for a bare name.
    pub value: Option<String>,
    /// Where it is set.
    pub origin: &'a Origin,
}

/// The effective configuration: every entry in the order in which kmod holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    entries: Vec<(Origin, Directive)>,
    dropped: Vec<(Origin, Dropped)>,
}

impl Config {
    /// Reads `files`, given in any order but each name only once, and the kernel command line, which comes last.
    pub fn new(mut files: Vec<FileOfConfig>, kernel_command_line: Option<&[u8]>) -> Self {
        let name = |file: &FileOfConfig| file.path.file_name().map(std::ffi::OsStr::to_os_string);
        files.sort_by_cached_key(name);
        let mut config = Self::default();
        for file in &files {
            let path: Arc<Path> = Arc::from(file.path.as_path());
            for line in lines(&file.bytes) {
                let origin = Origin::File { path: Arc::clone(&path), line: line.number };
                match line.content {
                    Content::Blank | Content::Comment => {}
                    Content::Directive(directive) => config.entries.push((origin, directive)),
                    Content::Dropped(why) => config.dropped.push((origin, why)),
                }
            }
        }
        let from_kernel = kernel_command_line.map(cmdline::directives).unwrap_or_default();
        config.entries.extend(from_kernel.into_iter().map(|entry| (Origin::KernelCommandLine, entry)));
        config
    }

    /// Every entry, in kmod's order.
    pub fn entries(&self) -> impl Iterator<Item = (&Origin, &Directive)> {
        self.entries.iter().map(|(origin, directive)| (origin, directive))
    }

    /// The lines that kmod drops with an error message.
    pub fn dropped(&self) -> impl Iterator<Item = (&Origin, Dropped)> {
        self.dropped.iter().map(|(origin, why)| (origin, *why))
    }

    /// The same configuration without the entries of one file.
    #[must_use]
    pub fn without(&self, file: &Path) -> Self {
        let keep = |origin: &Origin| origin.file() != Some(file);
        Self {
            entries: self.entries.iter().filter(|(origin, _)| keep(origin)).cloned().collect(),
            dropped: self.dropped.iter().filter(|(origin, _)| keep(origin)).cloned().collect(),
        }
    }

    /// The same configuration as far as a generator copies it into an image: not what is gone after a reboot,
    /// what lies below /usr/local, or what a kernel's own index says.
    #[must_use]
    pub fn copied_into_images(&self) -> Self {
        let keep = |origin: &Origin| {
            let copied = |path: &Path| {
                !path.starts_with("/usr/local")
                    && path.parent().is_some_and(|parent| parent.ends_with("modprobe.d"))
            };
            origin.is_persistent() && origin.file().is_some_and(copied)
        };
        Self {
            entries: self.entries.iter().filter(|(origin, _)| keep(origin)).cloned().collect(),
            dropped: self.dropped.iter().filter(|(origin, _)| keep(origin)).cloned().collect(),
        }
    }

    /// Where `module` is blacklisted.
    pub fn blacklisted(&self, module: &ModuleName) -> impl Iterator<Item = &Origin> {
        self.entries.iter().filter_map(move |(origin, directive)| match directive {
            Directive::Blacklist { module: name } if name == module.as_str() => Some(origin),
            _ => None,
        })
    }

    /// Where `alias MODULE off` is said.
    pub fn switched_off(&self, module: &ModuleName) -> impl Iterator<Item = &Origin> {
        self.entries.iter().filter_map(move |(origin, directive)| match directive {
            Directive::Alias { alias, module: target } => {
                (target == "off" && glob::matches(alias, module.as_str())).then_some(origin)
            }
            _ => None,
        })
    }

    /// The options of `module` in the order in which the kernel gets them: of two values for one parameter, the
    /// later one stays.
    pub fn options(&self, module: &ModuleName) -> impl Iterator<Item = Setting<'_>> {
        let lines = self.entries.iter().filter_map(move |(origin, directive)| match directive {
            Directive::Options { module: name, arguments } if name == module.as_str() => {
                Some((origin, arguments))
            }
            _ => None,
        });
        lines.flat_map(|(origin, arguments)| {
            split_arguments(arguments).into_iter().map(move |argument| Setting {
                parameter: argument.name,
                value: argument.value,
                origin,
            })
        })
    }

    /// The soft dependency of `module` that counts: the first one that matches.
    pub fn softdep(&self, module: &ModuleName) -> Option<(&Origin, &Softdep)> {
        self.entries.iter().find_map(|(origin, directive)| match directive {
            Directive::Softdep(softdep) if glob::matches(&softdep.module, module.as_str()) => {
                Some((origin, softdep))
            }
            _ => None,
        })
    }

    /// The command that replaces loading `module`: the first one that matches counts.
    pub fn install_command(&self, module: &ModuleName) -> Option<(&Origin, &str)> {
        self.entries.iter().find_map(|(origin, directive)| match directive {
            Directive::Install { module: name, command } if glob::matches(name, module.as_str()) => {
                Some((origin, command.trim()))
            }
            _ => None,
        })
    }
}
