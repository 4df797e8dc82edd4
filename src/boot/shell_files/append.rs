//! Arguments added in place: to the value of a variable that somebody else assigns.

use std::path::PathBuf;

use super::Layout;
use super::edits::spelled;
use super::effective::{Effective, Files};
use crate::boot::conform::objection;
use crate::formats::cmdline;
use crate::formats::shell::{Quoting, Script, respell};
use crate::plan::{Objection, Reason};
use crate::types::KernelArg;

/// Adds the arguments at the end of the command line, before a bare `--`, and proves that nothing else changes.
///
/// # Errors
/// When no way of writing them does that.
pub(super) fn append(files: &Files, now: &Effective, added: &[KernelArg]) -> Result<Files, Objection> {
    let layout = files.layout;
    let words = spelled(layout, added)?;
    let ways =
        match now.passed.iter().position(|passed| cmdline::is_terminator(&passed.arg) && !passed.opaque) {
            Some(end) => before_terminator(files, now, end, added).into_iter().collect(),
            None => at_the_end(files, now, &words),
        };
    let proven = ways.into_iter().find(|after| is_exactly(now, after, added));
    proven.ok_or_else(|| {
        let name = target(layout, now);
        let text = format!("there is no place in {name} where it can be added with certainty");
        let reason =
            Reason::new("argument-unaddable", text).remedy("write the value as one plain assignment");
        let reason = match now.environment.assigned(name) {
            Some(site) => reason.at(site),
            None => reason.at(layout.defaults),
        };
        let subject: Vec<String> = added.iter().map(ToString::to_string).collect();
        objection(subject.join(" "), vec![reason], "edit the file by hand")
    })
}

/// The variable that arguments are added to: the first that is set.
fn target(layout: &Layout, now: &Effective) -> &'static str {
    let set = layout.extends.iter().find(|name| now.environment.assigned(name).is_some());
    set.or(layout.extends.first()).copied().unwrap_or_default()
}

fn before_terminator(files: &Files, now: &Effective, end: usize, added: &[KernelArg]) -> Option<Files> {
    let passed = now.passed.get(end)?;
    let first = now.chars(passed.span.clone()).iter().flatten().next()?;
    let words: Result<Vec<String>, String> = added.iter().map(|arg| files.layout.words.quote(arg)).collect();
    let text = format!("{} ", words.ok()?.join(" "));
    let at = first.span.start;
    let mut edited = files.clone();
    let (_, bytes) = edited.files.get_mut(first.file)?;
    *bytes = respell(bytes, std::slice::from_ref(&(at..at)), first.quoting, &text)?;
    Some(edited)
}

/// The ways to add words to the target's value, the most readable first.
fn at_the_end(files: &Files, now: &Effective, words: &str) -> Vec<Files> {
    let name = target(files.layout, now);
    let mut ways = Vec::new();
    let site = now.environment.assigned(name);
    // A vendor's file is not edited.
    let file = site
        .filter(|site| !site.file.starts_with("/usr/"))
        .and_then(|site| files.files.iter().position(|(path, _)| path.display().to_string() == site.file));
    let word = file.and_then(|file| {
        let (_, bytes) = files.files.get(file)?;
        Some((file, Script::parse(bytes).last_assignment(name)?))
    });
    let blank = if now.value(name).is_empty() { "" } else { " " };
    if let Some((file, word)) = word {
        let mut way = |replaced: Option<Vec<u8>>| {
            let mut edited = files.clone();
            if let (Some(bytes), Some((_, slot))) = (replaced, edited.files.get_mut(file)) {
                *slot = bytes;
                ways.push(edited);
            }
        };
        let bytes = files.files.get(file).map_or(&[][..], |(_, bytes)| bytes);
        let value = bytes.get(word.clone()).unwrap_or_default();
        let splice = |from: usize, to: usize, text: &str| {
            let mut spliced = bytes.get(..from)?.to_vec();
            spliced.extend_from_slice(text.as_bytes());
            spliced.extend_from_slice(bytes.get(to..)?);
            Some(spliced)
        };
        match value.last() {
            Some(b'"') => way(splice(word.end - 1, word.end - 1, &format!("{blank}{words}"))),
            Some(b'\'') => {
                let plain = unescaped(words);
                let text = format!("{blank}{plain}");
                let at = word.end - 1;
                way(respell(bytes, std::slice::from_ref(&(at..at)), Quoting::Single, &text));
            }
            _ => {
                // A bare value gets quotes around it.
                if let Ok(value) = std::str::from_utf8(value) {
                    way(splice(word.start, word.end, &format!("\"{value}{blank}{words}\"")));
                }
            }
        }
    }
    ways.push(new_assignment(files, name, words, site.is_some()));
    ways
}

/// The words without what double quotes made necessary.
fn unescaped(words: &str) -> String {
    let mut text = String::new();
    let mut chars = words.chars();
    while let Some(char) = chars.next() {
        text.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    text
}

/// One more assignment at the end of the first file.
fn new_assignment(files: &Files, name: &str, words: &str, is_set: bool) -> Files {
    let mut edited = files.clone();
    let defaults = PathBuf::from(files.layout.defaults);
    let index = edited.files.iter().position(|(path, _)| *path == defaults);
    let index = index.unwrap_or_else(|| {
        edited.files.insert(0, (defaults, Vec::new()));
        0
    });
    if let Some((_, bytes)) = edited.files.get_mut(index) {
        if bytes.last().is_some_and(|last| *last != b'\n') {
            bytes.push(b'\n');
        }
        let before = if is_set { format!("${name} ") } else { String::new() };
        bytes.extend_from_slice(format!("{name}=\"{before}{words}\"\n").as_bytes());
    }
    edited
}

/// Whether the new files give the old arguments with the new ones among them in one piece, and every other variable is
/// as it was.
fn is_exactly(now: &Effective, files: &Files, added: &[KernelArg]) -> bool {
    let Ok(after) = Effective::of(files) else { return false };
    let args: Vec<&KernelArg> = after.passed.iter().map(|passed| &passed.arg).collect();
    let old: Vec<&KernelArg> = now.passed.iter().map(|passed| &passed.arg).collect();
    let is_inserted = (0..=old.len()).any(|at| {
        let (head, tail) = old.split_at(at);
        args.iter().eq(head.iter().chain(&added.iter().collect::<Vec<_>>()).chain(tail))
    });
    let changed = after.environment.names().filter(|name| {
        let bytes = |effective: &Effective| {
            let value = effective.environment.get(name);
            value
                .map(|chars| chars.iter().map(|char| char.byte).collect::<Vec<u8>>())
                .map_err(|doubt| doubt.why.clone())
        };
        bytes(now) != bytes(&after)
    });
    is_inserted && changed.count() == 1
}
