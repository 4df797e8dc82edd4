//! Who else sets a module's parameter, and whether it wins: of all settings the last one in kmod's order stays.

use std::ffi::OsStr;
use std::path::Path;

use crate::boot::{self, ChainName, Detection, Given};
use crate::document::Document;
use crate::formats::modprobe::{Config, Origin};
use crate::host::ReadHost;
use crate::types::{Entry, ModuleName};

/// What the document says about `MODULE.PARAMETER` on the kernel command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnCommandLine {
    /// Nothing: it stays as it is.
    Unmanaged,
    /// What is there now is no rival: `kernel_args.absent` takes it away, or it is this very setting where a kernel has
    /// the module built in.
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

/// The arguments that the boot loader's configuration gives, as far as that can be told: the next boot's command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BootArgs(Vec<Given>);

impl BootArgs {
    /// Reads them; none where they cannot be told, which is for `kernel_args` to say.
    pub(crate) fn read(host: &dyn ReadHost, named: Option<&Entry<ChainName>>) -> Self {
        let Ok(Detection::One(chain, _)) = boot::detect(host, named) else { return Self::default() };
        let persisted = chain.sources(host).ok().and_then(|sources| chain.persisted(&sources).ok());
        Self(persisted.map(|persisted| persisted.given().cloned().collect()).unwrap_or_default())
    }

    /// The last `module.parameter` that is not our own; kmod reads them behind a bare `--`, too.
    fn last(&self, module: &ModuleName, parameter: &str) -> Option<Rival> {
        let name = format!("{module}.{parameter}");
        let foreign = self.0.iter().filter(|given| !given.opaque && !given.ours);
        let given = foreign.rev().find(|given| given.arg.is_named(&name))?;
        Some(Rival {
            value: given.arg.value().map(str::to_owned),
            at: given.at.clone(),
            is_persistent: true,
            argument: Some(name),
        })
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
    /// The kernel argument's name, where it is one.
    pub(crate) argument: Option<String>,
}

impl Rival {
    /// How it goes: `what` is the setting in a file.
    pub(crate) fn remedy(&self, what: &str) -> String {
        match &self.argument {
            Some(argument) => format!(
                "take {argument} out of the kernel's command line: kernel_args: {{absent: [{argument}]}}"
            ),
            None => format!("take {what} out of {}", self.at),
        }
    }
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
    /// Reads the settings of `module.parameter` in `others`, the configuration without our file, and in the boot
    /// loader's.
    pub(crate) fn of(
        (others, boot_args): (&Config, &BootArgs),
        module: &ModuleName,
        parameter: &str,
        own: &str,
        on_command_line: &OnCommandLine,
    ) -> Self {
        let own = Path::new(own).file_name();
        let mut rivals = Self::default();
        for setting in others.options(module).filter(|setting| setting.parameter == parameter) {
            let is_persistent = setting.origin.is_persistent();
            let argument = setting.origin.file().is_none().then(|| format!("{module}.{parameter}"));
            let rival =
                Rival { value: setting.value, at: setting.origin.to_string(), is_persistent, argument };
            match setting.origin {
                Origin::KernelCommandLine if *on_command_line != OnCommandLine::Unmanaged => {}
                origin if comes_behind(origin, own) => rivals.winner = Some(rival),
                _ if is_persistent => rivals.overridden = Some(rival),
                _ => {}
            }
        }
        match on_command_line {
            OnCommandLine::Present(value) => {
                let at = "kernel_args of the document".to_owned();
                let value = value.clone();
                rivals.winner = Some(Rival { value, at, is_persistent: true, argument: None });
            }
            OnCommandLine::Unmanaged => {
                rivals.winner = boot_args.last(module, parameter).or(rivals.winner);
            }
            OnCommandLine::Absent => {}
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
