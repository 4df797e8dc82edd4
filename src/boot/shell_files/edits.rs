//! From what the files give to what they shall give: our own drop-in or words added in place, and single arguments in
//! others' files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Layout;
use super::append::append;
use super::effective::{self, Effective, Files};
use crate::boot::conform::{Demand, Edit, MAX_EDITS, endless, expected, objection, uncertain, uneditable};
use crate::boot::{Edits, Sources, Wish};
use crate::formats::cmdline;
use crate::formats::grub_script::Passed;
use crate::formats::shell::{double_quoted, respell};
use crate::plan::{Bytes, FileState, Objection, Reason, Step};
use crate::resources::HEADER;
use crate::types::KernelArg;

/// The steps after which the files give what is wished.
///
/// # Errors
/// When no edit achieves it with certainty.
pub(in crate::boot) fn edits(
    layout: &'static Layout,
    sources: &Sources,
    wish: &Wish<'_>,
) -> Result<Edits, Objection> {
    let before = Files::of(layout, sources);
    let demand = Demand::of(wish);
    let Some(own) = layout.own else {
        let foreign = conform(before, &demand, &[])?;
        let given = effective(&foreign)?;
        let added = demand.to_add(&given.line("").args(), &[]);
        let after = if added.is_empty() { foreign } else { append(&foreign, &given, &added)? };
        verify(&after, &demand)?;
        return Ok(Edits { steps: steps(sources, &after, None), ours: added });
    };
    let own_state = sources.own.as_ref().map_or(&FileState::Absent, |(_, state)| state);
    if own_state.bytes().is_some_and(effective::is_foreign) {
        let reason =
            Reason::new("drop-in-foreign", "the file has our name and was not written by reconcile").at(own);
        return Err(objection(own, vec![reason], "rename or remove the file"));
    }
    let owned: Vec<KernelArg> = {
        let now = Effective::told(&before).map_err(uncertain)?;
        let ours = now.passed.iter().filter(|passed| now.is_ours(passed));
        ours.map(|passed| passed.arg.clone()).collect()
    };
    // Others' files are edited as they are without us, so that what our drop-in overrides is seen, too.
    let foreign = conform(before.with_own(None), &demand, &owned)?;
    let given = effective(&foreign)?;
    let ours = demand.to_add(&given.line("").args(), &owned);
    let content = if ours.is_empty() { None } else { Some(render(layout, &ours, &given)?) };
    let after = foreign.with_own(content.clone().map(String::into_bytes));
    verify(&after, &demand)?;
    Ok(Edits { steps: steps(sources, &foreign, Some((Path::new(own), own_state, content))), ours })
}

fn effective(files: &Files) -> Result<Effective, Objection> {
    Effective::of(files).map_err(uncertain)
}

/// Edits others' files, one argument at a time, until nothing in them is in the way.
fn conform(mut files: Files, demand: &Demand<'_>, owned: &[KernelArg]) -> Result<Files, Objection> {
    for _ in 0..MAX_EDITS {
        let now = effective(&files)?;
        let Some((index, edit)) = demand.next_edit(&now.passed, owned) else { return Ok(files) };
        files = apply(&files, &now, index, &edit)?;
    }
    Err(endless())
}

/// Makes one edit where the argument is written, and proves that it changes this argument and nothing else.
fn apply(files: &Files, now: &Effective, index: usize, edit: &Edit) -> Result<Files, Objection> {
    let Some(passed) = now.passed.get(index) else { return Ok(files.clone()) };
    let place = now.place_of(index).to_owned();
    let refuse = |why: &str| uneditable(&passed.arg, &place, why);
    let located: Vec<_> = now.chars(passed.span.clone()).iter().flatten().collect();
    let (Some(first), Some(last)) = (located.first(), located.last()) else {
        return Err(refuse("no file holds it"));
    };
    if located.iter().any(|char| char.file != first.file) {
        return Err(refuse("it is put together from several files"));
    }
    let value = match edit {
        Edit::Replace(arg) => {
            let words = files.layout.words;
            words.quote(arg).map_err(|why| refuse(&format!("cannot be replaced: {why}")))?
        }
        Edit::Remove => String::new(),
    };
    let mut span = first.span.start..last.span.end;
    if span.start > span.end {
        return Err(refuse("it is not written in one piece"));
    }
    let mut pieces: Vec<Range<usize>> = located.iter().map(|char| char.span.clone()).collect();
    if matches!(edit, Edit::Remove) {
        let blank = |at: Option<usize>| {
            let char = now.chars(at?..at? + 1).first()?.as_ref()?;
            (char.file == first.file && matches!(char.byte, b' ' | b'\t')).then(|| char.span.clone())
        };
        let before = blank(passed.span.start.checked_sub(1)).filter(|blank| blank.end == span.start);
        let after = blank(Some(passed.span.end)).filter(|blank| blank.start == span.end);
        if let Some(blank) = before {
            span.start = blank.start;
            pieces.insert(0, blank);
        } else if let Some(blank) = after {
            span.end = blank.end;
            pieces.push(blank);
        }
    }
    let mut edited = files.clone();
    let Some((_, bytes)) = edited.files.get_mut(first.file) else { return Err(refuse("no file holds it")) };
    *bytes = respell(bytes, &pieces, first.quoting, &value)
        .ok_or_else(|| refuse("the quotes it stands in cannot hold its successor"))?;
    // The same text may be used several times.
    let touched = |passed: &Passed| {
        let chars = now.chars(passed.span.clone());
        chars
            .iter()
            .flatten()
            .any(|char| char.file == first.file && char.span.start < span.end && span.start < char.span.end)
    };
    let expected = expected(&now.passed, edit, touched);
    let result = Effective::of(&edited).map_err(|_| refuse("taking it out breaks the file"))?;
    let same_arguments = result.passed.iter().map(|passed| &passed.arg).eq(expected);
    if same_arguments && only_this_changed(now, &result, first.file, &span) {
        Ok(edited)
    } else {
        Err(refuse("taking it out would change something else"))
    }
}

/// Whether every variable that changed had a part of its value in the edited piece.
fn only_this_changed(before: &Effective, after: &Effective, file: usize, span: &Range<usize>) -> bool {
    let bytes = |effective: &Effective, name: &str| {
        let chars = effective.environment.get(name);
        chars
            .map(|chars| chars.iter().map(|char| char.byte).collect::<Vec<u8>>())
            .map_err(|doubt| doubt.why.clone())
    };
    let mut names = before.environment.names();
    names.all(|name| {
        let reaches = before.environment.get(name).is_ok_and(|chars| {
            chars
                .iter()
                .any(|char| char.file == file && char.span.start < span.end && span.start < char.span.end)
        });
        reaches || bytes(before, name) == bytes(after, name)
    }) && before.environment.names().eq(after.environment.names())
}

/// Our drop-in: after what others give, but before a bare `--`, behind which the kernel reads nothing.
fn render(layout: &Layout, ours: &[KernelArg], given: &Effective) -> Result<String, Objection> {
    let words = spelled(layout, ours)?;
    // The last variable is the one that entries for recovery do not get.
    let name = layout.variables.last().copied().unwrap_or_default();
    let end = given.passed.iter().position(|passed| cmdline::is_terminator(&passed.arg) && !passed.opaque);
    let value = match end.and_then(|index| given.passed.get(index).map(|passed| (index, passed))) {
        None => format!("${name} {words}"),
        Some((_, passed)) if given.variable_of(passed) == Some(name) => format!("{words} ${name}"),
        Some((index, passed)) => {
            let other = given.variable_of(passed).unwrap_or(name);
            let text = format!("a bare -- in {other} hides {name} from the kernel");
            let reason = Reason::new("arguments-hidden", text).at(given.place_of(index));
            let remedy = format!("move -- and what follows it to the end of {name}");
            return Err(objection("kernel arguments", vec![reason.remedy(&remedy)], &remedy));
        }
    };
    Ok(format!("{HEADER}{name}=\"{value}\"\n"))
}

/// The arguments as they stand between double quotes of the shell.
pub(super) fn spelled(layout: &Layout, args: &[KernelArg]) -> Result<String, Objection> {
    let words = args.iter().map(|arg| {
        let quoted = layout.words.quote(arg).map_err(|why| {
            let chain = vec![Reason::new("argument-unpassable", why)];
            objection(arg.to_string(), chain, "choose a value without quotes and backslashes")
        })?;
        Ok(double_quoted(&quoted))
    });
    Ok(words.collect::<Result<Vec<String>, Objection>>()?.join(" "))
}

/// The whole chain, with the new files: everything wished for arrives, nothing unwished does.
fn verify(after: &Files, demand: &Demand<'_>) -> Result<(), Objection> {
    let result = effective(after)?;
    let line = result.line("");
    let args = line.args();
    if let Some(wanted) = demand.lost(&args) {
        let name = after.layout.variables.last().copied().unwrap_or_default();
        let own = Path::new(after.layout.own.unwrap_or_default());
        let remedy = format!(
            "keep \"${name}\" in that assignment, or move it to a file that sorts before {}",
            own.display()
        );
        let site = result.environment.assigned(name);
        let overrides = site.filter(|site| {
            let path = Path::new(&site.file);
            path.parent() == own.parent() && path > own
        });
        let given = result.passed.iter().position(|passed| passed.arg == wanted.arg);
        let (reason, remedy) = match (given, overrides) {
            (Some(given), _) => undone(&result, given),
            (None, Some(site)) => {
                let text = format!("{name} is assigned again after our drop-in, without what it had");
                (Reason::new("drop-in-overridden", text).at(site).remedy(&remedy), remedy)
            }
            (None, None) => {
                let text = format!("{} would not take effect among the other arguments", wanted.arg);
                (Reason::new("argument-without-effect", text), remedy)
            }
        };
        return Err(objection(wanted.arg.to_string(), vec![reason], &remedy));
    }
    let kept = args.iter().find(|arg| demand.forbids(arg));
    kept.map_or(Ok(()), |arg| {
        let reason = Reason::new("argument-uneditable", format!("{arg} cannot be taken out of the files"));
        Err(objection(arg.to_string(), vec![reason], "edit the files by hand"))
    })
}

/// An argument that is given, and undone by one that comes after it.
fn undone(result: &Effective, given: usize) -> (Reason, String) {
    let arg = result.passed.get(given).map(|passed| &passed.arg);
    let after = result.passed.iter().enumerate().skip(given + 1);
    let rival = after.rev().find(|(_, passed)| arg.is_some_and(|arg| passed.arg.same_name(arg)));
    let Some((at, rival)) = rival else {
        let text = "it would not take effect among the other arguments";
        return (Reason::new("argument-without-effect", text), "edit the files by hand".to_owned());
    };
    let remedy = format!("take {} out of that file, or name it under kernel_args: absent", rival.arg);
    let text = format!("{} comes after it and undoes it", rival.arg);
    (Reason::new("argument-without-effect", text).at(result.place_of(at)).remedy(&remedy), remedy)
}

/// Our own drop-in: its path, its state, and its new content.
type Own<'a> = (&'a Path, &'a FileState, Option<String>);

fn steps(sources: &Sources, foreign: &Files, own: Option<Own<'_>>) -> Vec<Step> {
    let edited: BTreeMap<&PathBuf, &Vec<u8>> =
        foreign.files.iter().map(|(path, bytes)| (path, bytes)).collect();
    let mut steps = Vec::new();
    for (path, state) in &sources.files {
        let Some(after) = edited.get(path) else { continue };
        let seed = sources.seeds.get(path).map(|seed| &*seed.0);
        if seed.or(state.bytes()) != Some(after.as_slice()) {
            let after = Bytes::from((*after).clone());
            steps.push(Step::WriteFile { path: path.clone(), before: state.clone(), after, mode: 0o644 });
        }
    }
    // A file that was not there holds what had to be said somewhere.
    let new = foreign.files.iter().filter(|(path, _)| !sources.files.iter().any(|(known, _)| known == path));
    for (path, bytes) in new {
        let (path, after) = (path.clone(), bytes.clone().into());
        steps.push(Step::WriteFile { path, before: FileState::Absent, after, mode: 0o644 });
    }
    let Some((path, before, content)) = own else { return steps };
    let (path, before) = (path.to_owned(), before.clone());
    match content {
        Some(content) if before.bytes() != Some(content.as_bytes()) => {
            steps.push(Step::WriteFile { path, before, after: content.into(), mode: 0o644 });
        }
        None if before != FileState::Absent => steps.push(Step::RemoveFile { path, before }),
        _ => {}
    }
    steps
}
