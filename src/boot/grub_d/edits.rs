//! From what the files give to what they shall give: our own drop-in, and single arguments in others' files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::effective::{self, Effective, Files, LINUX_DEFAULT};
use super::{DROP_INS, OWN_DROP_IN};
use crate::boot::{Edits, Sources, Wanted, Wish, is_meant, wanted};
use crate::formats::cmdline;
use crate::formats::grub_script::{self, Passed};
use crate::formats::shell::{double_quoted, respell};
use crate::plan::{Bytes, FileState, LiftedBy, Objection, Reason, Step};
use crate::resources::HEADER;
use crate::types::KernelArg;

/// More edits than any set of files needs; each one removes at least one argument.
const MAX_EDITS: usize = 256;

pub(super) fn edits(sources: &Sources, wish: &Wish<'_>) -> Result<Edits, Objection> {
    let before = Files::of(sources);
    let own_state = sources.own.as_ref().map_or(&FileState::Absent, |(_, state)| state);
    if own_state.bytes().is_some_and(effective::is_foreign) {
        let reason = Reason::new("drop-in-foreign", "the file has our name and was not written by reconcile")
            .at(OWN_DROP_IN);
        return Err(objection(OWN_DROP_IN, vec![reason], "rename or remove the file"));
    }
    let wishes = wanted(wish.present);
    let owned: Vec<KernelArg> = {
        let now = Effective::told(&before).map_err(uncertain)?;
        let ours = now.passed.iter().filter(|passed| now.is_ours(passed));
        ours.map(|passed| passed.arg.clone()).collect()
    };
    // Others' files are edited as they are without us, so that what our drop-in overrides is seen, too.
    let foreign = conform(before.with_own(None), &wishes, wish.absent, &owned)?;
    let given = effective(&foreign)?;
    let ours = ours(&wishes, &given, &owned);
    let content = if ours.is_empty() { None } else { Some(render(&ours, &given)?) };
    let after = foreign.with_own(content.clone().map(String::into_bytes));
    verify(&after, &wishes, wish.absent)?;
    Ok(Edits { steps: steps(sources, &foreign, own_state, content), ours })
}

fn effective(files: &Files) -> Result<Effective, Objection> {
    Effective::of(files).map_err(uncertain)
}

fn uncertain(chain: Vec<Reason>) -> Objection {
    objection("kernel arguments", chain, "make the value certain, or set the arguments by hand")
}

fn objection(subject: impl Into<String>, chain: Vec<Reason>, remedy: &str) -> Objection {
    Objection { subject: subject.into(), chain, lifted_by: LiftedBy::Operator(remedy.to_owned()) }
}

/// What an argument becomes.
enum Edit {
    Replace(KernelArg),
    Remove,
}

/// Edits others' files, one argument at a time, until nothing in them is in the way.
fn conform(
    mut files: Files,
    wishes: &[Wanted],
    absent: &[KernelArg],
    owned: &[KernelArg],
) -> Result<Files, Objection> {
    for _ in 0..MAX_EDITS {
        let now = effective(&files)?;
        let Some((index, edit)) = next_edit(&now, wishes, absent, owned) else { return Ok(files) };
        files = apply(&files, &now, index, &edit)?;
    }
    let reason = Reason::new("edit-endless", "the edits of the files come to no end");
    Err(objection("kernel arguments", vec![reason], "edit the files by hand"))
}

fn next_edit(
    now: &Effective,
    wishes: &[Wanted],
    absent: &[KernelArg],
    owned: &[KernelArg],
) -> Option<(usize, Edit)> {
    let certain: Vec<(usize, &Passed)> =
        now.passed.iter().enumerate().filter(|(_, passed)| !passed.opaque).collect();
    let unwanted =
        certain.iter().find(|(_, passed)| absent.iter().any(|absent| is_meant(absent, &passed.arg)));
    if let Some((index, _)) = unwanted {
        return Some((*index, Edit::Remove));
    }
    let args: Vec<&KernelArg> = certain.iter().map(|(_, passed)| &passed.arg).collect();
    wishes.iter().find_map(|wanted| {
        let conflicts = wanted.conflicts(&args);
        let (index, _) = certain.get(*conflicts.first()?)?;
        let given =
            owned.contains(&wanted.arg) || args.contains(&&wanted.arg) && !wanted.arg.is_named("hugepages");
        let edit = if given { Edit::Remove } else { Edit::Replace(wanted.arg.clone()) };
        Some((*index, edit))
    })
}

/// Makes one edit where the argument is written, and proves that it changes this argument and nothing else.
fn apply(files: &Files, now: &Effective, index: usize, edit: &Edit) -> Result<Files, Objection> {
    let Some(passed) = now.passed.get(index) else { return Ok(files.clone()) };
    let place = now.place_of(index).to_owned();
    let refuse = |why: &str| {
        let text = format!("{} must go, and {why}", passed.arg);
        let reason = Reason::new("argument-uneditable", text).at(&place).remedy("edit the file by hand");
        objection(passed.arg.to_string(), vec![reason], "edit the file by hand")
    };
    let located: Vec<_> = now.chars(passed.span.clone()).iter().flatten().collect();
    let (Some(first), Some(last)) = (located.first(), located.last()) else {
        return Err(refuse("no file holds it"));
    };
    if located.iter().any(|char| char.file != first.file) {
        return Err(refuse("it is put together from several files"));
    }
    let value = match edit {
        Edit::Replace(arg) => {
            grub_script::quote(arg).map_err(|error| refuse(&format!("cannot be replaced: {error}")))?
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
    let expected: Vec<&KernelArg> = now
        .passed
        .iter()
        .filter_map(|other| match edit {
            Edit::Replace(arg) if touched(other) => Some(arg),
            Edit::Remove if touched(other) => None,
            _ => Some(&other.arg),
        })
        .collect();
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

/// What our drop-in gives: what nobody else gives, and what it gives already.
fn ours(wishes: &[Wanted], given: &Effective, owned: &[KernelArg]) -> Vec<KernelArg> {
    let persisted = given.persisted();
    let args = persisted.args();
    let mut ours: Vec<KernelArg> = Vec::new();
    for (at, wanted) in wishes.iter().enumerate() {
        let is_size = wanted.arg.is_named("hugepagesz");
        // A size goes with the count after it.
        let decides =
            if is_size { wishes.get(at + 1).filter(|next| next.arg.is_named("hugepages")) } else { None };
        let decides = decides.unwrap_or(wanted);
        if owned.contains(&decides.arg) || !decides.given_by(&args) {
            ours.push(wanted.arg.clone());
        }
    }
    ours
}

/// Our drop-in: after what others give, but before a bare `--`, behind which the kernel reads nothing.
fn render(ours: &[KernelArg], given: &Effective) -> Result<String, Objection> {
    let mut words = Vec::new();
    for arg in ours {
        let word = grub_script::quote(arg).map_err(|error| {
            let reason = Reason::new("argument-unpassable", error.to_string());
            objection(arg.to_string(), vec![reason], "choose a value without quotes and backslashes")
        })?;
        words.push(double_quoted(&word));
    }
    let words = words.join(" ");
    let end = given.passed.iter().position(|passed| cmdline::is_terminator(&passed.arg) && !passed.opaque);
    let value = match end.and_then(|index| given.passed.get(index).map(|passed| (index, passed))) {
        None => format!("${LINUX_DEFAULT} {words}"),
        Some((_, passed)) if !given.is_in_linux(passed) => format!("{words} ${LINUX_DEFAULT}"),
        Some((index, _)) => {
            let text = "a bare -- in GRUB_CMDLINE_LINUX hides GRUB_CMDLINE_LINUX_DEFAULT from the kernel";
            let reason = Reason::new("arguments-hidden", text).at(given.place_of(index));
            let remedy = "move -- and what follows it to the end of GRUB_CMDLINE_LINUX_DEFAULT";
            return Err(objection("kernel arguments", vec![reason.remedy(remedy)], remedy));
        }
    };
    Ok(format!("{HEADER}{LINUX_DEFAULT}=\"{value}\"\n"))
}

/// The whole chain, with the new files: everything wished for arrives, nothing unwished does.
fn verify(after: &Files, wishes: &[Wanted], absent: &[KernelArg]) -> Result<(), Objection> {
    let result = effective(after)?;
    let persisted = result.persisted();
    let args = persisted.args();
    let lost = wishes.iter().find(|wanted| !wanted.given_by(&args));
    if let Some(wanted) = lost {
        let remedy = format!(
            "keep \"${LINUX_DEFAULT}\" in that assignment, or move it to a file that sorts before {OWN_DROP_IN}"
        );
        let site = result.environment.assigned(LINUX_DEFAULT);
        let overrides = site
            .filter(|site| Path::new(&site.file) > Path::new(OWN_DROP_IN) && site.file.starts_with(DROP_INS));
        let given = result.passed.iter().position(|passed| passed.arg == wanted.arg);
        let (reason, remedy) = match (given, overrides) {
            (Some(given), _) => undone(&result, given),
            (None, Some(site)) => {
                let text =
                    format!("{LINUX_DEFAULT} is assigned again after our drop-in, without what it had");
                (Reason::new("drop-in-overridden", text).at(site).remedy(&remedy), remedy)
            }
            (None, None) => {
                let text = format!("{} would not take effect among the other arguments", wanted.arg);
                (Reason::new("argument-without-effect", text), remedy)
            }
        };
        return Err(objection(wanted.arg.to_string(), vec![reason], &remedy));
    }
    let kept = args.iter().find(|arg| absent.iter().any(|absent| is_meant(absent, arg)));
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
    let text = format!("{} comes after our drop-in and undoes it", rival.arg);
    (Reason::new("argument-without-effect", text).at(result.place_of(at)).remedy(&remedy), remedy)
}

fn steps(sources: &Sources, foreign: &Files, own_state: &FileState, content: Option<String>) -> Vec<Step> {
    let edited: BTreeMap<&PathBuf, &Vec<u8>> =
        foreign.files.iter().map(|(path, bytes)| (path, bytes)).collect();
    let mut steps = Vec::new();
    for (path, state) in &sources.files {
        let Some(after) = edited.get(path) else { continue };
        if state.bytes() != Some(after.as_slice()) {
            let after = Bytes::from((*after).clone());
            steps.push(Step::WriteFile { path: path.clone(), before: state.clone(), after, mode: 0o644 });
        }
    }
    let path = PathBuf::from(OWN_DROP_IN);
    match content {
        Some(content) if own_state.bytes() != Some(content.as_bytes()) => {
            steps.push(Step::WriteFile {
                path,
                before: own_state.clone(),
                after: content.into(),
                mode: 0o644,
            });
        }
        None if *own_state != FileState::Absent => {
            steps.push(Step::RemoveFile { path, before: own_state.clone() });
        }
        _ => {}
    }
    steps
}
