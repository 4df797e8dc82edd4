//! Entry point: hands the arguments to the command and returns its status.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let [_, verb, root] = arguments.as_slice()
        && verb == reconcile::host::ATTRIBUTE_WRITER
    {
        return match reconcile::host::serve_attribute_writes(Path::new(root)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    ExitCode::from(reconcile::cli::run(arguments).code())
}
