//! The evaluation of shell assignment files against `sh` itself, which sources them in grub-mkconfig's order.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "differential_shell/cases.rs"]
mod cases;
#[path = "differential_shell/edits.rs"]
mod edits;
#[path = "differential_shell/sh.rs"]
mod sh;

use proptest::prelude::*;
use reconcile::formats::shell::{Source, evaluate};

use cases::{CASES, Case, Expected};

/// The variables that are compared.
pub(crate) const VARIABLES: &[&str] = &["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT", "A", "B", "X"];

/// What the evaluator says: bytes, or that only a run can tell.
fn ours(files: &[(String, Vec<u8>)]) -> Vec<Option<Vec<u8>>> {
    let sources: Vec<Source<'_>> = files.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    let environment = evaluate(&sources, &[], &["sysconfdir"]);
    let value = |name: &&str| {
        let chars = environment.get(name).ok()?;
        Some(chars.iter().map(|char| char.byte).collect())
    };
    VARIABLES.iter().map(value).collect()
}

fn files_of(case: &Case) -> Vec<(String, Vec<u8>)> {
    let files = case.files.iter().enumerate();
    files.map(|(index, text)| (format!("{index:02}.cfg"), text.as_bytes().to_vec())).collect()
}

#[test]
fn every_case_means_what_sh_makes_of_it() {
    let mut faults = Vec::new();
    for case in CASES {
        let files = files_of(case);
        let ours = ours(&files);
        let certain = ours[0].is_some() && ours[1].is_some();
        match (sh::source(&files), case.expected) {
            (Some(theirs), expected) => {
                for ((name, ours), theirs) in VARIABLES.iter().zip(&ours).zip(&theirs) {
                    if ours.as_ref().is_some_and(|ours| ours != theirs) {
                        faults.push(format!(
                            "{:?}: {name} is {:?} and was read as {:?}",
                            case.files,
                            text(theirs),
                            text(ours.as_ref().unwrap())
                        ));
                    }
                }
                if certain != (expected == Expected::Certain) {
                    faults.push(format!("{:?}: certain is {certain}", case.files));
                }
            }
            (None, Expected::Certain) => faults.push(format!("{:?}: sh refuses it", case.files)),
            (None, Expected::Uncertain) => {
                if certain {
                    faults.push(format!("{:?}: sh refuses it and it was read", case.files));
                }
            }
        }
    }
    assert!(CASES.len() >= 40);
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), CASES.len(), faults.join("\n"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Pieces out of which most programs are valid and many are nasty.
fn script() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "A=",
        "B=",
        "X=",
        "GRUB_CMDLINE_LINUX=",
        "GRUB_CMDLINE_LINUX_DEFAULT=",
        "export A=",
        "unset A",
        "unset X",
        "$A",
        "${A}",
        "$B",
        "${X}",
        "${X:-d}",
        "${A-d e}",
        "${A:+p}",
        "${B+p}",
        "${X:=n}",
        "${A#a}",
        "${A%%b*}",
        "${#A}",
        "$GRUB_CMDLINE_LINUX",
        "\"",
        "\"",
        "\"",
        "'",
        "'",
        "\\",
        "\\\n",
        "\n",
        "\n",
        "\n",
        ";",
        " ",
        " ",
        "a",
        "b",
        "quiet",
        "a b",
        "=",
        "#",
        " # c\n",
        "\t",
        "$",
        "\\$",
        "\\\"",
        "\\\\",
        "{",
        "}",
        "*",
        "~",
        "!",
        "é",
        "`echo e`",
        "$(echo f)",
        " && ",
        " || ",
        ":",
        "true",
        "if true; then ",
        "; fi\n",
        "else ",
        "{ ",
        "; }\n",
        "( ",
        " )\n",
        "case $A in a) ",
        ";; esac\n",
        "for X in 1 2; do ",
        "; done\n",
        "f() { ",
        "f\n",
        "\r",
        "-",
        "/",
        ":",
    ]);
    prop::collection::vec(piece, 1..24).prop_map(|pieces| pieces.concat())
}

/// Pieces that are whole assignments, so that nearly every program is valid.
fn assignments() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["A", "B", "X", "GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"]);
    let inner = prop::sample::select(vec![
        "a",
        "b=c",
        " ",
        "  ",
        "$A",
        "${B}",
        "${X:-q}",
        "${A:-x y}",
        "${A:+$B}",
        "\\\\",
        "\\$",
        "\\\"",
        "\\a",
        "'",
        "#",
        ";",
        "$",
        "\\\n",
        "\n",
        "${A%b*}",
        "${A##*=}",
        "${#B}",
        "*",
        "~",
        "{",
        "é",
        "\\`",
        "${X-'s'}",
        "${X:-\"t u\"}",
    ]);
    let double = prop::collection::vec(inner, 0..6).prop_map(|inner| format!("\"{}\"", inner.concat()));
    let single = "[ -&(-~\n]{0,8}".prop_map(|text| format!("'{text}'"));
    let bare = prop::sample::select(vec![
        "a",
        "$A",
        "${B}",
        "\\ ",
        "\\\"",
        "a=b",
        "x\\\ny",
        "#",
        "$",
        "%",
        "{a,b}",
        "${X:-\\}}",
        "~",
        ":~",
    ]);
    let part = prop_oneof![double, single, bare.prop_map(str::to_owned)];
    let value = prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat());
    let separator = prop::sample::select(vec!["\n", "; ", " ", "\n# c\n", " # '\n", "\n\n\t"]);
    let line =
        (name, value, separator).prop_map(|(name, value, separator)| format!("{name}={value}{separator}"));
    prop::collection::vec(line, 1..6).prop_map(|lines| lines.concat())
}

/// `certainly`: nothing but a few pieces that shells or locales differ in may be left open.
fn agrees(files: &[(String, Vec<u8>)], certainly: bool) -> Result<(), TestCaseError> {
    let ours = ours(files);
    let all: String = files.iter().map(|(_, bytes)| text(bytes)).collect();
    // Home directories, parameters that the shell sets, $'…', lengths and patterns of text that is not ASCII.
    let shell_sets = |pair: &[u8]| matches!(pair, [b'$', next] if b"$#*@?!-0123456789'\"".contains(next));
    let open = all.contains(['~', 'é']) || all.replace("\\\n", "").as_bytes().windows(2).any(shell_sets);
    let Some(theirs) = sh::source(files) else { return Ok(()) };
    for ((name, ours), theirs) in VARIABLES.iter().zip(&ours).zip(&theirs) {
        match ours {
            Some(ours) => prop_assert_eq!(text(ours), text(theirs), "{} of {:?}", name, all),
            None => prop_assert!(open || !certainly, "{} of {:?} is left open", name, all),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_script_that_sh_takes_is_read_alike(scripts in prop::collection::vec(script(), 1..3)) {
        let files: Vec<_> = scripts.into_iter().enumerate().map(|(index, text)| (format!("{index}.cfg"), text.into_bytes())).collect();
        agrees(&files, false)?;
    }

    #[test]
    fn assignments_are_read_alike_and_with_certainty(scripts in prop::collection::vec(assignments(), 1..3)) {
        let files: Vec<_> = scripts.into_iter().enumerate().map(|(index, text)| (format!("{index}.cfg"), text.into_bytes())).collect();
        agrees(&files, true)?;
    }
}
