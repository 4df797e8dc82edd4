//! Where results and errors are printed, once.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use serde::Serialize;

use super::{Colour, Common, Format};
use crate::document::{DocumentError, DocumentErrors};
use crate::engine::Progress;
use crate::host::LongSteps;
use crate::plan::Step;
use crate::report::{Detail, ExitStatus, Report, SCHEMA, render};

/// Standard output for results, standard error for errors and progress.
#[derive(Debug)]
pub struct Output {
    format: Format,
    colour: ColorChoice,
    quiet: bool,
}

impl Output {
    pub(super) fn new(common: &Common) -> Self {
        let colour = match common.color {
            Colour::Auto => ColorChoice::Auto,
            Colour::Always => ColorChoice::Always,
            Colour::Never => ColorChoice::Never,
        };
        init_log(common.verbose);
        Self { format: common.output, colour, quiet: common.quiet }
    }

    /// Whether results are printed as JSON.
    pub(super) fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether standard error shows colours.
    fn styled_errors(&self) -> bool {
        match self.colour {
            ColorChoice::Auto => AutoStream::choice(&io::stderr()) != ColorChoice::Never,
            choice => choice != ColorChoice::Never,
        }
    }

    /// Prints text with styles to standard output. A reader that has gone away is no error.
    pub(super) fn text(&self, text: &str) {
        if self.quiet {
            return;
        }
        let mut stream = AutoStream::new(io::stdout().lock(), self.colour);
        self.printed(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()));
    }

    /// Says so where standard output took nothing, as on a full disk; the status tells of the host all the same.
    fn printed(&self, result: io::Result<()>) {
        if let Err(error) = result
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.error(&format!("cannot write to standard output: {error}"));
        }
    }

    /// Prints one JSON document to standard output, in every verbosity.
    pub(super) fn document(&self, document: &impl Serialize) {
        let mut stream = io::stdout().lock();
        let written = serde_json::to_writer_pretty(&mut stream, document)
            .map_err(io::Error::from)
            .and_then(|()| stream.write_all(b"\n"))
            .and_then(|()| stream.flush());
        self.printed(written);
    }

    /// Prints a report in the wanted form; as JSON it is always whole.
    pub(super) fn report(&self, report: &Report, detail: Detail) {
        if self.json() {
            self.document(report);
        } else {
            self.text(&render(report, detail));
        }
    }

    /// Prints an error to standard error.
    pub(super) fn error(&self, message: &str) {
        self.diagnostic(&format!("error: {message}\n"));
    }

    /// Says why the command ends before it could report: on standard error, and as JSON where that is wanted. Returns
    /// `status`.
    pub(super) fn fail(&self, status: ExitStatus, message: &str) -> ExitStatus {
        self.error(message);
        if self.json() {
            self.document(&Failure { schema: SCHEMA, in_sync: false, exit_status: status, error: message });
        }
        status
    }

    /// Shows everything that is wrong with the document, and returns the status for that.
    pub(super) fn refuse_document(&self, errors: &DocumentErrors) -> ExitStatus {
        let status = ExitStatus::Document;
        if self.json() {
            let document_errors = errors.errors();
            self.document(&DocumentFailure {
                schema: SCHEMA,
                in_sync: false,
                exit_status: status,
                document_errors,
            });
        } else {
            self.diagnostic(&errors.render(self.styled_errors()));
        }
        status
    }

    /// Prints text with styles to standard error.
    pub(super) fn diagnostic(&self, text: &str) {
        let mut stream = AutoStream::new(io::stderr().lock(), self.colour);
        let _ = stream.write_all(text.as_bytes());
    }

    /// Asks a question on the terminal; only `y` and `yes` mean yes.
    pub(super) fn ask(&self, question: &str) -> bool {
        let mut stream = io::stderr().lock();
        let _ = write!(stream, "{question} [y/N] ").and_then(|()| stream.flush());
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer).is_ok();
        read && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    fn shown(&self) -> Option<Shown> {
        let shown = if io::stderr().is_terminal() { Shown::OneLine } else { Shown::Lines };
        (!self.quiet).then_some(shown)
    }

    /// Progress on standard error: one line that is rewritten on a terminal, plain lines elsewhere.
    pub(super) fn progress(&self) -> Box<dyn Progress> {
        match self.shown() {
            Some(shown) => Box::new(Told { shown, waiting_said: false }),
            None => Box::new(crate::engine::Silent),
        }
    }

    /// Prints a line to standard error that nobody should overlook: in the journal with a priority of its own
    /// (sd-daemon(3), `SD_CRIT`).
    pub(super) fn alarm(&self, message: &str) {
        let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
        self.diagnostic(&format!("{}{message}\n", if to_journal { "<2>" } else { "" }));
    }

    /// Says that another run is waited for.
    pub(super) fn waiting_for_run(&self, pid: Option<u32>, at_most: Duration) {
        if let Some(shown) = self.shown() {
            let holder = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
            shown.say(&format!("waiting up to {} s for another run of reconcile{holder}", at_most.as_secs()));
        }
    }

    /// Shows that a step which takes long is still under way.
    pub(super) fn long_steps(&self) -> LongSteps {
        let shown = self.shown();
        Box::new(move |step, elapsed| {
            if let Some(shown) = shown {
                shown.still_running(step, elapsed);
            }
        })
    }
}

/// The JSON document of a command that ends before it could report.
#[derive(Serialize)]
struct Failure<'a> {
    schema: u32,
    in_sync: bool,
    exit_status: ExitStatus,
    error: &'a str,
}

/// The JSON document of a command whose document is wrong.
#[derive(Serialize)]
struct DocumentFailure<'a> {
    schema: u32,
    in_sync: bool,
    exit_status: ExitStatus,
    document_errors: &'a [DocumentError],
}

/// What `--version` prints.
pub(super) fn version() {
    let line = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n");
    let _ = io::stdout().write_all(line.as_bytes());
}

/// Whether somebody can be asked.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn init_log(verbose: u8) {
    use tracing_subscriber::filter::LevelFilter;
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time();
    // A second initialisation in one process (tests) keeps the first.
    let _ = log.try_init();
}

fn describe(position: usize, total: usize, step: &Step) -> String {
    let act = match step {
        Step::WriteFile { .. } => "write",
        Step::RemoveFile { .. } | Step::RemoveDirectory { .. } => "remove",
        Step::RestoreFile { .. } => "restore",
        Step::WriteAttr { value, .. } => {
            return format!("[{position}/{total}] {} <- {value}", step.target());
        }
        Step::Run { .. } => "run",
    };
    format!("[{position}/{total}] {act} {}", step.target())
}

/// Plain lines, or on a terminal one line that is rewritten.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Lines,
    OneLine,
}

/// How often a plain line says that a long step is still under way.
const STILL_RUNNING_SECONDS: u64 = 30;

impl Shown {
    fn say(self, text: &str) {
        // In one write: standard error has no buffer.
        let line = match self {
            Self::Lines => format!("{text}\n"),
            Self::OneLine => format!("\r\x1b[K{text}"),
        };
        let mut stream = io::stderr().lock();
        let _ = stream.write_all(line.as_bytes()).and_then(|()| stream.flush());
    }

    fn still_running(self, step: &Step, elapsed: Duration) {
        let seconds = elapsed.as_secs();
        let due = match self {
            Self::Lines => seconds > 0 && seconds.is_multiple_of(STILL_RUNNING_SECONDS),
            Self::OneLine => true,
        };
        if due {
            self.say(&format!("{} ({seconds} s)", step.target()));
        }
    }
}

struct Told {
    shown: Shown,
    waiting_said: bool,
}

impl Progress for Told {
    fn step(&mut self, position: usize, total: usize, step: &Step) {
        self.shown.say(&describe(position, total, step));
    }

    fn command(&mut self, argv: &[String]) {
        self.shown.say(&format!("running {}", argv.join(" ")));
    }

    fn package_manager(&mut self, who: &str) {
        self.shown.say(&format!("waiting: {who}"));
    }

    fn waiting(&mut self, functions: &[String], remaining: Duration) {
        if !self.waiting_said {
            self.waiting_said = true;
            self.shown.say(&format!("waiting up to {} s for {}", remaining.as_secs(), functions.join(", ")));
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if matches!(self.shown, Shown::OneLine) {
            self.shown.say("");
        }
    }
}
