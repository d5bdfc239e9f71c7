//! Owns the metric of durations.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::family::{Sample, line};

/// Upper bounds of the buckets, in microseconds: from a warm Check to a cold verification.
pub const LATENCY_BUCKETS: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// How often something took how long. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How many fell into each bucket and into no narrower one.
    buckets: [AtomicU64; LATENCY_BUCKETS.len()],
    count: AtomicU64,
    microseconds: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS
            .iter()
            .zip(&self.0.buckets)
            .find(|(bound, _)| micros <= **bound);
        if let Some((_, bucket)) = bucket {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.microseconds.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }
}

impl Sample for Histogram {
    fn sample(&self, name: &str, labels: &str, text: &mut String) {
        let bucket_name = format!("{name}_bucket");
        let separator = if labels.is_empty() { "" } else { "," };
        let mut so_far: u64 = 0;
        for (bound, bucket) in LATENCY_BUCKETS.iter().zip(&self.0.buckets) {
            so_far = so_far.saturating_add(bucket.load(Ordering::Relaxed));
            let bound = Duration::from_micros(*bound).as_secs_f64();
            line(
                text,
                &bucket_name,
                &format!("{labels}{separator}le=\"{bound}\""),
                so_far,
            );
        }
        let count = self.count();
        line(
            text,
            &bucket_name,
            &format!("{labels}{separator}le=\"+Inf\""),
            count,
        );
        let sum = Duration::from_micros(self.0.microseconds.load(Ordering::Relaxed)).as_secs_f64();
        line(text, &format!("{name}_sum"), labels, sum);
        line(text, &format!("{name}_count"), labels, count);
    }
}
