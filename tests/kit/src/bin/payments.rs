//! The demo's upstream: a payments service that answers every request it is sent, so that a denial is never its own.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use clap::Parser;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Debug, Parser)]
#[command(
    name = "payments",
    about = "Answers every request with 200 and what it was asked"
)]
struct Cli {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind(Cli::parse().listen).await?;
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::json!({ "listening": listener.local_addr()?.to_string() })
    )?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _peer) = accepted?;
                connections.spawn(async move {
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await);
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = serde_json::json!({
        "service": "payments",
        "method": request.method().as_str(),
        "path": request.uri().path(),
    });
    Ok(Response::new(Full::new(Bytes::from(body.to_string()))))
}
