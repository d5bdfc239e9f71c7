//! The port behind which a Check is decided and recorded, and the guard that sees to it that each is recorded.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::future::BoxFuture;
use policy::reason::Reason;

use super::request::{InvalidRequest, RawCheck};
use super::service::CallContext;
use crate::check::{Answer, Checker};

/// Decides and records. Exactly one of the three is called to its end for every Check.
pub trait Judge: Debug + Send + Sync {
    /// Decides, and records just before it answers.
    fn check<'a>(
        &'a self,
        asked: &'a Result<RawCheck, InvalidRequest>,
        call: &'a CallContext,
    ) -> BoxFuture<'a, Answer>;

    /// Records and answers a denial for a Check that `check` did not finish, or was never asked.
    fn denied(
        &self,
        reason: Reason,
        asked: &Result<RawCheck, InvalidRequest>,
        call: &CallContext,
    ) -> Answer;

    /// Records a Check whose proxy left before the answer.
    fn cancelled(&self, asked: &Result<RawCheck, InvalidRequest>, call: &CallContext);
}

impl Judge for Checker {
    fn check<'a>(
        &'a self,
        asked: &'a Result<RawCheck, InvalidRequest>,
        call: &'a CallContext,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(Self::check(self, asked, call))
    }

    fn denied(
        &self,
        reason: Reason,
        asked: &Result<RawCheck, InvalidRequest>,
        call: &CallContext,
    ) -> Answer {
        Self::denied(self, reason, asked, call)
    }

    fn cancelled(&self, asked: &Result<RawCheck, InvalidRequest>, call: &CallContext) {
        Self::cancelled(self, asked, call);
    }
}

/// One Check under way. Dropped before it landed, it is recorded as cancelled.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    pub(super) judge: &'a dyn Judge,
    pub(super) asked: Result<RawCheck, InvalidRequest>,
    pub(super) call: CallContext,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Flying,
    Landed,
}

impl<'a> Flight<'a> {
    pub(super) fn new(judge: &'a dyn Judge, call: CallContext) -> Self {
        Self {
            judge,
            asked: Err(InvalidRequest::NoMessage),
            call,
            state: State::Flying,
        }
    }

    /// The judge answered, and has recorded it.
    pub(super) fn landed(mut self, answer: Answer) -> Answer {
        self.state = State::Landed;
        answer
    }

    /// Has the judge deny it. `None` if it cannot even do that.
    pub(super) fn denied(mut self, reason: Reason) -> Option<Answer> {
        self.state = State::Landed;
        catch_unwind(AssertUnwindSafe(|| {
            self.judge.denied(reason, &self.asked, &self.call)
        }))
        .ok()
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.state == State::Flying {
            // A panic here would be one in a drop.
            let _recorded = catch_unwind(AssertUnwindSafe(|| {
                self.judge.cancelled(&self.asked, &self.call);
            }));
        }
    }
}
