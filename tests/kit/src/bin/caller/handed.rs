//! Asks the Workload API on a connection that another process opened and handed over as standard input.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdStream;

use anyhow::Context as _;
use countersign_proto::workload::X509svidRequest;
use countersign_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use tower::service_fn;

/// The SPIFFE ID, or the agent's refusal.
pub(crate) async fn fetch() -> anyhow::Result<Result<String, String>> {
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = StdStream::from(descriptor);
    stream.set_nonblocking(true)?;
    let mut stream = Some(TokioIo::new(UnixStream::from_std(stream)?));
    let connector = service_fn(move |_uri| {
        let handed = stream
            .take()
            .ok_or_else(|| std::io::Error::other("handed over once only"));
        async move { handed }
    });
    let channel = match Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
    {
        Ok(channel) => channel,
        Err(error) => return Ok(Err(format!("the connection was closed: {error}"))),
    };
    let mut request = Request::new(X509svidRequest {});
    request
        .metadata_mut()
        .insert("workload.spiffe.io", "true".parse()?);
    let answer = SpiffeWorkloadApiClient::new(channel)
        .fetch_x509svid(request)
        .await;
    let message = match answer {
        Ok(stream) => stream.into_inner().message().await,
        Err(status) => return Ok(Err(words(&status))),
    };
    match message {
        Ok(message) => Ok(Ok(message
            .and_then(|message| message.svids.into_iter().next())
            .context("no SVID")?
            .spiffe_id)),
        Err(status) => Ok(Err(words(&status))),
    }
}

fn words(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
