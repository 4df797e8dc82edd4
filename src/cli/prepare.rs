//! What every verb that looks at a host begins with: the document, the machine, the memory.

use std::path::Path;

use super::{Common, Output};
use crate::document::{self, Document};
use crate::engine::{Memory, Scope, Selection, memory_lost};
use crate::host::documents::read_documents;
use crate::host::{Machine, Reach, load_memory};
use crate::plan::Warning;
use crate::report::{ExitStatus, chain};

/// A checked document and the host that it is about.
pub(super) struct Prepared {
    pub(super) document: Document,
    pub(super) warnings: Vec<Warning>,
    pub(super) machine: Machine,
    pub(super) memory: Memory,
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
pub(super) fn read_document(
    common: &Common,
    output: &Output,
) -> Result<(Document, Vec<Warning>), ExitStatus> {
    let read = read_documents(&common.config, common.root.as_deref());
    match document::load_all(&read.sources, read.errors) {
        Ok(loaded) => Ok((loaded.document, loaded.warnings)),
        Err(errors) => Err(output.refuse_document(&errors)),
    }
}

impl Prepared {
    /// Reads the memory, which completes what a run begins with.
    pub(super) fn new(
        (document, mut warnings): (Document, Vec<Warning>),
        machine: Machine,
        output: &Output,
    ) -> Result<Self, ExitStatus> {
        let memory = load_memory(&machine).map_err(|error| {
            let remedy = error.remedy().map_or(String::new(), |remedy| format!(" ({remedy})"));
            output.fail(ExitStatus::Failed, &format!("{}{remedy}", chain(&error)))
        })?;
        warnings.extend(memory_lost(&machine, &memory));
        Ok(Self { document, warnings, machine, memory })
    }
}

/// Document, host and memory.
pub(super) fn prepare(common: &Common, output: &Output) -> Result<Prepared, ExitStatus> {
    let read = read_document(common, output)?;
    Prepared::new(read, open_host(common, output)?, output)
}

/// What the flags select.
pub(super) fn selection(common: &Common, scope: Scope) -> Selection {
    Selection { scope, only: common.only.iter().cloned().collect() }
}
