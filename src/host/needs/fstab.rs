//! What the next boot mounts, swaps to or unlocks: fstab(5), crypttab(5).

use std::path::Path;

use super::Scope;
use super::graph::{Graph, Thing};
use super::mounts::unescaped;
use super::storage::because_of;
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
        need_named(graph, because, "fstab", text, source, FSTAB, number);
    }
    for (number, fields) in lines(graph, CRYPTTAB) {
        let [name, source, rest @ ..] = fields.as_slice() else { continue };
        if !is_manual(rest.get(1).map(String::as_str).unwrap_or_default()) {
            let text = format!("the next boot unlocks {source} as {name}");
            need_named(graph, Because::Storage, "crypttab", text, source, CRYPTTAB, number);
        }
    }
}

/// Walks down from the device that a line names, unless it is needed already.
fn need_named(
    graph: &mut Graph<'_>,
    because: Because,
    code: &'static str,
    text: String,
    source: &str,
    file: &str,
    number: usize,
) {
    let named = graph.block_named(source);
    // A device that is not there is behind no function.
    let Some(name) = graph.known(Scope::Storage, named) else { return };
    let thing = Thing::Block(name);
    if !graph.reached.contains(&thing) {
        let head = Reason::new(code, text).at(format!("{file}:{number}"));
        graph.need(because, head.remedy(format!("take the line out of {file}")), vec![thing]);
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
