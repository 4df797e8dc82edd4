//! Entry point: hands the arguments to the command and returns its status.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use reconcile::host::{ATTRIBUTE_READER, ATTRIBUTE_WRITER, serve_attribute_reads, serve_attribute_writes};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let [_, verb, root] = arguments.as_slice()
        && let Some(served) = serve(verb, Path::new(root))
    {
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    ExitCode::from(reconcile::cli::run(arguments).code())
}

/// What a child of this program does for it; `None` for a verb that is no such child's.
fn serve(verb: &OsStr, root: &Path) -> Option<Result<(), io::Error>> {
    if verb == ATTRIBUTE_WRITER {
        Some(serve_attribute_writes(root))
    } else if verb == ATTRIBUTE_READER {
        Some(serve_attribute_reads(root))
    } else {
        None
    }
}
