//! zipl, on s390x: `parameters=` in the sections of `/etc/zipl.conf`, or loader entries where it names none. What the machine
//! boots is in a record that only zipl writes, so it has to run after every change.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::esp::{System, entries_in};
use super::kernel_cmdline::CMDLINE;
use super::lines::{Form, Held, Holder, options, whole};
use super::loader_entries::{edits_of, persisted_of};
use super::shell_files::Words;
use super::{BootChain, Edits, Evidence, Judged, MenuEntry, Persisted, Sources, Weight, Wish, sd_boot};
use crate::engine::Means;
use crate::formats::cmdline::CommandLine;
use crate::host::{HostError, ReadHost};
use crate::plan::{FileState, Objection, Reason};
use crate::types::KernelArg;

const CONF: &str = "/etc/zipl.conf";
const ENTRIES: &str = "/boot/loader/entries";

const CONF_FORM: Form = Form { read: parameters, words: Words::Kernel };
const ENTRY_FORM: Form = Form { read: options, words: Words::Kernel };
const CMDLINE_FORM: Form = Form { read: whole, words: Words::Kernel };

/// zipl.
#[derive(Debug, Clone, Copy)]
pub struct Zipl;

/// A section that loads a kernel.
struct Section {
    name: String,
    image: Option<String>,
    parameters: Option<Range<usize>>,
    parmfile: bool,
    line: usize,
}

/// The sections (zipl.conf(5)): `[name]`, or `:menu`, then `keyword = value`, a value perhaps in quotes.
fn sections(text: &[u8]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
        let blank = |byte: &u8| byte.is_ascii_whitespace();
        let from = start + line.iter().take_while(|byte| blank(byte)).count();
        let to = (start + line.len() - line.iter().rev().take_while(|byte| blank(byte)).count()).max(from);
        start += line.len();
        let content = String::from_utf8_lossy(text.get(from..to).unwrap_or_default()).into_owned();
        let new = |name: &str| Section {
            name: name.to_owned(),
            image: None,
            parameters: None,
            parmfile: false,
            line: number,
        };
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            sections.push(new(name.trim()));
        } else if let Some(name) = content.strip_prefix(':') {
            sections.push(new(name.trim()));
        } else if let (Some((keyword, value)), Some(section)) = (content.split_once('='), sections.last_mut())
        {
            let from = to - value.trim_start().len();
            let range = unquoted(text, from..to);
            let shown = || {
                let range = range.clone().unwrap_or(from..to);
                String::from_utf8_lossy(text.get(range).unwrap_or_default()).into_owned()
            };
            match keyword.trim() {
                "image" => section.image = Some(shown()),
                "parameters" => section.parameters = range,
                "parmfile" => section.parmfile = true,
                _ => {}
            }
        }
    }
    sections
}

/// A value without the quotes around it; `None` where something follows the closing one.
fn unquoted(text: &[u8], value: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.get(value.clone())?;
    let Some(quote) = bytes.first().filter(|byte| matches!(byte, b'"' | b'\'')) else { return Some(value) };
    let inner = bytes.iter().skip(1).position(|byte| byte == quote)?;
    (inner + 2 == bytes.len()).then_some(value.start + 1..value.end - 1)
}

/// The `parameters` of every section that has some.
fn parameters(text: &[u8]) -> Vec<Held> {
    let values = sections(text).into_iter().filter(|section| section.image.is_some());
    let pieces = values.filter_map(|section| section.parameters);
    pieces.map(|piece| Held { new: (piece.start, "", ""), pieces: vec![piece] }).collect()
}

fn holders(sources: &Sources) -> Vec<Holder<'_>> {
    let form = |path: &Path| {
        if path == Path::new(CONF) {
            CONF_FORM
        } else if path == Path::new(CMDLINE) {
            CMDLINE_FORM
        } else {
            ENTRY_FORM
        }
    };
    sources.files.iter().filter_map(|(path, _)| Holder::of(sources, path, form(path))).collect()
}

impl BootChain for Zipl {
    fn key(&self) -> &'static str {
        "zipl"
    }

    fn evidence(&self, host: &dyn ReadHost) -> Result<Vec<Evidence>, HostError> {
        if !host.exists(Path::new(CONF))? {
            return Ok(Vec::new());
        }
        let mut found = vec![Evidence::new(CONF, "configures the s390 boot loader")];
        let processor = host.text(Path::new("/proc/cpuinfo"))?.unwrap_or_default();
        if processor.contains("IBM/S390") {
            found.push(
                Evidence::new("/proc/cpuinfo", "says IBM/S390, which zipl boots").weighing(Weight::InCharge),
            );
        }
        Ok(found)
    }

    fn sources(&self, host: &dyn ReadHost) -> Result<Sources, HostError> {
        let mut sources = Sources::default();
        let conf = host.file_state(Path::new(CONF))?;
        let sections = sections(conf.bytes().unwrap_or_default());
        let kernels: Vec<&Section> = sections.iter().filter(|section| section.image.is_some()).collect();
        if let Some(section) = kernels.iter().find(|section| section.parmfile || section.parameters.is_none())
        {
            let text = format!(
                "section {} has no parameters= of its own, and a file of parameters is not edited",
                section.name
            );
            let reason = Reason::new("parameters-missing", text).at(format!("{CONF}:{}", section.line));
            return Ok(Sources::refused(vec![reason.remedy("write parameters=\"…\" into the section")]));
        }
        if !kernels.is_empty() {
            sources.files.push((PathBuf::from(CONF), conf));
            return Ok(sources);
        }
        let cmdline = host.file_state(Path::new(CMDLINE))?;
        if cmdline != FileState::Absent {
            sources.files.push((PathBuf::from(CMDLINE), cmdline));
        }
        let system = System::read(host)?;
        let entries = entries_in(host, Path::new(ENTRIES))?;
        let ours: Vec<_> = entries.into_iter().filter(|entry| entry.exempt(&system).is_none()).collect();
        if ours.is_empty() {
            let text = "zipl.conf names no kernel, and no loader entry boots this system";
            let reason = Reason::new("entries-missing", text).at(CONF);
            return Ok(Sources::refused(vec![reason.remedy("install a kernel")]));
        }
        for entry in ours {
            let state = host.file_state(&entry.path)?;
            sources.files.push((entry.path, state));
        }
        Ok(sources)
    }

    fn persisted(&self, sources: &Sources) -> Result<Persisted, Vec<Reason>> {
        persisted_of(&holders(sources))
    }

    fn edits(&self, sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
        edits_of(&holders(sources), wish)
    }

    fn unpassable(&self, arg: &KernelArg) -> Option<Reason> {
        Words::Kernel.unpassable(arg)
    }

    fn regenerate(&self, _: &dyn ReadHost) -> Result<Means, HostError> {
        Ok(Means::Command(vec!["zipl".to_owned()]))
    }

    fn entries(&self, host: &dyn ReadHost) -> Result<Option<Vec<MenuEntry>>, HostError> {
        let text = host.read(Path::new(CONF))?.unwrap_or_default();
        let kernels = sections(&text).into_iter().filter(|section| section.image.is_some());
        let mut shown: Vec<MenuEntry> = kernels
            .map(|section| {
                let line = section.parameters.and_then(|range| text.get(range)).unwrap_or_default();
                MenuEntry {
                    title: section.name,
                    kernel: section.image.unwrap_or_default(),
                    at: format!("{CONF}:{}", section.line),
                    args: CommandLine::parse(line).args().cloned().collect(),
                    judged: Judged::Ours,
                }
            })
            .collect();
        if shown.is_empty() {
            let system = System::read(host)?;
            let entries = entries_in(host, Path::new(ENTRIES))?;
            shown.extend(entries.iter().map(|entry| {
                sd_boot::shown(entry, entry.exempt(&system).map_or(Judged::Ours, Judged::Exempt))
            }));
        }
        Ok(Some(shown))
    }

    /// The boot record is no file.
    fn predict_regenerated(&self, _: &dyn ReadHost) -> Result<Vec<(PathBuf, Vec<u8>)>, HostError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
