//! The `authz-service` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    authz_service::cli::main()
}
