//! Rules that the differential tests cannot see: places, doubts, properties.

use proptest::prelude::*;

use super::{Environment, Quoting, Script, Source, evaluate, respell};

fn environment(text: &str) -> Environment {
    evaluate(&[Source { name: "grub", bytes: text.as_bytes() }], &["HOME"], &["sysconfdir"])
}

fn value(text: &str, name: &str) -> Result<String, String> {
    let environment = environment(text);
    let chars = environment.get(name).map_err(|doubt| format!("{}: {}", doubt.site, doubt.why))?;
    Ok(String::from_utf8(chars.iter().map(|char| char.byte).collect()).unwrap())
}

#[test]
fn every_byte_of_a_value_knows_where_it_was_written() {
    let text = "A='x'\nB=\"$A \\$y\"\n";
    let environment = environment(text);
    let chars = environment.get("B").unwrap();
    let written: Vec<&str> = chars.iter().map(|char| &text[char.span.clone()]).collect();
    assert_eq!(written, ["x", " ", "\\$", "y"]);
    assert_eq!(chars[0].quoting, Quoting::Single);
    assert_eq!(chars[1].quoting, Quoting::Double);
    assert_eq!(environment.assigned("B").unwrap().to_string(), "grub:2");
}

#[test]
fn a_doubt_names_its_line_and_its_cause() {
    let doubt = |text: &str| value(text, "A").unwrap_err();
    assert!(doubt("\nA=$(x)\n").starts_with("grub:2: the value comes from the output of a command"));
    assert!(doubt("B=1\nif x; then\nA=1\nfi\n").starts_with("grub:3: A is assigned in a conditional"));
    assert!(doubt("A+=1\n").contains("no assignment in a POSIX shell"));
    assert!(doubt("A=$HOME\n").contains("environment"));
    assert!(doubt("sysconfdir=/x\n").contains("steers"));
    assert!(doubt("A=1\n\"\n").contains("double quote is not closed"));
    assert!(doubt("A=1\0\n").contains("zero byte"));
}

#[test]
fn a_doubt_reaches_only_what_flows_from_it() {
    let text = "A=$(x)\nB=\"$A\"\nC=1\n";
    assert!(value(text, "B").is_err());
    assert_eq!(value(text, "C").as_deref(), Ok("1"));
    assert_eq!(value("A=$(x)\nA=2\n", "A").as_deref(), Ok("2"));
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let text = "(".repeat(100_000);
    assert!(Script::parse(text.as_bytes()).error.is_some());
    let text = "A=${B:-".repeat(100_000);
    assert!(Script::parse(text.as_bytes()).error.is_some());
    for (open, close) in [("A=$(", ")"), ("$(", ")"), ("{ ", "; }"), ("A=\"${B:-", "}\""), ("x | (", ")")] {
        let text = format!("{}x{}", open.repeat(40), close.repeat(40));
        let _ = Script::parse(text.as_bytes());
    }
    let text = "if ".repeat(100_000);
    assert!(Script::parse(text.as_bytes()).error.is_some());
}

#[test]
fn a_piece_is_spelled_as_its_quotes_demand() {
    let spelled = |quoting, value| {
        respell(b"<x>", std::slice::from_ref(&(1..2)), quoting, value)
            .map(|text| String::from_utf8(text).unwrap())
    };
    assert_eq!(spelled(Quoting::Double, "a\"$b`\\").as_deref(), Some("<a\\\"\\$b\\`\\\\>"));
    assert_eq!(spelled(Quoting::Single, "a\"$b").as_deref(), Some("<a\"$b>"));
    assert_eq!(spelled(Quoting::Single, "it's"), None);
    assert_eq!(spelled(Quoting::Bare, "a b;c").as_deref(), Some("<a\\ b\\;c>"));
    let pieces = |text: &[u8], pieces: &[std::ops::Range<usize>]| {
        respell(text, pieces, Quoting::Bare, "v").map(|text| String::from_utf8(text).unwrap())
    };
    assert_eq!(pieces(b"a\"b'c\\\nd", &[0..1, 2..3, 4..5, 7..8]).as_deref(), Some("v\"'\\\n"));
    assert_eq!(pieces(b"a${x}b", &[0..1, 5..6]).as_deref(), Some("v"));
    assert_eq!(pieces(b"ab", &[1..2, 0..1]), None);
}

proptest! {
    #[test]
    fn parse_then_render_is_the_identity(text: Vec<u8>) {
        let script = Script::parse(&text);
        prop_assert_eq!(script.render(), &text[..]);
        let _ = evaluate(&[Source { name: "x", bytes: &text }], &[], &[]);
    }

    #[test]
    fn shell_like_bytes_never_panic(text in "[A-C=$(){}\"'`\\\\;&|<>#~! \\n:?%+*-]{0,60}") {
        let script = Script::parse(text.as_bytes());
        prop_assert_eq!(script.render(), text.as_bytes());
        let _ = evaluate(&[Source { name: "x", bytes: text.as_bytes() }], &[], &[]);
    }
}

#[test]
fn functions_that_call_each_other_again_and_again_end_soon() {
    let text = b"A=x\nf() { f; f; f; f; A=y; f; f; }\nf\n";
    let started = std::time::Instant::now();
    let environment = evaluate(&[Source { name: "a", bytes: text }], &[], &[]);
    assert!(environment.get("A").is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}
