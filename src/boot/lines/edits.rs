//! From what a file's command lines give to what they shall give.

use std::ops::Range;

use super::{Held, Holder, Joined};
use crate::boot::conform::{Demand, Edit, MAX_EDITS, endless, expected, objection, uncertain, uneditable};
use crate::formats::cmdline;
use crate::formats::grub_script::Passed;
use crate::plan::{Objection, Reason};
use crate::types::KernelArg;

/// The content after which every command line of the file gives what is demanded, and what was added for that.
/// `elsewhere` gives what is asked for already where it reaches these lines another way: then nothing is added.
///
/// # Errors
/// When no edit achieves it with certainty.
pub(in crate::boot) fn edited(
    holder: &Holder<'_>,
    demand: &Demand<'_>,
    elsewhere: Option<&[KernelArg]>,
) -> Result<(Vec<u8>, Vec<KernelArg>), Objection> {
    let mut holder = holder.clone();
    let mut added = Vec::new();
    for index in 0..(holder.form.read)(&holder.text).len() {
        conform(&mut holder, index, demand, elsewhere.unwrap_or_default())?;
        if elsewhere.is_none() {
            added.extend(add(&mut holder, index, demand)?);
        }
    }
    Ok((holder.text, added))
}

/// One command line of the file as it is now.
struct Now {
    held: Held,
    joined: Joined,
    passed: Vec<Passed>,
}

impl Now {
    fn of(holder: &Holder<'_>, index: usize) -> Result<Self, Objection> {
        let held = (holder.form.read)(&holder.text).into_iter().nth(index);
        let held = held.ok_or_else(endless)?;
        let joined = Joined::of(&holder.text, &held);
        let passed = joined.passed(holder.form.words).map_err(|error| {
            let place = holder.place(joined.origin(error.at));
            uncertain(vec![Reason::new("arguments-unreadable", error.to_string()).at(place)])
        })?;
        Ok(Self { held, joined, passed })
    }

    /// What the kernel takes of it.
    fn args(&self) -> Vec<&KernelArg> {
        let before =
            self.passed.iter().take_while(|passed| passed.opaque || !cmdline::is_terminator(&passed.arg));
        before.filter(|passed| !passed.opaque).map(|passed| &passed.arg).collect()
    }
}

fn conform(
    holder: &mut Holder<'_>,
    index: usize,
    demand: &Demand<'_>,
    elsewhere: &[KernelArg],
) -> Result<(), Objection> {
    for _ in 0..MAX_EDITS {
        let now = Now::of(holder, index)?;
        let Some((at, edit)) = demand.next_edit(&now.passed, elsewhere) else { return Ok(()) };
        let Some(passed) = now.passed.get(at) else { return Ok(()) };
        let place = holder.place(now.joined.origin(passed.span.start));
        let refuse = |why: &str| uneditable(&passed.arg, &place, why);
        let range =
            now.joined.range(passed.span.clone()).ok_or_else(|| refuse("it is not written in one piece"))?;
        let (range, value) = match &edit {
            Edit::Replace(arg) => {
                let quoted = holder.form.words.quote(arg);
                (range, quoted.map_err(|why| refuse(&format!("cannot be replaced: {why}")))?)
            }
            Edit::Remove => (with_a_blank(&now.joined, &passed.span, range), String::new()),
        };
        let text = spliced(&holder.text, range, &value);
        let expected = expected(&now.passed, &edit, |other| other.span == passed.span);
        if !is_exactly(holder, &text, index, &expected) {
            return Err(refuse("taking it out would change something else"));
        }
        holder.text = text;
    }
    Err(endless())
}

/// The range with the blank before it, or else the one behind.
fn with_a_blank(joined: &Joined, span: &Range<usize>, range: Range<usize>) -> Range<usize> {
    let blank = |at: Option<usize>, origin: Option<usize>| {
        let byte = at.and_then(|at| joined.text.get(at));
        origin.is_some()
            && at.and_then(|at| joined.origin(at)) == origin
            && matches!(byte, Some(b' ' | b'\t'))
    };
    if blank(span.start.checked_sub(1), range.start.checked_sub(1)) {
        range.start - 1..range.end
    } else if blank(Some(span.end), Some(range.end)) {
        range.start..range.end + 1
    } else {
        range
    }
}

fn spliced(text: &[u8], range: Range<usize>, value: &str) -> Vec<u8> {
    let mut spliced = text.get(..range.start).unwrap_or_default().to_vec();
    spliced.extend_from_slice(value.as_bytes());
    spliced.extend_from_slice(text.get(range.end..).unwrap_or_default());
    spliced
}

/// Adds what a command line lacks: at its end, but before a bare `--`.
fn add(holder: &mut Holder<'_>, index: usize, demand: &Demand<'_>) -> Result<Vec<KernelArg>, Objection> {
    let now = Now::of(holder, index)?;
    let added = demand.to_add(&now.args(), &[]);
    if added.is_empty() {
        return Ok(added);
    }
    let subject = || added.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let refuse = |why: String| {
        let reason = Reason::new("argument-unaddable", why).at(holder.path.display());
        objection(subject(), vec![reason.remedy("edit the file by hand")], "edit the file by hand")
    };
    let words: Result<Vec<String>, String> = added.iter().map(|arg| holder.form.words.quote(arg)).collect();
    let words = words.map_err(refuse)?.join(" ");
    let end = now.passed.iter().position(|passed| cmdline::is_terminator(&passed.arg) && !passed.opaque);
    let place =
        |at: Option<usize>| at.ok_or_else(|| refuse("its command line is not in one piece".to_owned()));
    let text = match (end.and_then(|end| now.passed.get(end)), now.passed.last(), now.held.pieces.first()) {
        (Some(end), _, _) => {
            let at = place(now.joined.origin(end.span.start))?;
            spliced(&holder.text, at..at, &format!("{words} "))
        }
        (None, Some(last), _) => {
            let at = place(now.joined.origin(last.span.end.saturating_sub(1)))? + 1;
            spliced(&holder.text, at..at, &format!(" {words}"))
        }
        (None, None, Some(piece)) => {
            let before = piece.start.checked_sub(1).and_then(|before| holder.text.get(before));
            let blank = if before.is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'=' | b'"')) {
                ""
            } else {
                " "
            };
            spliced(&holder.text, piece.start..piece.start, &format!("{blank}{words}"))
        }
        (None, None, None) => {
            let (at, before, after) = now.held.new;
            spliced(&holder.text, at..at, &format!("{before}{words}{after}"))
        }
    };
    let index_of_new = end.unwrap_or(now.passed.len());
    let (head, tail) = now.passed.split_at(index_of_new);
    let expected: Vec<&KernelArg> = head
        .iter()
        .map(|passed| &passed.arg)
        .chain(&added)
        .chain(tail.iter().map(|passed| &passed.arg))
        .collect();
    if !is_exactly(holder, &text, index, &expected) {
        return Err(refuse("there is no place in it where it can be added with certainty".to_owned()));
    }
    let lost = demand.lost(&expected_kernel(&expected)).map(|wanted| wanted.arg.to_string());
    if let Some(lost) = lost {
        return Err(refuse(format!("{lost} would not take effect among the other arguments")));
    }
    holder.text = text;
    Ok(added)
}

/// The arguments before a bare `--`.
fn expected_kernel<'a>(args: &[&'a KernelArg]) -> Vec<&'a KernelArg> {
    args.iter().copied().take_while(|arg| !cmdline::is_terminator(arg)).collect()
}

/// Whether in the new text this command line gives these arguments, and every other one what it gave.
fn is_exactly(holder: &Holder<'_>, text: &[u8], index: usize, expected: &[&KernelArg]) -> bool {
    let read = |text: &[u8]| -> Option<Vec<Vec<KernelArg>>> {
        let lines = (holder.form.read)(text).into_iter().map(|held| {
            let passed = Joined::of(text, &held).passed(holder.form.words).ok()?;
            Some(passed.into_iter().map(|passed| passed.arg).collect())
        });
        lines.collect()
    };
    let (Some(before), Some(after)) = (read(&holder.text), read(text)) else { return false };
    before.len() == after.len()
        && before.iter().zip(&after).enumerate().all(|(at, (before, after))| {
            if at == index { after.iter().eq(expected.iter().copied()) } else { before == after }
        })
}
