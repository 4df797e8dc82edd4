//! What every verb that looks at a host begins with: the document, the machine, the memory.

use std::path::Path;

use super::{Common, Output, recover};
use crate::document::{self, Document, DocumentError, Loaded, Source};
use crate::engine::generations::{Header, Kind};
use crate::engine::{BOOT_ID, Memory, Scope, Selection, memory_lost};
use crate::host::documents::read_documents;
use crate::host::{Machine, Reach, ReadHost as _, load_memory, who};
use crate::plan::Warning;
use crate::report::{ExitStatus, chain};

/// A checked document and the host that it is about.
pub(super) struct Prepared {
    pub(super) document: Document,
    pub(super) sources: Vec<Source>,
    pub(super) warnings: Vec<Warning>,
    pub(super) machine: Machine,
    pub(super) memory: Memory,
}

/// Checked documents, and their texts.
pub(super) struct ReadDocument {
    loaded: Loaded,
    sources: Vec<Source>,
}

/// Opens the host: the running machine, or the tree of `--root`.
pub(super) fn open_host(common: &Common, output: &Output) -> Result<Machine, ExitStatus> {
    let opened = match &common.root {
        None => Machine::open(Path::new("/"), Reach::Machine),
        Some(root) => Machine::open(root, Reach::Tree),
    };
    opened.map_err(|error| {
        let status = if common.root.is_some() { ExitStatus::Usage } else { ExitStatus::Failed };
        output.fail(status, &chain(&error))
    })
}

/// Reads and checks the documents; every problem of all of them is printed.
pub(super) fn read_document(common: &Common, output: &Output) -> Result<ReadDocument, ExitStatus> {
    let read = read_documents(&common.config, common.root.as_deref());
    check_document(read.sources, read.errors, output)
}

/// Checks the documents; every problem of all of them is printed.
pub(super) fn check_document(
    sources: Vec<Source>,
    problems: Vec<DocumentError>,
    output: &Output,
) -> Result<ReadDocument, ExitStatus> {
    match document::load_all(&sources, problems) {
        Ok(loaded) => Ok(ReadDocument { loaded, sources }),
        Err(errors) => Err(output.refuse_document(&errors)),
    }
}

impl Prepared {
    /// Reads the memory, which completes what a run begins with.
    pub(super) fn new(read: ReadDocument, machine: Machine, output: &Output) -> Result<Self, ExitStatus> {
        let ReadDocument { loaded: Loaded { document, mut warnings }, sources } = read;
        let memory = remembered(&machine, output)?;
        warnings.extend(memory_lost(&machine, &memory));
        Ok(Self { document, sources, warnings, machine, memory })
    }
}

/// Reads the memory.
pub(super) fn remembered(machine: &Machine, output: &Output) -> Result<Memory, ExitStatus> {
    load_memory(machine).map_err(|error| {
        let remedy = error.remedy().map_or(String::new(), |remedy| format!(" ({remedy})"));
        output.fail(ExitStatus::Failed, &format!("{}{remedy}", chain(&error)))
    })
}

/// Document, host and memory, for a run that only looks.
pub(super) fn prepare(common: &Common, output: &Output) -> Result<Prepared, ExitStatus> {
    let read = read_document(common, output)?;
    let mut prepared = Prepared::new(read, open_host(common, output)?, output)?;
    prepared.warnings.extend(recover::look(&prepared.machine));
    Ok(prepared)
}

/// The header of a generation that begins now.
pub(super) fn header(kind: Kind, machine: &Machine, sources: &[Source], memory: &Memory) -> Header {
    let sudo_user = std::env::var_os("SUDO_USER").and_then(|user| user.into_string().ok());
    let boot_id = machine.text(Path::new(BOOT_ID)).ok().flatten();
    Header::new(kind, who(sudo_user), boot_id, sources, memory.clone())
}

/// What the flags select.
pub(super) fn selection(common: &Common, scope: Scope) -> Selection {
    Selection { scope, only: common.only.iter().cloned().collect() }
}
