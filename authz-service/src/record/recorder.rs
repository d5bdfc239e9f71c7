//! Writes each record, once, to every sink.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use daemon::clock::Clock;
use opentelemetry_sdk::trace::SdkTracer;
use parking_lot::Mutex;
use uuid::{NoContext, Timestamp, Uuid};

use super::{Conclusion, DecisionRecord, Draft, Metrics, RecordLog, span};
use crate::ext_authz::service::{CallContext, Proxy};

/// The one place that records are written from. Shared by every lane.
#[derive(Debug)]
pub struct Recorder {
    replica: String,
    clock: Arc<dyn Clock>,
    log: RecordLog,
    tracer: SdkTracer,
    metrics: Metrics,
    /// Leaf lock: held to push or copy a pointer, never across an await.
    denials: Mutex<VecDeque<Arc<DecisionRecord>>>,
}

impl Recorder {
    /// A recorder over its sinks.
    pub fn new(
        replica: String,
        clock: Arc<dyn Clock>,
        log: RecordLog,
        tracer: SdkTracer,
        metrics: Metrics,
    ) -> Self {
        Self {
            replica,
            clock,
            log,
            tracer,
            metrics,
            denials: Mutex::new(VecDeque::new()),
        }
    }

    /// Gives the draft an id and writes it to every sink. Waits for nothing.
    pub fn record(&self, draft: Draft, call: &CallContext) -> String {
        let ended = self.clock.now();
        let mut record = self.finished(draft, call, ended);
        let traceparent = call.traceparent.as_deref();
        record.trace_id = span::write(&self.tracer, &record, traceparent, ended);
        self.metrics.decided(&record);
        let id = record.id.clone();
        self.write_line(&record);
        if record.decision != Conclusion::Permit {
            self.remember(record);
        }
        id
    }

    /// The newest denials, newest first.
    pub fn denials(&self, limit: usize) -> Vec<Arc<DecisionRecord>> {
        self.denials
            .lock()
            .iter()
            .rev()
            .take(limit)
            .map(Arc::clone)
            .collect()
    }

    /// The denial with this id, if it is among the newest.
    pub fn denial(&self, id: &str) -> Option<Arc<DecisionRecord>> {
        self.denials
            .lock()
            .iter()
            .rev()
            .find(|record| record.id == id)
            .map(Arc::clone)
    }

    /// Waits until the record file holds everything recorded so far.
    pub fn flush(&self) {
        self.log.flush();
        self.metrics.records_lost(self.log.lost());
    }

    fn finished(&self, draft: Draft, call: &CallContext, ended: SystemTime) -> DecisionRecord {
        let Draft {
            conclusion,
            denial,
            rule,
            pinned,
            question,
            request,
            steps,
            refusals,
            generation,
            policy,
        } = draft;
        let elapsed = ended.duration_since(call.received).unwrap_or_default();
        DecisionRecord {
            id: decision_id(call.received, &self.replica),
            at: call.received,
            decision: conclusion,
            reason: denial.as_ref().map(|denial| denial.reason),
            cause: denial.as_ref().and_then(|denial| denial.cause),
            detail: denial
                .map(|denial| denial.detail)
                .filter(|detail| !detail.is_empty()),
            rule,
            pinned,
            generation,
            policy,
            proxy: proxy_name(&call.proxy),
            question,
            request,
            steps,
            refusals,
            trace_id: None,
            micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn write_line(&self, record: &DecisionRecord) {
        let mut line = Vec::with_capacity(LINE_BYTES);
        match serde_json::to_writer(&mut line, record) {
            Ok(()) => {
                line.push(b'\n');
                self.log.write(line);
            }
            Err(_no_time_outside_the_calendar) => self.log.count_lost(),
        }
    }

    fn remember(&self, record: DecisionRecord) {
        let mut denials = self.denials.lock();
        if denials.len() >= REMEMBERED_DENIALS {
            denials.pop_front();
        }
        denials.push_back(Arc::new(record));
    }
}

/// Time first, so that ids sort; then chance; then the replica.
fn decision_id(at: SystemTime, replica: &str) -> String {
    let since_epoch = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = Timestamp::from_unix(NoContext, since_epoch.as_secs(), since_epoch.subsec_nanos());
    format!("{}-{replica}", Uuid::new_v7(time))
}

fn proxy_name(proxy: &Proxy) -> String {
    match proxy {
        Proxy::Local { uid } => format!("uid:{uid}"),
        Proxy::Remote(identity) => identity.to_string(),
    }
}

/// 2 KiB // a usual record fits without growing.
const LINE_BYTES: usize = 2048;

/// 1 024 denials // what `denials` can show and `explain` finds without reading the file.
const REMEMBERED_DENIALS: usize = 1024;
