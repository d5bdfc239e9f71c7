//! A node without its services: scopes, a socket, and the compiled attackers.

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cert_agent::workload::{
    LaunchSpec, Peer, Program, Refused, Running, Scopes, ScopesConfig, Workload,
};
use daemon::SystemClock;
use evidence::binding::Role;
use kit::attackers::Attackers;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{UnixListener, UnixStream, unix::pipe},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// One node of one test.
pub(super) struct Node {
    directory: TempDir,
    listener: UnixListener,
    pub(super) scopes: Scopes,
    pub(super) attackers: Attackers,
    /// The grant's user: a number that no other test of this run has.
    pub(super) uid: u32,
}

/// A connection that was looked at when it was accepted, and has now asked for an identity.
pub(super) struct Asking {
    pub(super) peer: Peer,
    stream: UnixStream,
    /// A program whose output nobody takes dies of it.
    _output: Option<Lines<BufReader<pipe::Receiver>>>,
}

/// A process that a test started, and what it prints.
pub(super) struct Started {
    child: Child,
    lines: Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Node {
    pub(super) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make cgroups and change users: run them as root"
        );
        let directory = tempfile::tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let attackers = Attackers::compile(directory.path()).unwrap();
        let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
        fs::set_permissions(
            directory.path().join("agent.sock"),
            Permissions::from_mode(0o666),
        )
        .unwrap();
        let name = format!("countersign-test-{}-{number}", std::process::id());
        let scopes = Scopes::open(config(&name), SystemClock::shared()).unwrap();
        Self {
            directory,
            listener,
            scopes,
            attackers,
            uid: FIRST_UID + number,
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program's bytes in a file that its user can read: the same digest, another file.
    pub(super) fn readable_copy(&self) -> PathBuf {
        let copy = self.path("copy");
        fs::copy(&self.attackers.program, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        copy
    }

    pub(super) async fn spec(&self, arguments: &[&str]) -> LaunchSpec {
        LaunchSpec {
            grant: "payments".to_owned(),
            uid: self.uid,
            gid: self.uid,
            role: Role::App,
            program: Program::open(&self.attackers.program).await.unwrap(),
            arguments: arguments.iter().map(OsString::from).collect(),
            environment: vec![(OsString::from("PATH"), OsString::from("/usr/bin:/bin"))],
        }
    }

    /// Runs the verified program in a scope, as `exec` does.
    pub(super) async fn launch(
        &self,
        arguments: &[&str],
    ) -> (Running, Lines<BufReader<pipe::Receiver>>) {
        self.launch_spec(self.spec(arguments).await).await.unwrap()
    }

    pub(super) async fn launch_spec(
        &self,
        spec: LaunchSpec,
    ) -> Result<(Running, Lines<BufReader<pipe::Receiver>>), Refused> {
        let (output, lines) = output();
        let running = self
            .scopes
            .prepare(spec)?
            .start([null(), output, null()])
            .await?;
        Ok((running, lines))
    }

    /// The verified program in a scope, asking on the node's socket.
    pub(super) async fn launch_asking(&self, what: &str, more: &[&str]) -> (Running, Asking) {
        let socket = self.socket();
        let mut arguments = vec![what, socket.to_str().unwrap()];
        arguments.extend(more);
        let (running, lines) = self.launch(&arguments).await;
        let asking = self.accept().await;
        (
            running,
            Asking {
                _output: Some(lines),
                ..asking
            },
        )
    }

    /// Runs a program of nobody's scope, as the grant's user.
    pub(super) fn run(&self, program: &Path, arguments: &[&str]) -> Started {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .uid(self.uid)
            .gid(self.uid)
            .env_clear()
            .current_dir("/");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Started { child, lines }
    }

    /// Runs an attack on the node's socket, as the grant's user.
    pub(super) fn attack(&self, what: &str, more: &[&str]) -> Started {
        let socket = self.socket();
        let mut arguments = vec![what, socket.to_str().unwrap()];
        arguments.extend(more);
        self.run(&self.attackers.attacker, &arguments)
    }

    /// Accepts, pins, greets, and waits for the question.
    pub(super) async fn accept(&self) -> Asking {
        let (mut stream, _address) = within(self.listener.accept()).await.unwrap();
        let peer = Peer::of(&stream).unwrap();
        stream.write_all(&EMPTY_SETTINGS).await.unwrap();
        let mut asked: Vec<u8> = Vec::new();
        while !asked.windows(METHOD.len()).any(|window| window == METHOD) {
            let length = within(stream.read_buf(&mut asked)).await.unwrap();
            assert_ne!(length, 0, "the peer went away before it asked");
        }
        Asking {
            peer,
            stream,
            _output: None,
        }
    }

    /// What the agent would answer that question.
    pub(super) async fn judge(&self, asking: &Asking) -> Result<Arc<Workload>, Refused> {
        within(self.scopes.workload_of(&asking.peer)).await
    }

    /// The end of a test: no process and no cgroup stays.
    pub(super) async fn close(self) {
        within(self.scopes.removed()).await;
        let home = self.scopes.directory().to_owned();
        drop(self);
        let removed = async {
            while home.exists() {
                sleep(Duration::from_millis(5)).await; // the thread that ended the last scope lets go of the directory
            }
        };
        within(removed).await;
    }
}

impl Asking {
    /// Answers as the agent does when it refuses: no message. Reads what else comes: closing with bytes unread would take the answer back.
    pub(super) async fn refuse(mut self) {
        let mut rest = Vec::new();
        // An attacker that has gone needs no answer.
        drop(self.stream.write_all(&GO_AWAY).await);
        drop(self.stream.shutdown().await);
        drop(within(self.stream.read_to_end(&mut rest)).await);
    }
}

impl Started {
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(super) async fn line(&mut self) -> String {
        within(self.lines.next_line())
            .await
            .unwrap()
            .expect("the process ended without a word")
    }
}

pub(super) fn config(name: &str) -> ScopesConfig {
    ScopesConfig {
        name: name.to_owned(),
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_cert-agent")),
    }
}

pub(super) fn output() -> (OwnedFd, Lines<BufReader<pipe::Receiver>>) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    (
        writer,
        BufReader::new(pipe::Receiver::from_owned_fd(reader).unwrap()).lines(),
    )
}

pub(super) fn null() -> OwnedFd {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap()
        .into()
}

/// Every wait has a deadline.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("a wait took longer than 20 s")
}

static NEXT: AtomicU32 = AtomicU32::new(0);
const FIRST_UID: u32 = 61_000;
const METHOD: &[u8] = b"FetchX509SVID";
const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
