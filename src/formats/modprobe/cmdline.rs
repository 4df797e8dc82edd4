//! What kmod takes from the kernel command line (`kmod_config_parse_kcmdline`).

use super::Directive;
use super::line::underscores;

/// How much of /proc/cmdline kmod reads (`KCMD_LINE_SIZE`, one byte for the end).
const LIMIT: usize = 4095;

enum State {
    Ignore,
    Module,
    Parameter,
    Value,
}

/// `MODULE.PARAMETER[=VALUE]` as options, `modprobe.blacklist=` as blacklist entries, in order.
pub(super) fn directives(cmdline: &[u8]) -> Vec<Directive> {
    let cmdline = cmdline.get(..LIMIT).unwrap_or(cmdline);
    let end = cmdline.iter().position(|byte| *byte == 0).unwrap_or(cmdline.len());
    let text = String::from_utf8_lossy(cmdline.get(..end).unwrap_or_default());

    let mut found = Vec::new();
    let mut token = Token::default();
    let mut state = State::Module;
    let mut quoted = false;
    // The end counts as a blank.
    for c in text.chars().chain(std::iter::once(' ')) {
        let blank = matches!(c, ' ' | '\n' | '\t' | '\x0b' | '\x0c' | '\r');
        state = match state {
            State::Value if blank && quoted => {
                token.value.push(c);
                State::Value
            }
            State::Parameter | State::Value if blank && !quoted => {
                token.emit(matches!(state, State::Value), &mut found);
                token = Token::default();
                State::Module
            }
            _ if blank && quoted => State::Ignore,
            _ if blank => {
                token = Token::default();
                State::Module
            }
            State::Value => {
                quoted ^= c == '"';
                token.value.push(c);
                State::Value
            }
            State::Module if c == '"' && !quoted && token.is_empty() => {
                quoted = true;
                token.quoted = true;
                State::Module
            }
            _ if c == '"' => {
                quoted = !quoted;
                State::Ignore
            }
            State::Module if c == '.' => State::Parameter,
            State::Module if c == '=' => State::Ignore,
            State::Module => {
                token.module.push(c);
                State::Module
            }
            State::Parameter if c == '=' => State::Value,
            State::Parameter if c == '.' => State::Ignore,
            State::Parameter => {
                token.parameter.push(c);
                State::Parameter
            }
            State::Ignore => State::Ignore,
        };
    }
    found
}

#[derive(Default)]
struct Token {
    /// Whether a quote stood before the name; it then goes before the value.
    quoted: bool,
    module: String,
    parameter: String,
    value: String,
}

impl Token {
    fn is_empty(&self) -> bool {
        !self.quoted && self.module.is_empty()
    }

    fn emit(&self, with_value: bool, found: &mut Vec<Directive>) {
        let quote = if self.quoted { "\"" } else { "" };
        if with_value && self.module == "modprobe" && self.parameter == "blacklist" {
            // kmod compares these names as they are written, without taking `-` for `_`.
            let value = format!("{quote}{}", self.value);
            found.extend(value.split(',').map(|module| Directive::Blacklist { module: module.to_owned() }));
            return;
        }
        let Some(module) = underscores(&self.module) else { return };
        let arguments = if with_value {
            format!("{}={quote}{}", self.parameter, self.value)
        } else {
            self.parameter.clone()
        };
        found.push(Directive::Options { module, arguments: arguments.replace('\t', " ") });
    }
}
