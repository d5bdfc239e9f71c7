//! Owns what a program says of its own state: read-only HTTP, and the gRPC health service.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer as GrpcHealthServer},
};
use tracing::warn;

use crate::{Lifecycle, Readiness, metrics::Registry};

/// Most connections at once: a scraper, a probe and a person.
const MAX_CONNECTIONS: usize = 32;

/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may live in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// How long to wait after a failed accept, so that a full table of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address of the health server, bound and not yet served.
#[derive(Debug)]
pub struct BoundHealth {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundHealth {
    /// Binds `listen`. Port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address that was bound.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves `/healthz`, `/readyz` and `/metrics` as a part of the program, until its very end: a draining program still answers.
    pub fn serve(self, lifecycle: &Lifecycle, readiness: Readiness, metrics: Registry) {
        let state = Arc::new(State {
            lifecycle: lifecycle.clone(),
            readiness,
            metrics,
        });
        lifecycle.spawn_to_the_end("health", self.accept(state));
    }

    async fn accept(self, state: Arc<State>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_ended) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(serve_connection(stream, Arc::clone(&state)))),
                    Err(error) => {
                        warn!(%error, "health connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// The gRPC health service of `services`, and of the server as a whole: serving while ready and not stopping.
pub async fn grpc(
    lifecycle: &Lifecycle,
    readiness: &Readiness,
    services: &'static [&'static str],
) -> GrpcHealthServer<impl Health> {
    let (reporter, server) = tonic_health::server::health_reporter();
    let stop = lifecycle.token();
    let readiness = readiness.clone();
    set(&reporter, services, serving(readiness.is_ready())).await;
    lifecycle.spawn("grpc-health", async move {
        let mut ready = readiness.is_ready();
        loop {
            set(&reporter, services, serving(ready)).await;
            ready = tokio::select! {
                now = readiness.changed_from(ready) => now,
                () = stop.cancelled() => break,
            };
        }
        set(&reporter, services, ServingStatus::NotServing).await;
    });
    server
}

struct State {
    lifecycle: Lifecycle,
    readiness: Readiness,
    metrics: Registry,
}

impl State {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD\n".to_owned(),
            );
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.ready(),
            "/metrics" => text(StatusCode::OK, self.metrics.render()),
            _ => text(StatusCode::NOT_FOUND, "not here\n".to_owned()),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        if self.lifecycle.token().is_cancelled() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
        }
        let missing = self.readiness.missing();
        if missing.is_empty() {
            return text(StatusCode::OK, "ready\n".to_owned());
        }
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready, missing: {}\n", missing.join(", ")),
        )
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = state.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that breaks off, or stays too long, is no news.
    drop(timeout(CONNECTION_TIMEOUT, connection).await);
}

async fn set(
    reporter: &tonic_health::server::HealthReporter,
    services: &[&str],
    status: ServingStatus,
) {
    // The empty name is the server as a whole.
    for service in services.iter().chain(&[""]) {
        reporter.set_service_status(*service, status).await;
    }
}

const fn serving(ready: bool) -> ServingStatus {
    if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests;
