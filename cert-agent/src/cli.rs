//! The command line.

mod ca;
mod run;
mod workload;

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, ConfigError, DEFAULT_PATH},
    exec,
};

/// Runs the command that the arguments name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    // The launcher becomes another program: nothing may start before it.
    if arguments.get(1).map(OsString::as_os_str) == Some(OsStr::new("launch")) {
        return exec::launcher::main(arguments.into_iter().skip(2));
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command),
        Err(error) => {
            // Help and version come here too, with code 0. A closed terminal is not worth an error.
            let _printed = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
        }
    }
}

/// Gives each workload of this node the SPIFFE identity that its verified signature earns.
#[derive(Debug, Parser)]
#[command(name = "cert-agent", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the Workload API, SDS and the admin socket until SIGTERM.
    Run(ConfigFile),
    /// Check the configuration, the policy directory and the CA, and say what is wrong.
    Check(ConfigFile),
    /// Make or renew the embedded CA.
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Verify a program, run it in a scope of its own, and give it its identity.
    Exec(ExecArguments),
    /// Ask a running agent about its workloads.
    #[command(subcommand)]
    Workload(workload::WorkloadCommand),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

/// Which agent is asked.
#[derive(Debug, Args)]
struct AdminSocket {
    /// The agent's admin socket; without it, that of the configuration.
    #[arg(long, value_name = "SOCKET")]
    admin: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Args)]
struct ExecArguments {
    /// The grant to run under; its `unix:uid` selector is the user.
    #[arg(long, value_name = "NAME")]
    grant: String,
    /// Write `svid.pem`, `svid_key.pem` and `bundle.pem` into this directory, for programs that know no API.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    #[command(flatten)]
    socket: AdminSocket,
    /// The program, an absolute path, and its arguments.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run(file) => run::run(&file.config),
        Command::Check(file) => run::check(&file.config),
        Command::Ca(command) => ca::main(&command),
        Command::Exec(arguments) => exec_program(arguments),
        Command::Workload(command) => workload::main(command),
    }
}

fn exec_program(arguments: ExecArguments) -> ExitCode {
    let ExecArguments {
        grant,
        files,
        socket,
        program,
    } = arguments;
    let mut program = program.into_iter();
    let (Some(path), Some(admin)) = (program.next().map(PathBuf::from), socket.path()) else {
        return ExitCode::from(EXIT_USAGE);
    };
    let options = exec::client::ExecOptions {
        admin,
        grant,
        files,
        program: path,
        arguments: program.collect(),
    };
    block_on(exec::client::main(options))
}

impl AdminSocket {
    /// The socket given, or that of the configuration; a broken configuration is told.
    fn path(&self) -> Option<PathBuf> {
        if let Some(admin) = &self.admin {
            return Some(admin.clone());
        }
        match Config::read(&self.file.config) {
            Ok(config) => Some(config.admin_socket()),
            Err(errors) => {
                tell_all(&errors);
                None
            }
        }
    }
}

/// Runs a client's one task on this thread.
fn block_on(task: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(task),
        Err(error) => {
            tell(&format!("no runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn tell_all(errors: &[ConfigError]) {
    for error in errors {
        tell(&error.to_string());
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the command line's errors are its output"
)]
fn tell(line: &str) {
    eprintln!("cert-agent: {line}");
}

#[expect(clippy::print_stdout, reason = "a command's answer is its output")]
fn say(line: &str) {
    println!("{line}");
}

/// What clap uses for wrong arguments, and we for wrong files.
const EXIT_USAGE: u8 = 2;
