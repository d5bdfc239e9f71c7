//! The order of one agent's stream: hello, full state, end marker, deltas. No I/O.

use std::time::SystemTime;

use countersign_proto::feed::push_request::Message;
use countersign_proto::feed::{EndOfState, Hello, PushRequest, SignedBatch};
use evidence::binding::FeedItem;
use identity::trust_bundle::TrustBundle;
use rustls::pki_types::CertificateDer;

use super::Agent;
use super::batch::{self, Admitted, Opened};
use super::refused::Refused;
use crate::snapshot::Intermediate;

/// Where one stream stands.
#[derive(Debug)]
pub(super) struct Session {
    agent: Agent,
    phase: Phase,
    /// The number of the next batch; the first of a stream is 1.
    due: u64,
}

/// What one message means.
#[derive(Debug)]
pub(super) enum Event {
    /// The stream begins.
    Hello {
        policy_hash: String,
        intermediates: Vec<Intermediate>,
    },
    /// Something was said.
    Batch {
        sequence: u64,
        items: Vec<FeedItem>,
        /// How many more were not the agent's to say.
        dropped: usize,
        intermediates: Vec<Intermediate>,
    },
    /// All was said.
    EndOfState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opened,
    State,
    Deltas,
}

impl Session {
    pub(super) fn new(agent: Agent) -> Self {
        Self {
            agent,
            phase: Phase::Opened,
            due: FIRST,
        }
    }

    /// Takes the next message at `now`.
    pub(super) fn on_message(
        &mut self,
        request: PushRequest,
        bundle: &TrustBundle,
        now: SystemTime,
    ) -> Result<Event, Refused> {
        let PushRequest { message } = request;
        match (self.phase, message.ok_or(Refused::Empty)?) {
            (Phase::Opened, Message::Hello(hello)) => self.on_hello(hello, bundle, now),
            (Phase::Opened, Message::Batch(_) | Message::EndOfState(_)) => {
                Err(Refused::HelloExpected)
            }
            (Phase::State | Phase::Deltas, Message::Batch(signed)) => {
                self.on_batch(signed, bundle, now)
            }
            (Phase::State, Message::EndOfState(EndOfState {})) => {
                self.phase = Phase::Deltas;
                Ok(Event::EndOfState)
            }
            (Phase::State | Phase::Deltas, Message::Hello(_)) => Err(Refused::OutOfPlace("hello")),
            (Phase::Deltas, Message::EndOfState(_)) => Err(Refused::OutOfPlace("end of state")),
        }
    }

    fn on_hello(
        &mut self,
        hello: Hello,
        bundle: &TrustBundle,
        now: SystemTime,
    ) -> Result<Event, Refused> {
        let Hello {
            policy_hash,
            roster_epoch: _,
            intermediates,
        } = hello;
        let certificates = intermediates
            .into_iter()
            .map(CertificateDer::from)
            .collect();
        let intermediates = batch::authorities(certificates, bundle, now)?;
        self.phase = Phase::State;
        let policy_hash = policy_hash.chars().take(MAX_HASH_CHARS).collect();
        Ok(Event::Hello {
            policy_hash,
            intermediates,
        })
    }

    fn on_batch(
        &mut self,
        signed: SignedBatch,
        bundle: &TrustBundle,
        now: SystemTime,
    ) -> Result<Event, Refused> {
        let Opened {
            batch,
            intermediates,
        } = batch::open(signed, &self.agent.identity, bundle, now)?;
        if batch.sequence != self.due {
            return Err(Refused::SequenceGap {
                got: batch.sequence,
                wanted: self.due,
            });
        }
        self.due = self.due.wrapping_add(1);
        let ends = intermediates
            .iter()
            .map(|intermediate| intermediate.not_after)
            .min();
        let Admitted { items, dropped } = batch::admitted(batch.items, &self.agent, ends, now);
        Ok(Event::Batch {
            sequence: batch.sequence,
            items,
            dropped,
            intermediates,
        })
    }
}

/// The number of a stream's first batch.
const FIRST: u64 = 1;

/// 64 characters // SHA-256 in hex.
const MAX_HASH_CHARS: usize = 64;
