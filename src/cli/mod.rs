//! The command: one file per verb. Everything that is printed and every exit status leaves through here.

mod apply;
mod boot;
mod devices;
mod history;
mod output;
mod plan;
mod prepare;
mod recover;
mod rollback;
mod schema;
mod status;
mod why;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::report::ExitStatus;
pub use output::Output;

use crate::host::documents::DEFAULT_PATH as DEFAULT_DOCUMENT;

/// Makes a hypervisor that passes PCI devices through to guests what one document says.
///
/// Without a verb: shows the difference between the document and this host, asks, applies exactly that difference, and
/// shows what is left.
///
/// Exit status: 0 in sync; 1 something failed, or waits for a thing that no reboot brings; 2 changes stand unmade (a dry
/// run, or "no" at the prompt); 3 all that is left waits for a reboot; 4 something was refused; 5 persisted and rebooted,
/// still not in effect; 64 usage; 65 the document is wrong; 75 another run holds the lock.
#[derive(Debug, Parser)]
#[command(
    name = "reconcile",
    version,
    args_conflicts_with_subcommands = false,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    apply: ApplyArgs,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show how every managed resource stands, what is owed and what waits for a reboot; never writes.
    Status,
    /// Show the PCI functions of this host with what passing them through depends on.
    Devices(devices::DevicesArgs),
    /// Show where something is lost on its way from the document to what runs, and why; never writes.
    Why(why::WhyArgs),
    /// Note that this boot has reached its target; what the unit reconcile-booted.service runs.
    Booted,
    /// Show the runs that changed something: when, who, from which document, what, and whether it still stands.
    History,
    /// Go back to the state before a run: restore what it and those after it changed, where nobody has changed it since.
    Rollback(rollback::RollbackArgs),
    /// Print the JSON Schema of the document.
    Schema,
}

/// Flags that every verb takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Read the desired state from this file, or from the *.yaml files of this directory; may be repeated, the documents
    /// are joined.
    #[arg(short, long, value_name = "FILE|DIR", global = true, default_value = DEFAULT_DOCUMENT)]
    config: Vec<PathBuf>,
    /// Work on the tree below DIR: files are written there, live changes and commands are only shown.
    #[arg(long, value_name = "DIR", global = true)]
    root: Option<PathBuf>,
    /// Look at this resource only; may be repeated.
    #[arg(long, value_name = "RESOURCE", global = true, value_parser = resource_key)]
    only: Vec<String>,
    /// Print for people or for programs.
    #[arg(short, long, value_enum, default_value_t = Format::Human, global = true)]
    output: Format,
    /// Colour the output.
    #[arg(long, value_enum, default_value_t = Colour::Auto, global = true, value_name = "WHEN")]
    color: Colour,
    /// Say on stderr what is read and done; twice for every detail.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Print nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

/// Flags of the default verb.
#[derive(Debug, Args)]
struct ApplyArgs {
    /// Show what would be done and write nothing, anywhere.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// What the unit does at boot: the live half only, without asking; waits for functions that are not there yet.
    #[arg(long)]
    boot: bool,
    /// Wait at most so many seconds for another run to end; with --boot also, in all, for functions that are not there yet
    /// (30 without this flag).
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    wait: Option<Duration>,
    /// With --dry-run: save the plan to FILE, readable by its owner only.
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    out: Option<PathBuf>,
    /// Make exactly what a dry run has saved (--out, or its JSON output), or refuse and show what has changed since.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["boot", "out", "config", "only"])]
    plan: Option<PathBuf>,
}

impl ApplyArgs {
    /// Whether any of the flags was given.
    fn is_given(&self) -> bool {
        let given = self.wait.is_some() || self.out.is_some() || self.plan.is_some();
        given || self.dry_run || self.yes || self.boot
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text.
    Human,
    /// One JSON document.
    Json,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

fn resource_key(text: &str) -> Result<String, String> {
    let keys: Vec<&str> = crate::resources::REGISTRY.iter().map(|resource| resource.key()).collect();
    if keys.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("the resources are {}", keys.join(", ")))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "a whole number of seconds is wanted".to_owned())
}

/// Runs the command with these arguments (the program's name first) and returns its exit status.
pub fn run(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ExitStatus {
    let arguments: Vec<_> = arguments.into_iter().collect();
    // Programs ask for it often, and it takes less than building the tree of all verbs and flags.
    if let [_, flag] = arguments.as_slice()
        && (flag == "--version" || flag == "-V")
    {
        output::version();
        return ExitStatus::InSync;
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; everything else is a usage error, for which clap would exit with 2.
            let status = if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::InSync };
            let _ = error.print();
            return status;
        }
    };
    let mut output = Output::new(&cli.common);
    match cli.verb {
        None => apply::run(&cli.common, &cli.apply, &mut output),
        Some(_) if cli.apply.is_given() => {
            let flags = "--dry-run, --yes, --boot, --wait, --out and --plan";
            output.fail(
                ExitStatus::Usage,
                &format!("{flags} belong to the default verb (rollback has its own)"),
            )
        }
        Some(Verb::Status) => status::run(&cli.common, &mut output),
        Some(Verb::Devices(args)) => devices::run(&cli.common, &args, &mut output),
        Some(Verb::Why(args)) => why::run(&cli.common, &args, &mut output),
        Some(Verb::Booted) => boot::booted(&cli.common, &output),
        Some(Verb::History) => history::run(&cli.common, &output),
        Some(Verb::Rollback(args)) => rollback::run(&cli.common, &args, &output),
        Some(Verb::Schema) => schema::run(&mut output),
    }
}
