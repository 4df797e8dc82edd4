//! What the shell, GRUB's lexer and the kernel together make of the files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::OWN_DROP_IN;
use crate::boot::{Given, Persisted, Sources};
use crate::formats::grub_script::{self, Passed};
use crate::formats::shell::{self, Char, Doubt, Environment, Source};
use crate::plan::Reason;
use crate::resources::HEADER;

pub(super) const LINUX: &str = "GRUB_CMDLINE_LINUX";
pub(super) const LINUX_DEFAULT: &str = "GRUB_CMDLINE_LINUX_DEFAULT";

/// Variables that grub-mkconfig or its environment has set before it sources the files, with values that a file
/// cannot know (grub-mkconfig of GRUB 2.06 and 2.12; sh(1)).
const UNKNOWN: &[&str] = &[
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
const FIXED: &[&str] = &["IFS", "grub_mkconfig_dir", "sysconfdir"];

/// Whether a file of our name is somebody else's: it has content and not our header.
pub(super) fn is_foreign(content: &[u8]) -> bool {
    !content.is_empty() && !content.starts_with(HEADER.as_bytes())
}

/// The files' paths and bytes, in the order in which they are sourced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
}

impl Files {
    pub(super) fn of(sources: &Sources) -> Self {
        let files = sources.files.iter();
        let content = files.map(|(path, state)| (path.clone(), state.bytes().unwrap_or_default().to_vec()));
        Self { files: content.collect() }
    }

    /// The same files with another drop-in of ours, or none.
    pub(super) fn with_own(&self, content: Option<Vec<u8>>) -> Self {
        let own = Path::new(OWN_DROP_IN);
        let mut files: Vec<_> = self.files.iter().filter(|(path, _)| path != own).cloned().collect();
        if let Some(content) = content {
            let at =
                files.iter().position(|(path, _)| path.starts_with(super::DROP_INS) && path.as_path() > own);
            files.insert(at.unwrap_or(files.len()), (own.to_owned(), content));
        }
        Self { files }
    }

    fn own_index(&self) -> Option<usize> {
        self.files.iter().position(|(path, bytes)| path == Path::new(OWN_DROP_IN) && !is_foreign(bytes))
    }

    pub(super) fn environment(&self) -> Environment {
        let names: Vec<String> = self.files.iter().map(|(path, _)| path.display().to_string()).collect();
        let sources: Vec<Source<'_>> =
            names.iter().zip(&self.files).map(|(name, (_, bytes))| Source { name, bytes }).collect();
        shell::evaluate(&sources, UNKNOWN, FIXED)
    }

    /// File and line of a byte.
    pub(super) fn place(&self, file: usize, at: usize) -> String {
        self.files.get(file).map_or_else(String::new, |(path, bytes)| {
            let line = 1 + bytes.iter().take(at).filter(|&&byte| byte == b'\n').count();
            format!("{}:{line}", path.display())
        })
    }
}

/// The arguments that one set of files gives.
#[derive(Debug)]
pub(super) struct Effective {
    pub(super) environment: Environment,
    /// The text that `10_linux` writes; a blank stands between the two variables.
    text: Vec<u8>,
    origins: Vec<Option<Char>>,
    /// Where `GRUB_CMDLINE_LINUX_DEFAULT` begins in it.
    default_at: usize,
    pub(super) passed: Vec<Passed>,
    places: Vec<String>,
    own: Option<usize>,
}

impl Effective {
    /// # Errors
    /// The chain of reasons, where the arguments cannot be told.
    pub(super) fn of(files: &Files) -> Result<Self, Vec<Reason>> {
        let environment = files.environment();
        let mut origins: Vec<Option<Char>> = Vec::new();
        let mut default_at = 0;
        for name in [LINUX, LINUX_DEFAULT] {
            let chars = environment.get(name).map_err(|doubt| uncertain(name, doubt))?;
            if name == LINUX_DEFAULT {
                origins.push(None);
                default_at = origins.len();
            }
            origins.extend(chars.iter().cloned().map(Some));
        }
        let text: Vec<u8> = origins.iter().map(|char| char.as_ref().map_or(b' ', |char| char.byte)).collect();
        let passed = grub_script::passed(&text).map_err(|error| {
            let char = origins.get(error.at).or(origins.last()).and_then(Option::as_ref);
            let name = if error.at < default_at { LINUX } else { LINUX_DEFAULT };
            let place = char.map(|char| files.place(char.file, char.span.start));
            let reason = Reason::new("arguments-unreadable", format!("in the value of {name}, {error}"));
            vec![place.map_or_else(|| reason.clone(), |place| reason.clone().at(place))]
        })?;
        let place = |passed: &Passed| {
            let chars = origins.get(passed.span.clone()).unwrap_or_default();
            let char = chars.iter().flatten().next();
            char.map(|char| files.place(char.file, char.span.start)).unwrap_or_default()
        };
        let places = passed.iter().map(place).collect();
        let own = files.own_index();
        Ok(Self { environment, text, origins, default_at, passed, places, own })
    }

    /// What the files give; without our own drop-in where that is what cannot be read, because it is ours to write
    /// anew.
    ///
    /// # Errors
    /// The chain of reasons, where the arguments cannot be told.
    pub(super) fn told(files: &Files) -> Result<Self, Vec<Reason>> {
        Self::of(files).or_else(|reasons| {
            let others = files.own_index().map(|_| Self::of(&files.with_own(None)));
            others.and_then(Result::ok).ok_or(reasons)
        })
    }

    /// The bytes of `GRUB_CMDLINE_LINUX`.
    pub(super) fn linux(&self) -> &[u8] {
        self.text.get(..self.default_at.saturating_sub(1)).unwrap_or_default()
    }

    /// The bytes of `GRUB_CMDLINE_LINUX_DEFAULT`.
    pub(super) fn linux_default(&self) -> &[u8] {
        self.text.get(self.default_at..).unwrap_or_default()
    }

    /// Whether an argument stands in `GRUB_CMDLINE_LINUX`.
    pub(super) fn is_in_linux(&self, passed: &Passed) -> bool {
        passed.span.start < self.default_at
    }

    pub(super) fn is_ours(&self, passed: &Passed) -> bool {
        let chars = self.origins.get(passed.span.clone()).unwrap_or_default();
        self.own.is_some() && chars.iter().flatten().any(|char| Some(char.file) == self.own)
    }

    pub(super) fn place_of(&self, index: usize) -> &str {
        self.places.get(index).map_or("", String::as_str)
    }

    /// The value's bytes that an argument was written as.
    pub(super) fn chars(&self, span: Range<usize>) -> &[Option<Char>] {
        self.origins.get(span).unwrap_or_default()
    }

    pub(super) fn persisted(&self) -> Persisted {
        let given = self.passed.iter().zip(&self.places).map(|(passed, place)| Given {
            arg: passed.arg.clone(),
            at: place.clone(),
            ours: self.is_ours(passed),
            opaque: passed.opaque,
        });
        Persisted { given: given.collect(), length: self.text.len() }
    }
}

fn uncertain(name: &str, doubt: &Doubt) -> Vec<Reason> {
    vec![
        Reason::new(
            "arguments-uncertain",
            format!("what {name} holds cannot be told without running a file"),
        ),
        Reason::new("shell-uncertain", doubt.why.clone())
            .at(&doubt.site)
            .remedy("write the value as a plain assignment, NAME=\"…\""),
    ]
}
