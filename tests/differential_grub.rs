//! GRUB's lexer against GRUB itself: `grub-script-check` for what it refuses, `grub-emu` for the words it makes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "differential_grub/emu.rs"]
mod emu;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reconcile::boot::grub_d::{GrubD, OWN_DROP_IN};
use reconcile::boot::{BootChain, Wish};
use reconcile::formats::grub_script::{Token, lex, passed, quote};
use reconcile::host::{EmptyHost, Host, Reach, ReadHost, SimulatedHost};
use reconcile::types::KernelArg;

/// Arguments of a `linux` command; GRUB takes all of them as words of one command.
const WORDS: &[&str] = &[
    "quiet splash",
    "a=\"b c\" d",
    "'a=b c' d",
    "a=b\\ c d",
    "\"a\"'b'c",
    "a\"b c\"d 'e f'g",
    "\"\" '' x",
    "a=\\\"b\\\" c",
    "\"a\\\"b\" \"c\\\\d\" \"e\\$f\"",
    "\"a\\xb\" 'a\\xb' a\\xb",
    "a\\x22b \"a\\x22b\" 'a\\x22b' a\\\\x22b",
    "'it'\\''s' \"it's\"",
    "a#b \\# '#' \"#\" a=#",
    "\\; \\& \\| \\< \\> \\{ \\} \\$",
    "';&|<>{}$'",
    "\";&|<>{}\"",
    "! ~ % @ , . : = + - _ ^ ( ) `a`",
    "if then else fi for in do done while until case esac function select elif",
    "\\t \\n \\a",
    "\"\\t\\n\\'\"",
    "a\\\nb c",
    "\"a\\\nb\" c",
    "'a\\\nb' c",
    "a\tb\t \tc",
    "hugepagesz=1G hugepages=16",
    "vfio-pci.ids=10de:11bf,10de:0e0a",
    "console=ttyS0,115200n8 console=tty0",
    "root=UUID=5f0c0bd2-7b55-4f3e-9a0e-2f6c1a4d8e11 ro",
    "a=*b x? y[z]",
    "\\* \\? \\[ab]",
    "'*' \"?\" '[ab]'",
    "systemd.mask='dev-disk\\x2dby.swap'",
    "dyndbg=\"file drivers/vfio/* +p; module x +p\"",
    "a==b =c d=",
    "-- init",
    "\"-- x\"",
    "a\\  b",
    "\\\\ \\\\\\\\ '\\\\'",
    "é \"ü ö\"",
    "a'b\"c'd\"e'f\"g",
    "x='$y' z=\\$y w=\"\\$y\"",
    "[ ] [[] ]]x",
];

/// What GRUB refuses, or takes for something else than words of one command.
const NOT_WORDS: &[&str] = &[
    "a\"",
    "a'",
    "a|b",
    "a&b",
    "a<b",
    "a>b",
    "a}",
    "a$",
    "$ a",
    "\"$\"",
    "\"a $ b\"",
    "a$(b)",
    "${a-b}",
    "${a",
    "[[",
    "a ]]",
    "a |",
    "&& b",
    "$'a",
    "\"\\$\\\"",
    "${}",
];

fn our_words(text: &str) -> Option<Vec<String>> {
    let tokens = lex(text.as_bytes()).ok()?;
    let word = |token: &Token| match token {
        Token::Word(word) => Some(word.text()),
        _ => None,
    };
    tokens.iter().map(word).collect()
}

#[test]
fn the_words_are_grubs_words() {
    let theirs = emu::words(WORDS);
    for (line, theirs) in WORDS.iter().zip(&theirs) {
        assert!(emu::accepts(line), "{line:?}");
        assert_eq!(our_words(line).as_ref(), Some(theirs), "{line:?}");
    }
    assert!(WORDS.len() + NOT_WORDS.len() >= 40);
}

#[test]
fn what_grub_refuses_is_refused() {
    for line in NOT_WORDS {
        assert!(!emu::accepts(line), "{line:?}");
        assert!(passed(line.as_bytes()).is_err(), "{line:?}");
    }
}

#[test]
fn random_lines_are_split_alike() {
    // No tab: the terminal shows it as blanks.
    let piece = prop::sample::select(vec![
        "a", "b", "=", " ", " ", "\"", "\"", "'", "'", "\\", "\\\\", "\\\"", "\\'", "\\$", "#", " #", "x22",
        "\\x22", ",", ";", "\\;", "{", "\\{", "|", "*", "-", "--", "é", "if", "\\ ", "!", "$", "\\\n",
    ]);
    let lines = prop::collection::vec(piece, 1..14).prop_map(|pieces| format!("q{}", pieces.concat()));
    let mut runner = TestRunner::deterministic();
    let mut valid = Vec::new();
    for _ in 0..500 {
        let line = lines.new_tree(&mut runner).unwrap().current();
        // What is one command of words for us must be syntax for GRUB; words alone are shown by the emulator.
        if our_words(&line).is_some() {
            assert!(emu::accepts(&line), "GRUB refuses {line:?}");
            // What variables and wildcards become is not the lexer's business.
            if !lex(line.as_bytes())
                .unwrap()
                .iter()
                .any(|token| matches!(token, Token::Word(word) if word.opaque))
            {
                valid.push(line);
            }
        } else if lex(line.as_bytes()).is_err() {
            assert!(!emu::accepts(&line), "GRUB takes {line:?}");
        }
    }
    let lines: Vec<&str> = valid.iter().map(String::as_str).collect();
    assert!(lines.len() > 50);
    for (line, theirs) in lines.iter().zip(emu::words(&lines)) {
        assert_eq!(our_words(line), Some(theirs), "{line:?}");
    }
}

/// Document to drop-in to shell to GRUB: every argument that is not refused arrives as it was asked for.
#[test]
fn arguments_survive_the_whole_chain() {
    let mut args: Vec<String> = [
        "a=\"b c\"",
        "a=$x",
        "a=`b`",
        "a=b;c",
        "a=#",
        "#a",
        "a={b}",
        "a=*",
        "a=\\x2d",
        "a=!b",
        "\"a b\"",
        "a=b|c&d<e>f",
    ]
    .map(str::to_owned)
    .to_vec();
    args.extend((b'!'..=b'~').map(|byte| format!("x={}y", char::from(byte))));
    args.extend((b'!'..=b'~').map(|byte| format!("x=\"p {} q\"", char::from(byte))));
    let args: Vec<KernelArg> = args.iter().filter_map(|text| text.parse().ok()).collect();
    let args: Vec<KernelArg> = args.into_iter().filter(|arg| quote(arg).is_ok()).collect();
    assert!(args.len() > 150, "{}", args.len());
    // One drop-in for each: single-valued parameters of one name would conflict.
    let mut lines = Vec::new();
    for arg in &args {
        let empty = EmptyHost(Reach::Tree);
        let mut host = SimulatedHost::new(&empty);
        host.put_file("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"first\"\n");
        let wish = Wish { present: std::slice::from_ref(arg), absent: &[], gone: &[] };
        let edits = GrubD.edits(&GrubD.sources(&host).unwrap(), &wish).unwrap();
        edits.steps.iter().for_each(|step| host.execute(step).unwrap());
        let drop_in = host.read(std::path::Path::new(OWN_DROP_IN)).unwrap().unwrap();
        lines.push(emu::sourced("GRUB_CMDLINE_LINUX_DEFAULT=\"first\"\n", &drop_in));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for ((arg, line), words) in args.iter().zip(&lines).zip(emu::words(&lines)) {
        assert_eq!(words.len(), 2, "{line:?}: {words:?}");
        // grub_create_loader_cmdline: quotes around a word with a blank; none of these words has a quote in it.
        let word = if words[1].contains(' ') { format!("\"{}\"", words[1]) } else { words[1].clone() };
        assert_eq!(word.parse::<KernelArg>().as_ref(), Ok(arg), "{line:?}");
    }
}
