//! Commands with a name: what they can do to a variable.

use super::ast::{Word, is_name};
use super::commands::assignment;
use super::eval::{Returned, Shell, Status, Value};

fn literal(word: &Word) -> Option<String> {
    word.literal().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// `NAME = VALUE` and `NAME +=VALUE`: an assignment with blanks, which is none.
fn begins_with_equals(args: &[Word]) -> bool {
    args.first().and_then(literal).is_some_and(|arg| arg.starts_with('=') || arg.starts_with("+="))
}

impl Shell<'_> {
    /// A command with a name: a function, a builtin, or a program.
    pub(super) fn run(&mut self, at: usize, words: &[Word], prefix: &[&str]) -> Result<Status, Returned> {
        for word in words {
            let _ = self.expand(word);
        }
        let Some((name, args)) = words.split_first().and_then(|(name, args)| Some((literal(name)?, args)))
        else {
            self.lose(at, "the name of the command that stands here is computed");
            return Ok(Status::Unknown);
        };
        if self.functions.contains_key(&name) {
            self.call(&name, at, prefix);
            return Ok(Status::Unknown);
        }
        let special = matches!(
            name.as_str(),
            ":" | "export" | "readonly" | "set" | "unset" | "return" | "times" | "shift"
        );
        if special {
            for name in prefix {
                let doubt = self.doubt(at, "an assignment before a special builtin");
                self.assign(name, Value::Unknown(doubt), at);
            }
        }
        match name.as_str() {
            ":" | "true" | "times" => Ok(Status::Success),
            "false" => Ok(Status::Failure),
            "export" | "readonly" => {
                self.export(&name, args, at);
                Ok(Status::Success)
            }
            "unset" => {
                self.unset(args, at);
                Ok(Status::Success)
            }
            "read" | "getopts" | "local" => {
                for arg in args {
                    match literal(arg) {
                        Some(arg) => {
                            let variable = arg.split('=').next().unwrap_or_default().to_owned();
                            if is_name(&variable) {
                                let doubt = self.doubt(at, format!("{name} sets {variable}"));
                                self.assign(&variable, Value::Unknown(doubt), at);
                            }
                        }
                        None => self.lose(at, format!("{name} sets a variable whose name is computed")),
                    }
                }
                Ok(Status::Unknown)
            }
            "return" => {
                let fails = args.first().is_some_and(|arg| literal(arg).as_deref() != Some("0"));
                if fails {
                    self.lose(
                        at,
                        "a return with a status other than 0 ends the program (it runs under set -e)",
                    );
                } else if self.maybe == 0 {
                    return Err(Returned);
                } else if self.calls == 0 {
                    self.returned = Some(self.doubt(at, "what follows is skipped if the shell returns here"));
                }
                Ok(Status::Success)
            }
            "set" => {
                let harmless = |arg: &Word| {
                    matches!(literal(arg).as_deref(), Some("-e" | "-a" | "-x" | "-v" | "+x" | "+v" | "+a"))
                };
                if !args.iter().all(harmless) {
                    self.lose(at, "set changes how the shell reads what follows");
                }
                Ok(Status::Success)
            }
            "eval" | "." | "source" => {
                self.lose(at, format!("{name} runs text that is not in this file"));
                Ok(Status::Unknown)
            }
            "exit" | "exec" | "trap" | "alias" | "unalias" | "shift" | "command" | "builtin" | "break"
            | "continue" | "declare" | "typeset" | "let" | "shopt" | "mapfile" | "readarray" | "enable" => {
                self.lose(at, format!("{name} may change any variable, or end the program"));
                Ok(Status::Unknown)
            }
            "printf"
                if args.first().is_none_or(|arg| literal(arg).is_none_or(|arg| arg.starts_with("-v"))) =>
            {
                self.lose(at, "printf -v assigns a variable in some shells");
                Ok(Status::Unknown)
            }
            name if name.contains("+=") => {
                let why = "\"+=\" is no assignment in a POSIX shell: it looks for a command of that name, and the program ends there";
                self.lose(at, why);
                Ok(Status::Unknown)
            }
            name if name.ends_with('\r') || !name.is_ascii() || name.contains('=') || name.is_empty() => {
                self.lose(
                    at,
                    format!(
                        "there is no command {name:?}, and the program ends there (it runs under set -e)"
                    ),
                );
                Ok(Status::Unknown)
            }
            name if is_name(name) && name != "test" && begins_with_equals(args) => {
                let why = "blanks around \"=\" make this a command, and the program ends where there is none of that name";
                self.lose(at, why);
                Ok(Status::Unknown)
            }
            // A program, or a builtin that sets no variable of ours.
            _ => Ok(Status::Unknown),
        }
    }

    fn call(&mut self, name: &str, at: usize, prefix: &[&str]) {
        const DEEPEST: usize = 16;
        // Functions that call each other several times would take time without end within that depth.
        const MOST: usize = 1000;
        for name in prefix {
            let doubt = self.doubt(at, "an assignment before a function's call");
            self.assign(name, Value::Unknown(doubt), at);
        }
        let Some((file, body)) = self.functions.get(name).cloned() else { return };
        if self.calls >= DEEPEST || self.called >= MOST {
            self.lose(at, "functions call each other too deep");
            return;
        }
        let here = std::mem::replace(&mut self.file, file);
        self.calls += 1;
        self.called += 1;
        self.maybe(&format!("in the function {name}"), |shell| {
            let _ = shell.command(&body, true);
        });
        self.calls -= 1;
        self.file = here;
    }

    fn export(&mut self, command: &str, args: &[Word], at: usize) {
        for arg in args {
            let name = match assignment(arg, arg.span.start) {
                Some(assignment) => {
                    let value = match self.expand(&assignment.value) {
                        Ok(chars) => Value::Known(chars),
                        Err(doubt) => Value::Unknown(doubt),
                    };
                    self.assign(&assignment.name, value, assignment.at);
                    Some(assignment.name)
                }
                None => arg.bare().filter(|name| is_name(name) || name.starts_with('-')),
            };
            match name {
                Some(name) if command == "readonly" => {
                    self.readonly.insert(name);
                }
                Some(_) => {}
                None => self.lose(at, format!("{command} is given a name that is computed")),
            }
        }
    }

    fn unset(&mut self, args: &[Word], at: usize) {
        let mut functions = false;
        for arg in args {
            match arg.bare() {
                Some(option) if option == "-f" => functions = true,
                Some(option) if option == "-v" => functions = false,
                Some(name) if functions => {
                    self.functions.remove(&name);
                }
                Some(name) if is_name(&name) => self.assign(&name, Value::Unset, at),
                _ => self.lose(at, "unset is given a name that is computed"),
            }
        }
    }
}
