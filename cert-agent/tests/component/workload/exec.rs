//! `cert-agent exec`, the real program, against the agent's end of it.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
};

use cert_agent::{
    exec::{Admission, Answer, Terms, server},
    workload::{Peer, Program, Refused, Scopes, Workload},
};
use countersign_proto::agent::{
    ExecRequest, ExplainWorkloadRequest, ExplainWorkloadResponse, ListWorkloadsRequest,
    ListWorkloadsResponse, RotateWorkloadRequest, RotateWorkloadResponse,
    agent_admin_server::{AgentAdmin, AgentAdminServer},
};
use evidence::binding::Role;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use parking_lot::Mutex;
use policy::{grant::Selector, reason::Reason};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{UnixListener, UnixStream},
    process::{Child, Command},
    task::JoinSet,
};
use tokio_stream::{StreamExt as _, wrappers::UnixListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::Connected},
};

use super::node::{Node, within};

/// The rest of the agent, as far as `exec` needs it.
#[derive(Debug, Default)]
struct Desk {
    uid: u32,
    refuses: bool,
    begun: Mutex<Vec<(String, Option<PathBuf>)>>,
    refused: Mutex<Vec<Refused>>,
}

impl Admission for Desk {
    fn admit<'a>(&'a self, _grant: &'a str, program: &'a Program) -> Answer<'a, Terms> {
        let unsigned = || {
            Refused::new(Reason::ArtifactUnsigned, "nobody signed it")
                .running([program.digest().clone()])
        };
        let selectors = vec![Selector::parse(&format!("unix:uid:{}", self.uid)).unwrap()];
        let terms = Terms {
            selectors,
            role: Role::App,
            socket: PathBuf::from("/run/countersign/agent.sock"),
        };
        Box::pin(async move {
            if self.refuses {
                Err(unsigned())
            } else {
                Ok(terms)
            }
        })
    }

    fn begin(&self, workload: Arc<Workload>, files: Option<PathBuf>) -> Answer<'_, ()> {
        self.begun.lock().push((workload.id.clone(), files));
        Box::pin(async { Ok(()) })
    }

    fn refuse(&self, refused: Refused) {
        self.refused.lock().push(refused);
    }
}

struct Admin {
    scopes: Scopes,
    desk: Arc<Desk>,
}

/// An admin socket that serves `exec`, for as long as it is held.
struct Served {
    socket: PathBuf,
    desk: Arc<Desk>,
    _server: JoinSet<()>,
}

impl Served {
    fn on(node: &Node, desk: Desk) -> Self {
        let socket = node.path("agent-admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .unwrap();
        let desk = Arc::new(Desk {
            uid: node.uid,
            ..desk
        });
        let admin = Admin {
            scopes: node.scopes.clone(),
            desk: Arc::clone(&desk),
        };
        let incoming = UnixListenerStream::new(listener).map(|stream| stream.map(Connection::new));
        let mut server = JoinSet::new();
        server.spawn(async move {
            Server::builder()
                .add_service(AgentAdminServer::new(admin))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self {
            socket,
            desk,
            _server: server,
        }
    }

    fn exec(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cert-agent"));
        command
            .arg("exec")
            .arg("--admin")
            .arg(&self.socket)
            .args(["--grant", "payments", "--"])
            .arg(program)
            .args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// The client, once its program has said that it runs.
async fn holding(command: &mut Command) -> Child {
    let mut client = command.spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(within(lines.next_line()).await.unwrap().unwrap(), "holding");
    client
}

async fn output(command: &mut Command) -> Output {
    within(command.output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_streams_and_exit_code_pass_through() {
    let node = Node::new();
    let served = Served::on(&node, Desk::default());
    let output = output(&mut served.exec(&node.attackers.program, &["ask", "/nowhere"])).await;
    assert_eq!(
        text(&output.stdout),
        "failed: connect: No such file or directory\n"
    );
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(98), String::new())
    );
    assert_eq!(*served.desk.begun.lock(), [("payments-1".to_owned(), None)]);
    drop(served);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_pass_through() {
    let node = Node::new();
    let served = Served::on(&node, Desk::default());
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
    ] {
        let mut client = holding(&mut served.exec(&node.attackers.program, &["hold"])).await;
        kill(
            Pid::from_raw(client.id().unwrap().try_into().unwrap()),
            signal,
        )
        .unwrap();
        assert_eq!(within(client.wait()).await.unwrap().code(), Some(code));
    }
    drop(served);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn program_ends_with_whoever_asked_for_it() {
    let node = Node::new();
    let served = Served::on(&node, Desk::default());
    let mut client = holding(&mut served.exec(&node.attackers.program, &["hold"])).await;
    let workload = node.scopes.workloads().pop().unwrap();
    client.kill().await.unwrap();
    within(node.scopes.gone(&workload)).await;
    within(node.scopes.removed()).await;
    drop(served);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_program_is_told_in_one_line() {
    let node = Node::new();
    let served = Served::on(
        &node,
        Desk {
            refuses: true,
            ..Desk::default()
        },
    );
    let output = output(&mut served.exec(&node.attackers.program, &["hold"])).await;
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(
        text(&output.stderr),
        "cert-agent: refused: artifact-unsigned: nobody signed it\n"
    );
    let refused = served.desk.refused.lock().pop().unwrap();
    assert_eq!(
        (refused.reason, refused.grant.as_deref()),
        (Reason::ArtifactUnsigned, Some("payments"))
    );
    assert!(served.desk.begun.lock().is_empty());
    drop(served);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_its_user_can_read_is_refused() {
    let node = Node::new();
    let served = Served::on(&node, Desk::default());
    let output = output(&mut served.exec(&node.readable_copy(), &["hold"])).await;
    assert_eq!(output.status.code(), Some(126));
    assert!(
        text(&output.stderr).starts_with("cert-agent: refused: workload-not-isolated: "),
        "{}",
        text(&output.stderr)
    );
    drop(served);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_root_may_ask() {
    let node = Node::new();
    let served = Served::on(&node, Desk::default());
    // The program under test need not lie where everybody can reach it.
    let copy = node.path("cert-agent");
    std::fs::copy(env!("CARGO_BIN_EXE_cert-agent"), &copy).unwrap();
    let mut command = Command::new(copy);
    command
        .arg("exec")
        .arg("--admin")
        .arg(&served.socket)
        .args(["--grant", "payments", "--"])
        .arg(&node.attackers.program);
    let output = output(command.uid(node.uid).gid(node.uid).current_dir("/")).await;
    assert_eq!(output.status.code(), Some(126));
    assert!(
        text(&output.stderr).starts_with("cert-agent: refused: requester-not-permitted: "),
        "{}",
        text(&output.stderr)
    );
    drop(served);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_cannot_be_reached_is_told() {
    let node = Node::new();
    let served = Served::on(&node, Desk::default());
    std::fs::remove_file(&served.socket).unwrap();
    let output = output(&mut served.exec(&node.attackers.program, &["hold"])).await;
    assert_eq!(output.status.code(), Some(125));
    assert!(
        text(&output.stderr).contains("cannot reach the agent"),
        "{}",
        text(&output.stderr)
    );
    drop(served);
    node.close().await;
}

#[tonic::async_trait]
impl AgentAdmin for Admin {
    type ExecStream = server::Responses;

    async fn exec(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let peer = request.extensions().get::<Peer>().unwrap().clone();
        let desk: Arc<dyn Admission> = Arc::<Desk>::clone(&self.desk);
        Ok(Response::new(server::run(
            self.scopes.clone(),
            desk,
            peer,
            request.into_inner(),
        )))
    }

    async fn list_workloads(
        &self,
        _request: Request<ListWorkloadsRequest>,
    ) -> Result<Response<ListWorkloadsResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn explain_workload(
        &self,
        _request: Request<ExplainWorkloadRequest>,
    ) -> Result<Response<ExplainWorkloadResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn rotate_workload(
        &self,
        _request: Request<RotateWorkloadRequest>,
    ) -> Result<Response<RotateWorkloadResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

/// A connection whose peer was pinned when it was accepted.
struct Connection {
    stream: UnixStream,
    peer: Peer,
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        let peer = Peer::of(&stream).unwrap();
        Self { stream, peer }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl tokio::io::AsyncRead for Connection {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Connection {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
