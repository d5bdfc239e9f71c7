//! `cert-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cert_agent::cli::main(std::env::args_os().collect())
}
