//! One request on the Check path, answered whatever happens: deadline, panic, overload, a proxy we do not know.
//!
//! Every complete request is answered with a `CheckResponse` and gRPC status 0. A gRPC error would be ours to send too, and a proxy
//! with `failure_mode_allow` would let it pass.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use daemon::Clock;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use hyper::body::Body;
use identity::spiffe_id::SpiffeId;
use policy::reason::Reason;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::framing::{read_message, reply};
use super::judge::{Flight, Judge};
use super::request::RawCheck;
use super::response;
use crate::check::Answer;

mod deadline;

/// What is known of a Check besides its message.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Which proxy asks.
    pub proxy: Proxy,
    /// When the answer must be out.
    pub deadline: Instant,
    /// W3C trace context from the gRPC metadata: the parent is the proxy's own span of this Check.
    pub traceparent: Option<String>,
    /// When the request arrived.
    pub received: SystemTime,
}

/// The proxy at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// A local process on the unix socket, known by its uid.
    Local {
        /// Its uid, from the kernel.
        uid: u32,
    },
    /// A peer on TCP, known by its SVID.
    Remote(SpiffeId),
}

/// Whether a proxy may ask.
///
/// One that may not is still answered: it would read a closed connection or a gRPC error as leave to let requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The configuration names it.
    Trusted,
    /// Nothing names it: every Check of it is denied `proxy-untrusted`.
    Untrusted,
}

/// One connection of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who is at the other end.
    pub proxy: Proxy,
    /// Whether it may ask.
    pub standing: Standing,
}

/// Answers Checks, on every connection of every listener.
#[derive(Debug)]
pub struct CheckService {
    judge: Arc<dyn Judge>,
    clock: Arc<dyn Clock>,
    slots: Semaphore,
    /// Bodies of untrusted proxies that are being read. They have none of `slots`.
    strangers: Semaphore,
}

impl CheckService {
    /// Answers at most `in_flight` Checks of trusted proxies at a time; what comes on top is denied `overloaded`.
    pub fn new(judge: Arc<dyn Judge>, clock: Arc<dyn Clock>, in_flight: usize) -> Self {
        Self {
            judge,
            clock,
            slots: Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS)),
            strangers: Semaphore::new(MAX_STRANGERS),
        }
    }

    /// Answers one request on the Check path.
    ///
    /// # Errors
    /// The body broke off: the request is not complete and nobody waits for an answer. It is recorded as `cancelled`.
    pub async fn serve<B>(
        &self,
        request: Request<B>,
        connection: &Connection,
    ) -> Result<Response<tonic::body::Body>, B::Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let call = self.call(request.headers(), connection);
        let flight = Flight::new(&*self.judge, call);
        let body = request.into_body();
        let answered = match connection.standing {
            Standing::Trusted => self.checked(flight, body).await?,
            Standing::Untrusted => self.turned_away(flight, body).await?,
        };
        Ok(answer(answered))
    }

    /// The way of a Check that may be asked: a slot, the message, the judge.
    async fn checked<B>(&self, mut flight: Flight<'_>, body: B) -> Result<Option<Answer>, B::Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let Ok(_slot) = self.slots.try_acquire() else {
            return Ok(flight.denied(Reason::Overloaded));
        };
        let patience = patience(&flight, BODY_PATIENCE);
        match timeout_at(patience, read_message(body)).await {
            Ok(message) => flight.asked = message?.and_then(RawCheck::decode),
            Err(_elapsed) => return Ok(flight.denied(Reason::Deadline)),
        }
        Ok(judged(flight).await)
    }

    /// The way of a Check that may not be asked. What it says is read for the record, if that is cheap.
    async fn turned_away<B>(
        &self,
        mut flight: Flight<'_>,
        body: B,
    ) -> Result<Option<Answer>, B::Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if let Ok(_place) = self.strangers.try_acquire() {
            let patience = patience(&flight, STRANGERS_PATIENCE);
            if let Ok(message) = timeout_at(patience, read_message(body)).await {
                flight.asked = message?.and_then(RawCheck::decode);
            }
        }
        Ok(flight.denied(Reason::ProxyUntrusted))
    }

    fn call(&self, metadata: &HeaderMap, connection: &Connection) -> CallContext {
        CallContext {
            proxy: connection.proxy.clone(),
            deadline: deadline::of(metadata, Instant::now()),
            traceparent: metadata
                .get(TRACEPARENT)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            received: self.clock.now(),
        }
    }
}

/// When to stop waiting for a body.
fn patience(flight: &Flight<'_>, most: Duration) -> Instant {
    let end = Instant::now().checked_add(most);
    end.map_or(flight.call.deadline, |end| end.min(flight.call.deadline))
}

/// Asks the judge, within the deadline. A panic is that request's alone.
async fn judged(flight: Flight<'_>) -> Option<Answer> {
    let asking = timeout_at(
        flight.call.deadline,
        flight.judge.check(&flight.asked, &flight.call),
    );
    match AssertUnwindSafe(asking).catch_unwind().await {
        Ok(Ok(answer)) => Some(flight.landed(answer)),
        Ok(Err(_elapsed)) => flight.denied(Reason::Deadline),
        Err(_panic) => flight.denied(Reason::Internal),
    }
}

/// The response for an answer; for none, because even the denial failed, a denial that needs nothing.
fn answer(answer: Option<Answer>) -> Response<tonic::body::Body> {
    let responded = answer.and_then(|answer| {
        std::panic::catch_unwind(AssertUnwindSafe(|| response::respond(&answer))).ok()
    });
    reply(&responded.unwrap_or_else(response::last_resort))
}

/// 1 s // a proxy sends the body with its headers; one that does not holds a slot meanwhile.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// 100 ms // the answer is known already.
const STRANGERS_PATIENCE: Duration = Duration::from_millis(100);
/// 16 // at `MAX_MESSAGE_BYTES` each. Further strangers are answered without being heard.
const MAX_STRANGERS: usize = 16;
const TRACEPARENT: &str = "traceparent";

#[cfg(test)]
mod tests;
