//! The real program: its exit codes, its help, its sockets, its end.
#![expect(clippy::indexing_slicing, reason = "test code")]

use std::{
    fs,
    os::unix::{
        fs::{OpenOptionsExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use cert_agent::issuer::embedded_ca::directory::Directory;
use daemon::{Clock as _, SystemClock};
use hyper_util::rt::TokioIo;
use identity::{
    PrivateKey,
    x509_svid::{Leaf, chain_from_pem},
};
use nix::{
    fcntl::OFlag,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::agent::{POLICY, domain};

/// Everything one agent reads, in a directory of its own.
struct Installed {
    files: tempfile::TempDir,
    key: PrivateKey,
}

/// A program that runs, and is stopped with the test.
struct Running {
    child: tokio::process::Child,
    installed: Installed,
}

impl Installed {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let at = |name: &str| files.path().join(name);
        for directory in ["policy/keys", "evidence", "run", "state"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        let key = PrivateKey::generate().unwrap();
        fs::write(at("policy/keys/release.pub"), key.public_key().to_pem()).unwrap();
        fs::write(at("policy/policy.yaml"), POLICY).unwrap();
        Directory::at(at("ca"))
            .init(&domain(), SystemClock.now())
            .unwrap();
        let root = files.path().display();
        let config = format!(
            "trustDomain: acme.test\nnode: node-1\ndirectories: {{ runtime: {root}/run, state: {root}/state }}\npolicy: {{ directory: {root}/policy }}\n\
             evidence: {{ directories: [{root}/evidence] }}\nissuer: {{ embeddedCa: {{ directory: {root}/ca }} }}\nhealth: {{ listen: 127.0.0.1:0 }}\n"
        );
        fs::write(at("cert-agent.yaml"), config).unwrap();
        Self { files, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn break_policy(&self) {
        fs::write(
            self.path("policy/policy.yaml"),
            POLICY.replace("signedBy: release", "singedBy: release"),
        )
        .unwrap();
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg(subcommand)
            .arg("--config")
            .arg(self.path("cert-agent.yaml"));
        command
    }

    /// A program that only root can read, signed as a product.
    fn program(&self, product: &str) -> PathBuf {
        let path = self.path("cat");
        copy(Path::new("/bin/cat"), &path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
        let digest = kit::signer::digest_of(&path).unwrap();
        let evidence = kit::signer::sign(&digest, product, &self.key).unwrap();
        kit::signer::place(&self.path("evidence"), &digest, &evidence).unwrap();
        path
    }

    /// A directory of root's that everybody may enter, and the one it is in.
    fn directory(&self, name: &str) -> (PathBuf, &Path) {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        for directory in [self.files.path(), &path] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        (path, self.files.path())
    }

    fn output(&self, subcommand: &str) -> (Option<i32>, String) {
        told(&self.command(subcommand).output().unwrap())
    }

    async fn start(self) -> Running {
        let mut command = tokio::process::Command::from(self.command("run"));
        let child = command
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let running = Running {
            child,
            installed: self,
        };
        running.until_ready().await;
        running
    }
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().try_into().unwrap())
    }

    /// Waits for the file that names the addresses, then for `/readyz`.
    async fn until_ready(&self) {
        let ready = async {
            while !self.installed.path("run/addresses.json").exists()
                || !self.get("/readyz").await.starts_with("HTTP/1.1 200")
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), ready)
            .await
            .expect("the agent becomes ready");
    }

    async fn get(&self, path: &str) -> String {
        let addresses: serde_json::Value =
            serde_json::from_slice(&fs::read(self.installed.path("run/addresses.json")).unwrap())
                .unwrap();
        let Ok(mut stream) = TcpStream::connect(addresses["health"].as_str().unwrap()).await else {
            return String::new();
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn channel(&self, socket: &str) -> Channel {
        let path = self.installed.path("run").join(socket);
        let connector = tower::service_fn(move |_address| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://agent")
            .connect_with_connector(connector)
            .await
            .unwrap()
    }

    /// Waits until a metric has a value: the agent looks every two seconds.
    async fn until_metric(&self, line: &str) {
        let there = async {
            while !self.get("/metrics").await.contains(line) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(20), there)
            .await
            .unwrap_or_else(|_elapsed| panic!("no `{line}`"));
    }

    /// `cert-agent exec --grant payments OPTIONS -- PROGRAM ARGUMENTS`.
    async fn exec(
        &self,
        options: &[&str],
        program: &Path,
        arguments: &[&Path],
    ) -> (Option<i32>, String) {
        let mut command = tokio::process::Command::new(PROGRAM);
        command
            .args(["exec", "--grant", "payments", "--admin"])
            .arg(self.installed.path("run/agent-admin.sock"))
            .args(options);
        command
            .arg("--")
            .arg(program)
            .args(arguments)
            .kill_on_drop(true);
        let output = timeout(Duration::from_secs(30), command.output())
            .await
            .expect("exec ends")
            .unwrap();
        told(&output)
    }

    async fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill(self.pid(), signal).unwrap();
        let status = timeout(Duration::from_secs(20), self.child.wait())
            .await
            .expect("it ends")
            .unwrap();
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .await
            .unwrap();
        (status.code(), log)
    }
}

fn told(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn help_is_as_pinned() {
    trycmd::TestCases::new()
        .register_bin("cert-agent", Path::new(PROGRAM))
        .case("tests/help/*.md");
}

#[test]
fn check_accepts_what_run_would() {
    let (code, text) = Installed::new().output("check");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("1 grants") && text.contains("CA: intermediate"),
        "{text}"
    );
}

#[test]
fn broken_configuration_is_told_with_its_place_and_ends_with_2() {
    let installed = Installed::new();
    let config = installed.path("cert-agent.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("node: node-1", "nodes: node-1")).unwrap();
    for subcommand in ["run", "check"] {
        let (code, text) = installed.output(subcommand);
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains("cert-agent.yaml:2:1: unknown field `nodes`"),
            "{text}"
        );
    }
}

#[test]
fn broken_policy_is_told_with_its_place_and_the_first_start_ends_with_2() {
    let installed = Installed::new();
    installed.break_policy();
    for subcommand in ["run", "check"] {
        let (code, text) = installed.output(subcommand);
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains("policy/policy.yaml:13:15: unknown key `singedBy`"),
            "{text}"
        );
    }
}

#[test]
fn missing_ca_is_told() {
    let installed = Installed::new();
    fs::remove_file(installed.path("ca/root.pem")).unwrap();
    let (code, text) = installed.output("check");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("root.pem` cannot be used"), "{text}");
}

#[test]
fn ca_is_made_and_renewed_from_the_command_line() {
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("ca");
    let run = |arguments: &[&str]| {
        told(
            &Command::new(PROGRAM)
                .arg("ca")
                .args(arguments)
                .arg("--directory")
                .arg(&ca)
                .output()
                .unwrap(),
        )
    };
    let (code, text) = run(&["init", "--trust-domain", "acme.test"]);
    assert_eq!(code, Some(0), "{text}");
    let before = fs::read(ca.join("intermediate.pem")).unwrap();
    assert_eq!(
        run(&["init", "--trust-domain", "acme.test"]).0,
        Some(1),
        "a root is never overwritten"
    );
    let (code, text) = run(&["intermediate"]);
    assert_eq!(code, Some(0), "{text}");
    assert_ne!(fs::read(ca.join("intermediate.pem")).unwrap(), before);
    assert_eq!(run(&["init", "--trust-domain", "ACME.test"]).0, Some(2));
}

#[tokio::test]
async fn sigterm_ends_open_streams_and_exits_with_0() {
    let running = Installed::new().start().await;
    let mut client = HealthClient::new(running.channel("agent.sock").await);
    let mut watching = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = watching.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let (code, log) = running.stop(Signal::SIGTERM).await;
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test]
async fn health_and_reflection_are_served_beside_the_workload_api() {
    let running = Installed::new().start().await;
    let channel = running.channel("agent.sock").await;
    for service in [
        "",
        "SpiffeWorkloadAPI",
        "envoy.service.secret.v3.SecretDiscoveryService",
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let response = HealthClient::new(channel.clone())
            .check(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(response.status(), ServingStatus::Serving, "{service}");
    }
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("a list of services")
    };
    assert!(
        list.service
            .iter()
            .any(|service| service.name == "SpiffeWorkloadAPI"),
        "{list:?}"
    );
    running.stop(Signal::SIGTERM).await;
}

#[tokio::test]
async fn sockets_have_their_modes() {
    let running = Installed::new().start().await;
    for (socket, mode) in [("agent.sock", 0o666), ("agent-admin.sock", 0o600)] {
        let metadata = fs::metadata(running.installed.path("run").join(socket)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{socket}");
    }
    running.stop(Signal::SIGTERM).await;
}

#[tokio::test]
async fn operators_are_root() {
    let running = Installed::new().start().await;
    let socket = running.installed.path("run/agent-admin.sock");
    // A copy: the build may lie where only root can enter.
    let program = running.installed.path("cert-agent");
    copy(Path::new(PROGRAM), &program);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let ask = |uid: u32| {
        let mut command = Command::new(&program);
        told(
            &command
                .args(["workload", "list", "--admin"])
                .arg(&socket)
                .uid(uid)
                .output()
                .unwrap(),
        )
    };
    assert_eq!(ask(0).0, Some(0));
    // The mode keeps others out, and so does the agent when the mode was changed.
    for directory in [
        running.installed.files.path(),
        &running.installed.path("run"),
    ] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, text) = ask(65534);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("requester-not-permitted"), "{text}");
    running.stop(Signal::SIGTERM).await;
}

#[tokio::test]
async fn directory_of_one_programs_files_is_not_given_to_another() {
    let running = Installed::new().start().await;
    let program = running.installed.program("payments");
    let (given, _parent) = running.installed.directory("given");
    let options = ["--files", given.to_str().unwrap()];
    // It reads from a pipe that never ends.
    let mut first = tokio::process::Command::new(PROGRAM);
    first
        .args(["exec", "--grant", "payments", "--admin"])
        .arg(running.installed.path("run/agent-admin.sock"))
        .args(options)
        .arg("--")
        .arg(&program)
        .stdin(Stdio::piped())
        .kill_on_drop(true);
    let mut first = first.spawn().unwrap();
    let svid = given.join("svid.pem");
    let written = async {
        while !svid.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), written)
        .await
        .expect("the first has its files");

    let (code, text) = running.exec(&options, &program, &[&svid]).await;
    assert_eq!(code, Some(126), "{text}");
    assert!(
        text.contains("the files of `payments-1` are there"),
        "{text}"
    );
    assert!(svid.exists(), "those of the first stay");

    drop(first.stdin.take());
    timeout(Duration::from_secs(20), first.wait())
        .await
        .expect("the first ends")
        .unwrap();
    let (code, text) = running.exec(&options, &program, &[&svid]).await;
    assert_eq!(code, Some(0), "{text}");
    running.stop(Signal::SIGTERM).await;
}

#[tokio::test]
async fn program_has_the_descriptors_that_the_agent_was_started_with() {
    let running = Installed::new().start().await;
    let program = running.installed.program("payments");
    let limits = |of: &str| {
        let line = |line: &&str| line.starts_with("Max open files");
        of.lines().find(line).unwrap().to_owned()
    };
    let (code, text) = running
        .exec(&[], &program, &[Path::new("/proc/self/limits")])
        .await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        limits(&text),
        limits(&fs::read_to_string("/proc/self/limits").unwrap())
    );
    let agents = fs::read_to_string(format!("/proc/{}/limits", running.pid())).unwrap();
    let agents: Vec<_> = limits(&agents)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(agents[3], agents[4], "the agent's own is raised");
    running.stop(Signal::SIGTERM).await;
}

#[tokio::test]
async fn process_that_the_agent_did_not_start_is_refused_and_explained() {
    let running = Installed::new().start().await;
    let mut client =
        countersign_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient::new(
            running.channel("agent.sock").await,
        );
    let mut request = tonic::Request::new(countersign_proto::workload::X509svidRequest {});
    request
        .metadata_mut()
        .insert("workload.spiffe.io", "true".parse().unwrap());
    let status = client.fetch_x509svid(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let socket = running.installed.path("run/agent-admin.sock");
    let list = Command::new(PROGRAM)
        .args(["workload", "list", "--output", "json", "--admin"])
        .arg(&socket)
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let reason = list[0]["reason"].as_str().unwrap();
    assert!(status.message().starts_with(reason), "{}", status.message());
    let digest = list[0]["digests"][0].as_str().unwrap();
    let (code, text) = told(
        &Command::new(PROGRAM)
            .args(["workload", "explain", digest, "--admin"])
            .arg(&socket)
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(reason) && text.contains("next "), "{text}");
    let (code, text) = told(
        &Command::new(PROGRAM)
            .args(["workload", "explain", "nobody", "--admin"])
            .arg(&socket)
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(1), "{text}");
    running.stop(Signal::SIGTERM).await;
}

#[tokio::test]
async fn broken_policy_leaves_the_one_before_in_force_also_over_a_restart() {
    let running = Installed::new().start().await;
    running.installed.break_policy();
    running
        .until_metric("countersign_agent_policy_broken 1")
        .await;
    let Running { installed, .. } = {
        let mut running = running;
        kill(running.pid(), Signal::SIGTERM).unwrap();
        running.child.wait().await.unwrap();
        running
    };
    fs::remove_file(installed.path("run/addresses.json")).unwrap();
    let running = installed.start().await;
    running
        .until_metric("countersign_agent_policy_broken 1")
        .await;
    fs::write(running.installed.path("policy/policy.yaml"), POLICY).unwrap();
    running
        .until_metric("countersign_agent_policy_broken 0")
        .await;
    let (code, log) = running.stop(Signal::SIGTERM).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the last good policy is in force"), "{log}");
}

#[tokio::test]
async fn signed_program_reads_the_files_it_was_given_and_they_end_with_it() {
    let running = Installed::new().start().await;
    let program = running.installed.program("payments");
    let (given, parent) = running.installed.directory("given");
    let svid = given.join("svid.pem");
    let (code, text) = running
        .exec(&["--files", given.to_str().unwrap()], &program, &[&svid])
        .await;
    assert_eq!(code, Some(0), "{text}");
    let chain = chain_from_pem(text.as_bytes()).unwrap();
    let leaf = Leaf::parse(&chain[0]).unwrap();
    assert_eq!(
        leaf.spiffe_id.as_str(),
        "spiffe://acme.test/ns/pay/sa/payments"
    );
    let gone = async {
        while svid.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), gone)
        .await
        .expect("the files go with the program");
    assert!(parent.exists());
    running.stop(Signal::SIGTERM).await;
}

#[tokio::test]
async fn unsigned_program_is_refused_with_126_and_explained() {
    let running = Installed::new().start().await;
    let program = running.installed.program("somebody else's product");
    let (code, text) = running.exec(&[], &program, &[]).await;
    assert_eq!(code, Some(126), "{text}");
    assert!(
        text.starts_with("cert-agent: refused: artifact-claim-mismatch: "),
        "{text}"
    );
    let socket = running.installed.path("run/agent-admin.sock");
    let mut explain = Command::new(PROGRAM);
    let explain = explain
        .args(["workload", "explain", "payments", "--admin"])
        .arg(&socket)
        .output();
    let (code, text) = told(&explain.unwrap());
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("artifact-claim-mismatch for spiffe://acme.test/ns/pay/sa/payments"),
        "{text}"
    );
    running.stop(Signal::SIGTERM).await;
}

/// The agent reads its configuration after it has made itself undumpable, so one that waits for it shows what others see of it.
#[tokio::test]
async fn process_of_the_same_user_cannot_read_the_agent() {
    let installed = Installed::new();
    fs::set_permissions(installed.files.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let fifo = installed.path("fifo.yaml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let copy = installed.path("cert-agent");
    self::copy(Path::new(PROGRAM), &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let start = |command: &mut Command| {
        command
            .uid(NOBODY)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut agent = start(Command::new(&copy).args(["check", "--config"]).arg(&fifo));
    let mut control = start(Command::new("sleep").arg("60"));
    let reads = |pid: u32| {
        let mut command = Command::new("cat");
        command
            .arg(format!("/proc/{pid}/environ"))
            .uid(NOBODY)
            .output()
            .unwrap()
            .status
            .success()
    };
    // It has opened the pipe once a writer finds a reader there.
    let waiting = async {
        loop {
            match fs::OpenOptions::new()
                .write(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(&fifo)
            {
                Ok(writer) => return writer,
                Err(_no_reader) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let _writer = timeout(Duration::from_secs(20), waiting)
        .await
        .expect("the agent reads its configuration");
    assert!(
        reads(control.id()),
        "another process of this user can be read"
    );
    assert!(!reads(agent.id()), "the agent cannot");
    for child in [&mut agent, &mut control] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// By a process of its own: a descriptor that this one has open for writing may live on in a child of another test, and the copy could not be run.
fn copy(from: &Path, to: &Path) {
    assert!(
        Command::new("cp")
            .arg(from)
            .arg(to)
            .status()
            .unwrap()
            .success()
    );
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_cert-agent");
const NOBODY: u32 = 65534;
