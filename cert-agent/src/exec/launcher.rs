//! `cert-agent launch`: the last of ours to run in a scope, before it becomes the program.
//!
//! It is started by the agent and by nobody else: with the program and a status pipe as descriptors 3 and 4, and the caller's standard streams. It must run
//! before anything of the process has opened a descriptor or started a thread.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    iter,
    os::{fd::RawFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::{
    sys::{prctl, stat},
    unistd::{self, Gid, Uid},
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

mod arguments;

pub use arguments::Launch;

use crate::descriptors;

/// Becomes the program. `arguments` are those after `launch`; returns only when that failed.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Err(failure) = become_program(arguments);
    // Nobody is left to tell when this fails too: the agent sees the pipe's end.
    drop(writeln!(io::stderr(), "cert-agent: launch: {failure}"));
    ExitCode::from(LAUNCH_FAILED)
}

fn become_program(arguments: impl IntoIterator<Item = OsString>) -> Result<Never, Failure> {
    let launch = Launch::parse(arguments).ok_or(Failure {
        step: "the arguments cannot be read",
        source: None,
    })?;
    let (program, mut status) = take_descriptors().map_err(at("the agent passed no program"))?;
    let signals = default_signals().map_err(at("cannot catch signals"));
    let Err(failure) = signals
        .and_then(|_caught| enter(&launch).and_then(|()| run(&launch, &program, &mut status)));
    drop(write!(status, "{failure}"));
    Err(failure)
}

/// Into the scope first: whatever happens after happens there.
fn enter(launch: &Launch) -> Result<(), Failure> {
    fs::write(launch.cgroup.join("cgroup.procs"), "0").map_err(at("cannot enter the scope"))?;
    close_inherited().map_err(at("cannot close what was left open"))?;
    unistd::setsid().map_err(at("cannot begin a session"))?;
    stat::umask(stat::Mode::from_bits_truncate(UMASK));
    descriptors::set_limit(launch.descriptors).map_err(at("cannot limit descriptors"))?;
    let (uid, gid) = (Uid::from_raw(launch.uid), Gid::from_raw(launch.gid));
    unistd::setgroups(&[]).map_err(at("cannot leave the groups"))?;
    unistd::setresgid(gid, gid, gid).map_err(at("cannot take the group"))?;
    unistd::setresuid(uid, uid, uid).map_err(at("cannot take the user"))?;
    prctl::set_no_new_privs().map_err(at("cannot give up new privileges"))
}

/// Executes the very file that was opened and hashed, whatever its path leads to by now. A file that the kernel does not run is not given to a shell.
fn run(launch: &Launch, program: &File, status: &mut File) -> Result<Never, Failure> {
    let arguments: Vec<_> = iter::once(&launch.name)
        .chain(&launch.arguments)
        .map(|argument| text(argument.as_bytes()))
        .collect::<Result<_, _>>()?;
    let environment: Vec<_> = launch
        .environment
        .iter()
        .map(|(name, value)| variable(name, value))
        .collect::<Result<_, _>>()?;
    status
        .write_all(READY.as_bytes())
        .map_err(at("cannot report"))?;
    let Err(error) = unistd::fexecve(program, &arguments, &environment);
    Err(at("cannot execute the program")(error))
}

fn variable(name: &OsStr, value: &OsStr) -> Result<CString, Failure> {
    text([name.as_bytes(), b"=", value.as_bytes()].concat())
}

fn text(bytes: impl Into<Vec<u8>>) -> Result<CString, Failure> {
    CString::new(bytes).map_err(at("an argument has a zero byte in it"))
}

/// A signal that is ignored stays so over an exec, and Rust's runtime ignores SIGPIPE; one that is caught does not. So each is caught.
fn default_signals() -> io::Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    for number in FIRST_SIGNAL..=LAST_SIGNAL {
        // Some cannot be caught; those cannot be ignored either.
        drop(signal(SignalKind::from_raw(number)));
    }
    Ok(runtime)
}

/// Opens both again, so that they close on exec, and closes those that would not.
fn take_descriptors() -> io::Result<(File, File)> {
    let program = File::open(descriptor_path(PROGRAM_DESCRIPTOR))?;
    let status = OpenOptions::new()
        .write(true)
        .open(descriptor_path(STATUS_DESCRIPTOR))?;
    unistd::close(PROGRAM_DESCRIPTOR)?;
    unistd::close(STATUS_DESCRIPTOR)?;
    Ok((program, status))
}

/// The program gets the three standard streams and no other descriptor: also none that the agent's own parent left open.
fn close_inherited() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let name = entry?.file_name();
        let number: RawFd = name.to_string_lossy().parse().map_err(io::Error::other)?;
        if number > STANDARD_ERROR
            && !closes_on_exec(&PathBuf::from("/proc/self/fdinfo").join(name))?
        {
            unistd::close(number)?;
        }
    }
    Ok(())
}

/// Those of this process do: they were opened by Rust's library.
fn closes_on_exec(info: &Path) -> io::Result<bool> {
    let info = fs::read_to_string(info)?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    Ok(flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & CLOSE_ON_EXEC != 0))
}

fn descriptor_path(number: RawFd) -> String {
    format!("/proc/self/fd/{number}")
}

fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |source| Failure {
        step,
        source: Some(source.into()),
    }
}

/// A step that failed, in one line for the one who waits at the other end of the pipe.
#[derive(Debug)]
struct Failure {
    step: &'static str,
    source: Option<io::Error>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.step),
            None => f.write_str(self.step),
        }
    }
}

/// A launcher that succeeds is no launcher any more.
enum Never {}

/// Descriptor of the program, as the agent passes it.
pub(crate) const PROGRAM_DESCRIPTOR: RawFd = 3;
/// Descriptor of the status pipe, as the agent passes it.
pub(crate) const STATUS_DESCRIPTOR: RawFd = 4;
/// What the launcher reports before it becomes the program. Words after it, or none at all, mean that it did not.
pub(crate) const READY: &str = "ready\n";
const FIRST_SIGNAL: i32 = 1;
/// The last that is not a real-time signal.
const LAST_SIGNAL: i32 = 31;
const STANDARD_ERROR: RawFd = 2;
/// `O_CLOEXEC`, as `fdinfo` shows it.
const CLOSE_ON_EXEC: u32 = 0o2_000_000;
/// Files that a program makes are written by it alone.
const UMASK: u32 = 0o022;
/// As `env` and `nohup` do it for failures of their own.
const LAUNCH_FAILED: u8 = 125;
