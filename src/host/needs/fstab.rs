//! What the next boot mounts, swaps to or unlocks: fstab(5), crypttab(5).

use std::path::Path;

use super::Scope;
use super::graph::{Carrier, Graph, Thing, carriers};
use super::mounts::unescaped;
use super::storage::{because_of, file_system};
use crate::plan::{Because, Reason};

const FSTAB: &str = "/etc/fstab";
const CRYPTTAB: &str = "/etc/crypttab";

pub(super) fn add(graph: &mut Graph<'_>) {
    for (number, fields) in lines(graph, FSTAB) {
        let [source, point, kind, rest @ ..] = fields.as_slice() else { continue };
        let options = rest.first().map(String::as_str).unwrap_or_default();
        if is_manual(options) || graph.mounts.iter().any(|mount| mount.point == *point) {
            continue;
        }
        let (because, text) = match kind.as_str() {
            "swap" => (Because::Swap, format!("the next boot swaps to {source}")),
            _ => (because_of(point), format!("the next boot mounts {source} on {point}")),
        };
        let by = if matches!(kind.as_str(), "swap" | "auto") { Vec::new() } else { file_system(kind, point) };
        let head = Reason::new("fstab", text).at(format!("{FSTAB}:{number}"));
        need_named(graph, because, head.remedy(format!("take the line out of {FSTAB}")), source, by);
    }
    for (number, fields) in lines(graph, CRYPTTAB) {
        let [name, source, rest @ ..] = fields.as_slice() else { continue };
        if !is_manual(rest.get(1).map(String::as_str).unwrap_or_default()) {
            let text = format!("the next boot unlocks {source} as {name}");
            let head = Reason::new("crypttab", text).at(format!("{CRYPTTAB}:{number}"));
            let head = head.remedy(format!("take the line out of {CRYPTTAB}"));
            let by = carriers(&["dm_crypt", "dm_mod"], &format!("the encrypted volume {name}"));
            need_named(graph, Because::Storage, head, source, by);
        }
    }
}

/// Walks down from the device that a line names, unless it is needed already.
pub(super) fn need_named(
    graph: &mut Graph<'_>,
    because: Because,
    head: Reason,
    source: &str,
    by: Vec<Carrier>,
) {
    let named = graph.block_named(source);
    // A device that is not there is behind no function.
    let Some(name) = graph.known(Scope::Storage, named) else { return };
    let thing = Thing::Block(name);
    if !graph.reached.contains(&thing) {
        graph.need_by(because, head, vec![thing], by);
    }
}

/// The lines of a table with their numbers, as fields.
fn lines(graph: &mut Graph<'_>, path: &str) -> Vec<(usize, Vec<String>)> {
    let text = graph.host.text(Path::new(path));
    let text = graph.known(Scope::Storage, text).unwrap_or_default();
    let fields = |line: &str| line.split_whitespace().map(unescaped).collect::<Vec<String>>();
    let numbered = (1..).zip(text.lines());
    numbered
        .filter(|(_, line)| !line.trim_start().starts_with('#'))
        .map(|(number, line)| (number, fields(line)))
        .collect()
}

/// Whether only a person uses the entry.
fn is_manual(options: &str) -> bool {
    options.split(',').any(|option| option == "noauto")
}
