//! `cert-agent exec`: asks the agent, passes signals on, and ends as the program ends.

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, Write as _},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf, absolute},
    process::ExitCode,
};

use countersign_proto::agent::{
    ExecExited, ExecRefused, ExecRequest, ExecResponse, ExecStart,
    agent_admin_client::AgentAdminClient, exec_request::Message as Asked,
    exec_response::Message as Told,
};
use daemon::chain;
use futures_util::future::select_all;
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{self, Channel, Endpoint},
};

/// What to run.
#[derive(Debug, Clone)]
pub struct ExecOptions {
    /// The agent's admin socket.
    pub admin: PathBuf,
    /// The grant's name.
    pub grant: String,
    /// Directory for certificate files.
    pub files: Option<PathBuf>,
    /// The program. No search along `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Runs the program and returns its exit code; 126 when it was refused, 125 when the agent could not be asked.
///
/// The program has this process's standard streams from the agent; this process reads and writes none of them.
pub async fn main(options: ExecOptions) -> ExitCode {
    match run(&options).await {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(ExecError::Refused { reason, detail }) => {
            complain(&format_args!("refused: {reason}: {detail}"), REFUSED)
        }
        Err(error) => complain(&chain(&error), NOT_ASKED),
    }
}

/// Why there is no exit code of the program's.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("{reason}: {detail}")]
    Refused { reason: String, detail: String },
    #[error("cannot reach the agent at `{}`", path.display())]
    Unreachable {
        path: PathBuf,
        #[source]
        source: transport::Error,
    },
    #[error("the agent ended the call")]
    Ended {
        #[source]
        source: Status,
    },
    #[error("the agent ended the call without an answer")]
    NoAnswer,
    #[error("cannot watch for signals")]
    Signals {
        #[source]
        source: io::Error,
    },
    #[error("`{}` has no absolute path, or none that is UTF-8", path.display())]
    Path { path: PathBuf },
}

async fn run(options: &ExecOptions) -> Result<i32, ExecError> {
    let mut signals = Signals::watch().map_err(|source| ExecError::Signals { source })?; // first: none may be lost
    let (requests, receiver) = mpsc::channel(MAX_SIGNALS);
    send(&requests, Asked::Start(start(options)?)).await;
    let mut client = AgentAdminClient::new(connect(&options.admin).await?);
    let answers = client.exec(ReceiverStream::new(receiver)).await;
    let mut answers = answers
        .map_err(|source| ExecError::Ended { source })?
        .into_inner();
    loop {
        tokio::select! {
            code = next(&mut answers) => if let Some(code) = code? { return Ok(code) },
            number = signals.next() => send(&requests, Asked::Signal(number)).await,
        }
    }
}

/// The exit code, if that is what was told.
async fn next(answers: &mut Streaming<ExecResponse>) -> Result<Option<i32>, ExecError> {
    let answer = answers
        .message()
        .await
        .map_err(|source| ExecError::Ended { source })?;
    match answer.ok_or(ExecError::NoAnswer)?.message {
        Some(Told::Exited(ExecExited { code })) => Ok(Some(code)),
        Some(Told::Refused(ExecRefused { reason, detail })) => {
            Err(ExecError::Refused { reason, detail })
        }
        Some(Told::Started(_)) | None => Ok(None),
    }
}

/// The call's end tells when nobody takes the message.
async fn send(requests: &mpsc::Sender<ExecRequest>, message: Asked) {
    drop(
        requests
            .send(ExecRequest {
                message: Some(message),
            })
            .await,
    );
}

fn start(options: &ExecOptions) -> Result<ExecStart, ExecError> {
    let ExecOptions {
        admin: _,
        grant,
        files,
        program,
        arguments,
    } = options;
    Ok(ExecStart {
        grant: grant.clone(),
        program: whole(program)?,
        arguments: arguments
            .iter()
            .map(|argument| argument.clone().into_vec())
            .collect(),
        files: files.as_deref().map(whole).transpose()?.unwrap_or_default(),
    })
}

fn whole(path: &Path) -> Result<String, ExecError> {
    let whole = absolute(path)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok());
    whole.ok_or_else(|| ExecError::Path {
        path: path.to_owned(),
    })
}

async fn connect(admin: &Path) -> Result<Channel, ExecError> {
    let path = admin.to_owned();
    let connector = tower::service_fn(move |_uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The name is never looked up: the connector goes to the socket.
    let connected = Endpoint::from_static("http://agent-admin.invalid")
        .connect_with_connector(connector)
        .await;
    connected.map_err(|source| ExecError::Unreachable {
        path: admin.to_owned(),
        source,
    })
}

/// The signals that are the program's and not ours.
struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    fn watch() -> io::Result<Self> {
        let kinds = [
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::terminate(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::window_change(),
        ];
        kinds
            .into_iter()
            .map(|kind| Ok((kind, signal(kind)?)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    async fn next(&mut self) -> i32 {
        let waiting = self.0.iter_mut().map(|(kind, signal)| {
            Box::pin(async {
                signal.recv().await;
                kind.as_raw_value()
            })
        });
        select_all(waiting).await.0
    }
}

fn complain(what: &dyn Display, code: u8) -> ExitCode {
    // Nobody is left to tell when standard error is closed; the exit code says it.
    drop(writeln!(io::stderr(), "cert-agent: {what}"));
    ExitCode::from(code)
}

/// Signals on their way to the agent.
const MAX_SIGNALS: usize = 16;
/// As a shell says "cannot execute".
const REFUSED: u8 = 126;
/// As `env` and `nohup` do it for failures of their own.
const NOT_ASKED: u8 = 125;
