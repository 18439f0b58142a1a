//! The mail server `pillarboxd`. Everything is in the library beside it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    pillarbox_reference_server::cli::main()
}
