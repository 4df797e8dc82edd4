//! Firmware and kernel facts for people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::facts::{Fact, Standing};

const HEADING: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// One line for each fact, and the remedy below those that have one.
pub fn facts_as_text(facts: &[Fact]) -> String {
    let mut text = format!("{HEADING}firmware and kernel{HEADING:#}\n");
    for Fact { fact, state, reason } in facts {
        let (style, shown) = match state {
            Standing::Good => (Style::new(), "ok"),
            Standing::Note => (Style::new(), "note"),
            Standing::Fails => (BAD, "FAILS"),
            Standing::Unknown => (Style::new(), "unknown"),
        };
        let at = reason.at.as_ref().map_or(String::new(), |at| format!("  ({at})"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {style}{shown:<8}{style:#}{fact:<20} {}{at}", reason.text);
        if let Some(remedy) = &reason.remedy {
            let _ = writeln!(text, "{:31}-> {remedy}", "");
        }
    }
    text
}
