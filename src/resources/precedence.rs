//! Who else sets a module's parameter, and whether it wins: of all settings the last one in kmod's order stays.

use std::ffi::OsStr;
use std::path::Path;

use crate::document::Document;
use crate::formats::modprobe::{Config, Origin};
use crate::types::ModuleName;

/// What the document says about `MODULE.PARAMETER` on the kernel command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnCommandLine {
    /// Nothing: it stays as it is.
    Unmanaged,
    /// `kernel_args.absent` takes it away.
    Absent,
    /// `kernel_args.present` gives it this value.
    Present(Option<String>),
}

impl OnCommandLine {
    /// Looks `module.parameter` up in `kernel_args`.
    pub(crate) fn of(document: &Document, module: &ModuleName, parameter: &str) -> Self {
        let Some(args) = &document.kernel_args else { return Self::Unmanaged };
        let name = format!("{module}.{parameter}").replace('-', "_");
        let present = args.present.iter().rev().find(|entry| entry.value.name().replace('-', "_") == name);
        if let Some(entry) = present {
            return Self::Present(entry.value.value().map(str::to_owned));
        }
        let absent = args.absent.iter().any(|entry| entry.value.name().replace('-', "_") == name);
        if absent { Self::Absent } else { Self::Unmanaged }
    }
}

/// Somebody else's setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rival {
    /// Its value.
    pub(crate) value: Option<String>,
    /// File and line, or the kernel command line.
    pub(crate) at: String,
    /// Whether it is there again after a reboot.
    pub(crate) is_persistent: bool,
}

/// The settings of others around our own file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rivals {
    /// What stands without us: the last setting before our file, those of /run left out.
    pub(crate) overridden: Option<Rival>,
    /// What beats ours: the last setting behind our file.
    pub(crate) winner: Option<Rival>,
}

impl Rivals {
    /// Reads the settings of `module.parameter` in `others`, the configuration without our file.
    pub(crate) fn of(
        others: &Config,
        module: &ModuleName,
        parameter: &str,
        own: &str,
        on_command_line: &OnCommandLine,
    ) -> Self {
        let own = Path::new(own).file_name();
        let mut rivals = Self::default();
        for setting in others.options(module).filter(|setting| setting.parameter == parameter) {
            let is_persistent = setting.origin.is_persistent();
            let rival = Rival { value: setting.value, at: setting.origin.to_string(), is_persistent };
            match setting.origin {
                Origin::KernelCommandLine if *on_command_line != OnCommandLine::Unmanaged => {}
                origin if comes_behind(origin, own) => rivals.winner = Some(rival),
                _ if is_persistent => rivals.overridden = Some(rival),
                _ => {}
            }
        }
        if let OnCommandLine::Present(value) = on_command_line {
            let at = "kernel_args of the document".to_owned();
            rivals.winner = Some(Rival { value: value.clone(), at, is_persistent: true });
        }
        rivals
    }

    /// The setting that stands after a reboot without our file, if it is a lasting one.
    pub(crate) fn lasting(&self) -> Option<&Rival> {
        self.winner.as_ref().filter(|winner| winner.is_persistent).or(self.overridden.as_ref())
    }
}

/// Whether kmod reads `origin` behind a file of the name `own`.
pub(crate) fn comes_behind(origin: &Origin, own: Option<&OsStr>) -> bool {
    origin.file().is_none_or(|path| path.file_name() > own)
}
