//! Kernel arguments in variables of shell files, which a program sources before it writes a menu: what the variables
//! hold, and how they come to hold something else.

mod append;
mod edits;
mod effective;

use std::path::{Path, PathBuf};

pub(super) use edits::edits;
pub(super) use effective::{Effective, Files};

use super::Sources;
use crate::formats::cmdline;
use crate::formats::grub_script::{self, LexError, Passed};
use crate::host::{HostError, ReadHost};
use crate::plan::{FileState, Reason};
use crate::types::KernelArg;

/// Who reads the words of a value before the kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// GRUB's script language.
    Grub,
    /// Nobody: the kernel gets the text as it stands.
    Kernel,
    /// U-Boot, which replaces `${NAME}` (`cli_simple_process_macros`).
    UBoot,
}

impl Words {
    /// What the kernel is passed.
    ///
    /// # Errors
    /// When GRUB cannot read the text.
    pub(super) fn passed(self, text: &[u8]) -> Result<Vec<Passed>, LexError> {
        let plain = || {
            let tokens = cmdline::tokens(text).into_iter();
            tokens.map(|token| {
                let written = text.get(token.span.clone()).unwrap_or_default();
                let macros =
                    written.windows(2).any(|pair| matches!(pair, b"${" | b"$(")) || written.contains(&b'\\');
                Passed { opaque: self == Self::UBoot && macros, arg: token.arg, span: token.span }
            })
        };
        match self {
            Self::Grub => grub_script::passed(text),
            Self::Kernel | Self::UBoot => Ok(plain().collect()),
        }
    }

    /// The text that is read as this argument.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn quote(self, arg: &KernelArg) -> Result<String, String> {
        let text = match self {
            Self::Grub => return grub_script::quote(arg).map_err(|error| error.to_string()),
            Self::Kernel | Self::UBoot => arg.to_string(),
        };
        let blank = text.contains("  ") || text.contains(['\t', '\u{b}', '\u{c}']);
        if blank {
            Err(format!("{arg} has blanks in it that programs on its way squeeze into one"))
        } else if self == Self::UBoot && text.contains(['$', '\\']) {
            Err(format!("U-Boot cannot pass {arg}: it takes dollar signs and backslashes for its own"))
        } else {
            Ok(text)
        }
    }

    /// Why the argument cannot be passed at all.
    pub(super) fn unpassable(self, arg: &KernelArg) -> Option<Reason> {
        let why = self.quote(arg).err()?;
        Some(Reason::new("argument-unpassable", why).remedy(match self {
            Self::Grub => "choose a value without quotes and backslashes",
            Self::Kernel => "choose a value without tabs and runs of blanks",
            Self::UBoot => "choose a value without dollar signs, backslashes and runs of blanks",
        }))
    }
}

/// A directory of files that are sourced after the first one.
#[derive(Debug, Clone, Copy)]
pub(super) struct DropIns {
    pub(super) directory: &'static str,
    pub(super) suffix: &'static str,
}

/// Which files are sourced, and which of their variables make the command line.
#[derive(Debug)]
pub(super) struct Layout {
    /// Sourced first.
    pub(super) defaults: &'static str,
    /// Sourced next, in the order of the shell's glob.
    pub(super) drop_ins: &'static [DropIns],
    /// Our own file among the last of them; `None` where arguments are added to the files of others.
    pub(super) own: Option<&'static str>,
    /// Their values, joined by blanks, are the command line.
    pub(super) variables: &'static [&'static str],
    /// What arguments are added to: the first that is set, else the first.
    pub(super) extends: &'static [&'static str],
    /// Who reads the words.
    pub(super) words: Words,
    /// What the program or its environment has set before, with values that a file cannot know.
    pub(super) unknown: &'static [&'static str],
    /// What a file must not change, because the program finds its files by it.
    pub(super) fixed: &'static [&'static str],
}

impl Layout {
    /// Reads the files.
    ///
    /// # Errors
    /// When the host does not answer.
    pub(super) fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let mut sources = Sources::default();
        let own = self.own.map(PathBuf::from);
        let defaults = PathBuf::from(self.defaults);
        // The programs test `-f`, and `-e` for drop-ins: links count if they lead somewhere.
        if host.read(&defaults)?.is_some() {
            let state = host.file_state(&defaults)?;
            sources.files.push((defaults, state));
        }
        for DropIns { directory, suffix } in self.drop_ins {
            let mut names = host.list(Path::new(directory))?.unwrap_or_default();
            names.retain(|name| name.ends_with(suffix) && !name.starts_with('.'));
            names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
            for name in names {
                let path = Path::new(directory).join(name);
                let state = host.file_state(&path)?;
                if Some(&path) == own.as_ref() {
                    sources.own = Some((path.clone(), state.clone()));
                }
                if state != FileState::Absent {
                    sources.files.push((path, state));
                }
            }
        }
        if let (Some(own), None) = (own, &sources.own) {
            sources.own = Some((own, FileState::Absent));
        }
        Ok(sources)
    }

    /// Whether the file lies in a directory that is sourced after the first file.
    fn is_drop_in(&self, path: &Path) -> bool {
        self.drop_ins.iter().any(|drop_ins| path.starts_with(drop_ins.directory))
    }
}
