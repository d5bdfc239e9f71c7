//! One HTTP/2 connection, from its first byte to its end.
//!
//! hyper and not tonic's `Server`: that one enforces the proxy's `grpc-timeout` itself, drops our future and answers with a gRPC error.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Lifecycle, chain};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::routes::Routes;
use crate::ext_authz::service::{Connection, Standing};

/// Serves the connection until it ends. When the program stops or `retire` is cancelled, it takes no new request and finishes those
/// under way.
pub(super) async fn serve<S>(
    stream: S,
    connection: Connection,
    routes: Routes,
    lifecycle: Lifecycle,
    retire: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stop = lifecycle.token();
    let builder = builder(lifecycle, connection.standing);
    let connection = Arc::new(connection);
    let service =
        service_fn(move |request| routes.clone().answer(request, Arc::clone(&connection)));
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = either(&stop, &retire) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        debug!(error = %chain(&error), "a connection ended with an error");
    }
}

fn builder(lifecycle: Lifecycle, standing: Standing) -> http2::Builder<Streams> {
    let (streams, pending_resets) = match standing {
        Standing::Trusted => (MAX_STREAMS, MAX_PENDING_RESETS),
        Standing::Untrusted => (MAX_STRANGERS_STREAMS, MAX_STRANGERS_PENDING_RESETS),
    };
    let mut builder = http2::Builder::new(Streams(lifecycle));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_pending_accept_reset_streams(pending_resets)
        .max_header_list_size(MAX_METADATA_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

async fn either(stop: &CancellationToken, retire: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = retire.cancelled() => {}
    }
}

/// Runs the streams of a connection as work that a drain waits for.
#[derive(Clone, Debug)]
struct Streams(Lifecycle);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn_brief("check-stream", stream);
    }
}

/// 512 // a proxy opens another connection beyond it. Half of what the whole service answers at once: no one connection has it all.
const MAX_STREAMS: u32 = 512;
/// 16 // an untrusted proxy is answered at once.
const MAX_STRANGERS_STREAMS: u32 = 16;
/// 1024 // a proxy resets the Checks of callers that leave; h2 takes more than 20 at once for an attack and ends the connection,
/// and with it the Checks of everyone else.
const MAX_PENDING_RESETS: usize = 1024;
/// 20 // h2's own default: no one else's Checks are on the connection.
const MAX_STRANGERS_PENDING_RESETS: usize = 20;
/// 1 MiB // HTTP/2 refuses a request with more before we see it, and a caller's own `tracestate` travels in the proxy's metadata:
/// the limit must lie above all that a proxy lets its callers send (Envoy: 60 KiB unless configured).
const MAX_METADATA_BYTES: u32 = 1024 * 1024;
/// 30 s // finds out about a proxy that vanished without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
