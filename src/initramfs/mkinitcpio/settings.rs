//! What one image is built from: `/etc/mkinitcpio.conf` or the preset's own, then the drop-ins.

use std::path::{Path, PathBuf};

use super::preset::Build;
use super::{CONF, CONF_D, DROP_IN, MODPROBE, modules_line};
use crate::formats::bash_variables::{Value, Variables};
use crate::formats::glob;
use crate::host::{HostError, ReadHost};
use crate::initramfs::{Needs, conf_d};
use crate::plan::Reason;
use crate::resources::bindings::RULES;
use crate::types::ModuleName;

/// Why it cannot be told what an image is built from.
#[derive(Debug)]
pub(super) enum Unclear {
    /// The host did not answer.
    Host(HostError),
    /// It is not certain, or not as needed: why, and what to do.
    Refused(Box<Reason>, String),
}

impl From<HostError> for Unclear {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// Follows one file's assignments.
pub(super) fn source(host: &dyn ReadHost, path: &Path, variables: &mut Variables) -> Result<(), Unclear> {
    let text = host.text(path)?.unwrap_or_default();
    variables.source(&text).map_err(|doubt| {
        let at = format!("{}:{}", path.display(), doubt.line);
        let text = format!("{doubt}: what mkinitcpio makes of it is not certain");
        let remedy = format!("write {} as plain assignments (MODULES=(...), HOOKS=(...))", path.display());
        Unclear::Refused(Box::new(Reason::new("generator-uncertain", text).at(at)), remedy)
    })
}

/// What the files together say.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    variables: Variables,
    hooks: Vec<String>,
    /// Whether our drop-in finds a list that is a text: mkinitcpio splits it only where it is one in the end.
    pub(super) finds_text: bool,
    /// Whether our drop-in's `FILES` still stand.
    our_files: bool,
    /// The last file that is read and not ours.
    pub(super) last: PathBuf,
}

impl Settings {
    /// Reads them as mkinitcpio does; `ours` is what our drop-in says, in its place.
    pub(super) fn read(host: &dyn ReadHost, build: &Build, ours: Option<Needs>) -> Result<Self, Unclear> {
        let mut variables = Variables::default();
        let mut last =
            build.config.as_ref().map_or_else(|| PathBuf::from(CONF), |(config, _)| config.clone());
        source(host, &last, &mut variables)?;
        let (mut our_files, mut finds_text) = (false, false);
        if build.reads_drop_ins {
            let own = Path::new(DROP_IN);
            let mut files = conf_d(host, &[CONF_D], ".conf")?;
            files.retain(|file| file != own);
            files.insert(files.partition_point(|file| file.as_path() < own), own.to_owned());
            for file in files {
                if file == own {
                    let is_text = |name| matches!(variables.get(name), Some(Value::Text(_)));
                    finds_text = is_text("MODULES") || is_text("FILES");
                    if let Some(ours) = ours {
                        // Of a line of ours there is no doubt.
                        let _literal = variables.source(&modules_line(ours, finds_text));
                    }
                    our_files = ours.is_some_and(|ours| ours.files || ours.vfio_pci);
                    continue;
                }
                let before = variables.words("FILES").len();
                source(host, &file, &mut variables)?;
                our_files &= variables.words("FILES").len() >= before;
                last = file;
            }
        }
        let mut hooks: Vec<String> = variables.words("HOOKS").into_iter().map(str::to_owned).collect();
        hooks.extend(build.added.iter().cloned());
        hooks.retain(|hook| !build.skipped.contains(hook));
        Ok(Self { variables, hooks, finds_text, our_files, last })
    }

    /// The modules that are loaded first.
    pub(super) fn modules(&self) -> impl Iterator<Item = ModuleName> {
        let words = self.variables.words("MODULES").into_iter();
        // Behind a question mark it may be missing.
        words.flat_map(str::split_ascii_whitespace).filter_map(|name| name.trim_end_matches('?').parse().ok())
    }

    /// Whether a file of the host is copied.
    pub(super) fn copies(&self, path: &str) -> bool {
        let by_hook = glob::matches(MODPROBE, path) && self.hooks.iter().any(|hook| hook == "modconf");
        let by_ours = self.our_files && (path == RULES || glob::matches(MODPROBE, path));
        let files = self.variables.words("FILES").into_iter();
        by_hook
            || by_ours
            || files.flat_map(str::split_ascii_whitespace).any(|file| glob::matches(file, path))
    }

    /// What the image would not get; `None` where it gets it all.
    pub(super) fn lacking(
        &self,
        host: &dyn ReadHost,
        needs: Needs,
    ) -> Result<Option<Vec<String>>, HostError> {
        let mut lacking = Vec::new();
        if needs.vfio_pci && !self.modules().any(|module| module.as_str() == "vfio_pci") {
            lacking.push("vfio_pci out of MODULES".to_owned());
        }
        if needs.files && !self.copies("/etc/modprobe.d/zz-reconcile.conf") {
            lacking.push(format!("{MODPROBE} out of the image"));
        }
        if needs.files && host.exists(Path::new(RULES))? && !self.copies(RULES) {
            lacking.push(format!("{RULES} out of the image"));
        }
        Ok((!lacking.is_empty()).then_some(lacking))
    }
}
