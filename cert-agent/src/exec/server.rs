//! The agent's end of `exec`: one stream, from the request to the program's exit code.

use std::{
    ffi::{OsStr, OsString},
    fs::OpenOptions,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use countersign_proto::agent::{
    ExecExited, ExecRefused, ExecRequest, ExecResponse, ExecStart, ExecStarted,
    exec_request::Message as Asked, exec_response::Message as Told,
};
use futures_util::{Stream, StreamExt as _, stream};
use policy::reason::Reason;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use tonic::Status;

use super::{Admission, Terms};
use crate::workload::{LaunchSpec, Peer, Program, Refused, Running, Scopes};

mod user;

use user::User;

/// What one `exec` answers.
pub type Responses = Pin<Box<dyn Stream<Item = Result<ExecResponse, Status>> + Send>>;

/// Runs one `exec`. The answers end with the program; dropping them, as tonic does when the requester is gone, kills the scope.
pub fn run<R>(
    scopes: Scopes,
    admission: Arc<dyn Admission>,
    requester: Peer,
    requests: R,
) -> Responses
where
    R: Stream<Item = Result<ExecRequest, Status>> + Send + Unpin + 'static,
{
    let session = Session {
        scopes,
        admission,
        requester,
        requests,
    };
    Box::pin(stream::unfold(Stage::Asking(session), |stage| async move {
        match stage {
            Stage::Asking(session) => Some(Box::pin(session.start()).await),
            Stage::Running(session, running) => session.follow(running).await,
            Stage::Over => None,
        }
    }))
}

struct Session<R> {
    scopes: Scopes,
    admission: Arc<dyn Admission>,
    requester: Peer,
    requests: R,
}

enum Stage<R> {
    Asking(Session<R>),
    Running(Session<R>, Box<Running>),
    Over,
}

type Step<R> = (Result<ExecResponse, Status>, Stage<R>);

impl<R: Stream<Item = Result<ExecRequest, Status>> + Unpin> Session<R> {
    async fn start(mut self) -> Step<R> {
        let start = match self.first().await {
            Ok(start) => start,
            Err(status) => return (Err(status), Stage::Over),
        };
        let grant = start.grant.clone();
        let Self {
            scopes,
            admission,
            requester,
            requests: _,
        } = &self;
        match begin(scopes, &**admission, requester, start).await {
            Ok(running) => {
                let pid = running
                    .pid()
                    .and_then(|pid| i32::try_from(pid).ok())
                    .unwrap_or_default();
                let started = ExecStarted {
                    workload: running.workload().id.clone(),
                    pid,
                };
                (
                    Ok(told(Told::Started(started))),
                    Stage::Running(self, Box::new(running)),
                )
            }
            Err(mut refused) => {
                refused.grant.get_or_insert(grant);
                let answer = ExecRefused {
                    reason: refused.reason.code().to_owned(),
                    detail: refused.detail.clone(),
                };
                self.admission.refuse(refused);
                (Ok(told(Told::Refused(answer))), Stage::Over)
            }
        }
    }

    async fn first(&mut self) -> Result<ExecStart, Status> {
        let first = tokio::time::timeout(REQUEST_PATIENCE, self.requests.next()).await;
        match first
            .map_err(|_elapsed| Status::deadline_exceeded("no request came"))?
            .transpose()?
        {
            Some(ExecRequest {
                message: Some(Asked::Start(start)),
            }) => Ok(start),
            Some(ExecRequest {
                message: Some(Asked::Signal(_)) | None,
            })
            | None => Err(Status::invalid_argument(
                "the first request must be `start`",
            )),
        }
    }

    /// Until the program ends, or whoever asked for it does.
    async fn follow(mut self, mut running: Box<Running>) -> Option<Step<R>> {
        loop {
            tokio::select! {
                biased;
                code = running.wait() => return Some((Ok(told(Told::Exited(ExecExited { code }))), Stage::Over)),
                () = self.requester.exited() => return None,
                request = self.requests.next() => pass_on(&request?.ok()?, &running),
            }
        }
    }
}

/// 1. Who asks. 2. Which program: opened once. 3. Its evidence and the grant. 4. A scope. 5. An identity. 6. The program, in the scope.
async fn begin(
    scopes: &Scopes,
    admission: &dyn Admission,
    requester: &Peer,
    start: ExecStart,
) -> Result<Running, Refused> {
    let ExecStart {
        grant,
        program,
        arguments,
        files,
    } = start;
    let stdio = stdio_of(requester)?;
    let program = Program::open(Path::new(&program)).await?;
    let digest = program.digest().clone();
    let terms = admission.admit(&grant, &program).await?;
    let user = User::of(&grant, &terms.selectors).map_err(|refused| refused.running([digest]))?;
    let arguments = arguments.into_iter().map(OsString::from_vec).collect();
    let Terms {
        role,
        socket,
        selectors: _,
    } = terms;
    let User { uid, gid } = user;
    let environment = environment(&socket);
    let prepared = scopes.prepare(LaunchSpec {
        grant,
        uid,
        gid,
        role,
        program,
        arguments,
        environment,
    })?;
    let files = Some(PathBuf::from(files)).filter(|files| !files.as_os_str().is_empty());
    admission
        .begin(Arc::clone(prepared.workload()), files)
        .await?;
    prepared.start(stdio).await
}

fn pass_on(request: &ExecRequest, running: &Running) {
    match request.message {
        Some(Asked::Signal(number)) => {
            if let Err(error) = running.signal(number) {
                tracing::debug!(workload = running.workload().id, number, %error, "signal not passed on");
            }
        }
        Some(Asked::Start(_)) | None => {}
    }
}

/// Duplicates the requester's own standard streams: no other process's, since the pidfd names the one that connected.
fn stdio_of(requester: &Peer) -> Result<[OwnedFd; 3], Refused> {
    if requester.uid() != 0 {
        let detail = format!(
            "uid {} asked; only root may start workloads",
            requester.uid()
        );
        return Err(requester.describe(Refused::new(Reason::RequesterNotPermitted, detail)));
    }
    let stream = |number| match pidfd_getfd(requester.pidfd(), number, PidfdGetfdFlags::empty()) {
        Ok(descriptor) => Ok(descriptor),
        Err(rustix::io::Errno::BADF) => OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map(OwnedFd::from),
        Err(error) => Err(io::Error::from(error)),
    };
    let failed = |error| {
        requester.describe(Refused::new(
            Reason::AttestorFailed,
            format!("cannot take the requester's standard streams: {error}"),
        ))
    };
    let streams = || -> io::Result<_> { Ok([stream(0)?, stream(1)?, stream(2)?]) };
    streams().map_err(failed)
}

/// The whole environment of a program: nothing of the requester's or the agent's.
fn environment(socket: &Path) -> Vec<(OsString, OsString)> {
    let fixed = [
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/"),
        ("LANG", "C.UTF-8"),
    ];
    let mut environment: Vec<_> = fixed
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
    let endpoint = [OsStr::new("unix://"), socket.as_os_str()]
        .into_iter()
        .collect();
    environment.push((OsString::from("SPIFFE_ENDPOINT_SOCKET"), endpoint));
    environment
}

const fn told(message: Told) -> ExecResponse {
    ExecResponse {
        message: Some(message),
    }
}

/// 10 s: the client sends its request with the call.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_names_the_socket_and_nothing_of_ours() {
        let environment = environment(Path::new("/run/countersign/agent.sock"));
        let text: Vec<_> = environment
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        assert_eq!(
            text,
            [
                "PATH=/usr/bin:/bin",
                "HOME=/",
                "LANG=C.UTF-8",
                "SPIFFE_ENDPOINT_SOCKET=unix:///run/countersign/agent.sock"
            ]
        );
    }
}
