//! Which functions the running domains of libvirt name, whether or not they have them open at this moment.

use std::path::Path;

use super::Scope;
use super::graph::{Graph, Thing};
use crate::formats::domain_xml::host_functions;
use crate::plan::{Because, Reason};

/// The status of every domain that runs (libvirt, `src/qemu/qemu_domain.c`, `cfg->stateDir`).
const RUNNING: &str = "/run/libvirt/qemu";

pub(super) fn add(graph: &mut Graph<'_>) {
    let names = graph.host.list(Path::new(RUNNING));
    for file in graph.known(Scope::Any, names).unwrap_or_default() {
        let Some(guest) = file.strip_suffix(".xml") else { continue };
        let path = Path::new(RUNNING).join(&file);
        let text = graph.host.text(&path);
        let Some(text) = graph.known(Scope::Any, text) else { continue };
        for function in host_functions(&text) {
            let head = Reason::new("running-guest", format!("the running guest {guest} has {function}"));
            let head = head.at(path.display()).remedy(format!("shut down the guest {guest}"));
            graph.need(Because::Guest, head, vec![Thing::Function(function)]);
        }
    }
}
