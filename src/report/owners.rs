//! Other programs that set what the document sets, for people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::owners::{Outcome, OwnerReport};

const HEADING: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Two lines for each thing that another program holds; empty where none does.
pub fn owners_as_text(owners: &[&OwnerReport]) -> String {
    if owners.is_empty() {
        return String::new();
    }
    let mut text = format!("{HEADING}other owners{HEADING:#}\n");
    for OwnerReport { owner, item, outcome, reason, wins } in owners {
        let (style, shown) = match outcome {
            Outcome::Refused => (BAD, "REFUSED"),
            Outcome::Allowed => (Style::new(), "allowed"),
            Outcome::Same => (Style::new(), "same"),
            Outcome::Warned => (Style::new(), "warning"),
        };
        let at = reason.at.as_ref().map_or(String::new(), |at| format!("  ({at})"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {style}{shown:<8}{style:#}{owner:<16} {item}: {}{at}", reason.text);
        let _ = writeln!(text, "{:27}{wins}", "");
        if let Some(remedy) = &reason.remedy {
            let _ = writeln!(text, "{:27}-> {remedy}", "");
        }
    }
    text.push('\n');
    text
}
