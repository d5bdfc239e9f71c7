//! What is known of each agent of the roster: which stream is heard, and whether it has said all it knows.

use std::collections::BTreeMap;

use identity::spiffe_id::SpiffeId;

use crate::snapshot::Synced;

/// One stream of one agent, numbered in the order they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(pub u64);

/// One agent of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentState {
    /// Its identity.
    pub identity: SpiffeId,
    /// The stream that is heard. `None` until the first.
    pub session: Option<Session>,
    /// Whether it has ever said all it knew. It stays so when its stream ends: its bindings live until their own end.
    pub synced: bool,
    /// The hash of its policy directory, as its last hello said.
    pub policy_hash: String,
}

/// Every agent of the roster.
#[derive(Debug)]
pub(super) struct Roster(BTreeMap<SpiffeId, AgentState>);

impl Roster {
    pub(super) fn new(agents: impl IntoIterator<Item = SpiffeId>) -> Self {
        let fresh = |identity: SpiffeId| {
            let state = AgentState {
                identity: identity.clone(),
                session: None,
                synced: false,
                policy_hash: String::new(),
            };
            (identity, state)
        };
        Self(agents.into_iter().map(fresh).collect())
    }

    /// Hears this stream from now on, unless a newer one is heard already.
    pub(super) fn hello(
        &mut self,
        agent: &SpiffeId,
        session: Session,
        policy_hash: String,
    ) -> Heard {
        match self.0.get_mut(agent) {
            Some(state) if state.session.is_none_or(|heard| heard < session) => {
                state.session = Some(session);
                state.policy_hash = policy_hash;
                Heard::Yes
            }
            Some(_) | None => Heard::No,
        }
    }

    /// Whether this is the stream that is heard.
    pub(super) fn hears(&self, agent: &SpiffeId, session: Session) -> Heard {
        match self.0.get(agent) {
            Some(state) if state.session == Some(session) => Heard::Yes,
            Some(_) | None => Heard::No,
        }
    }

    pub(super) fn synced(&mut self, agent: &SpiffeId) {
        if let Some(state) = self.0.get_mut(agent) {
            state.synced = true;
        }
    }

    pub(super) fn missing(&self) -> Synced {
        let missing = self
            .0
            .values()
            .filter(|state| !state.synced)
            .map(|state| state.identity.clone());
        match missing.collect::<std::collections::BTreeSet<_>>() {
            none if none.is_empty() => Synced::All,
            missing => Synced::Missing(missing),
        }
    }

    pub(super) fn states(&self) -> Vec<AgentState> {
        self.0.values().cloned().collect()
    }
}

/// Whether a stream is the one that is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Yes,
    No,
}
