//! A judge with moods, and the clock it is tested under.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use daemon::Clock;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use policy::reason::Reason;

use super::judge::Judge;
use super::request::{InvalidRequest, RawCheck};
use super::service::CallContext;
use crate::check::{Answer, ClientShape, Verdict};
use crate::denial::Denial;
use crate::testing::noon;

/// What the judge does when it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    Denies,
    Sleeps,
    Panics,
    PanicsAtEverything,
}

#[derive(Debug)]
pub(crate) struct FakeJudge {
    mood: Mood,
    pub(crate) asked: AtomicUsize,
    records: Mutex<Vec<String>>,
    pub(crate) calls: Mutex<Vec<CallContext>>,
}

impl FakeJudge {
    pub(crate) fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            mood,
            asked: AtomicUsize::new(0),
            records: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    fn record(&self, what: &str, asked: &Result<RawCheck, InvalidRequest>) {
        let asked = asked
            .as_ref()
            .map_or_else(|invalid| format!("{invalid:?}"), |_| "read".to_owned());
        self.records.lock().push(format!("{what} {asked}"));
    }

    pub(crate) fn records(&self) -> Vec<String> {
        self.records.lock().clone()
    }
}

impl Judge for FakeJudge {
    fn check<'a>(
        &'a self,
        asked: &'a Result<RawCheck, InvalidRequest>,
        call: &'a CallContext,
    ) -> BoxFuture<'a, Answer> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.calls.lock().push(call.clone());
        async move {
            match self.mood {
                Mood::Denies => {
                    self.record("denied no-rule-matched", asked);
                    deny(Reason::NoRuleMatched)
                }
                Mood::Sleeps => std::future::pending().await,
                Mood::Panics | Mood::PanicsAtEverything => panic!("a bug"),
            }
        }
        .boxed()
    }

    fn denied(
        &self,
        reason: Reason,
        asked: &Result<RawCheck, InvalidRequest>,
        _call: &CallContext,
    ) -> Answer {
        assert!(
            !matches!(self.mood, Mood::PanicsAtEverything),
            "a second bug"
        );
        self.record(&format!("denied {reason}"), asked);
        deny(reason)
    }

    fn cancelled(&self, asked: &Result<RawCheck, InvalidRequest>, _call: &CallContext) {
        self.record("cancelled", asked);
    }
}

fn deny(reason: Reason) -> Answer {
    Answer {
        decision_id: "id".to_owned(),
        verdict: Verdict::Deny(Denial::new(reason, "")),
        client: ClientShape::Http,
    }
}

/// It is always noon.
#[derive(Debug)]
pub(crate) struct Noon;

impl Clock for Noon {
    fn now(&self) -> SystemTime {
        noon()
    }
}
