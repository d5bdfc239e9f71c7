//! Owns metrics: counters, gauges and histograms, and their text in Prometheus' format.
//!
//! Label values come from enums of ours, never from a request: a family that grows beyond its bound counts under `other`.

mod family;
mod histogram;
mod number;

use std::sync::Arc;

use parking_lot::Mutex;

pub use self::{
    family::Family,
    histogram::{Histogram, LATENCY_BUCKETS},
    number::{Counter, Gauge},
};

/// Every metric of a program. Cheap to clone; there is no global one.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<Vec<Entry>>>);

impl Registry {
    /// No metric yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that only grows. Its name ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.counters(name, help, &[]).with(&[])
    }

    /// Counters told apart by `labels`.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<Counter> {
        let family = Family::new(name, labels, Counter::default);
        self.add("counter", name, help, family.clone());
        family
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.gauges(name, help, &[]).with(&[])
    }

    /// Gauges told apart by `labels`.
    pub fn gauges(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<Gauge> {
        let family = Family::new(name, labels, Gauge::default);
        self.add("gauge", name, help, family.clone());
        family
    }

    /// How long something takes, in seconds, in [`LATENCY_BUCKETS`].
    pub fn latency(&self, name: &'static str, help: &'static str) -> Histogram {
        self.latencies(name, help, &[]).with(&[])
    }

    /// Latencies told apart by `labels`.
    pub fn latencies(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Family<Histogram> {
        let family = Family::new(name, labels, Histogram::default);
        self.add("histogram", name, help, family.clone());
        family
    }

    /// Every metric in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for entry in self.0.lock().iter() {
            text.extend(["# HELP ", entry.name, " ", entry.help, "\n"]);
            text.extend(["# TYPE ", entry.name, " ", entry.kind, "\n"]);
            entry.family.render(&mut text);
        }
        text
    }

    fn add(
        &self,
        kind: &'static str,
        name: &'static str,
        help: &'static str,
        family: impl Render + 'static,
    ) {
        self.0.lock().push(Entry {
            kind,
            name,
            help,
            family: Box::new(family),
        });
    }
}

/// What writes its samples as text.
trait Render: std::fmt::Debug + Send + Sync {
    fn render(&self, text: &mut String);
}

#[derive(Debug)]
struct Entry {
    kind: &'static str,
    name: &'static str,
    help: &'static str,
    family: Box<dyn Render>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_rendered() {
        let registry = Registry::new();
        registry.counter("checks_total", "Checks.").add(3);
        registry
            .counters("denials_total", "Denials.", &["reason"])
            .with(&["binding-missing"])
            .increment();
        registry.gauge("bindings", "Bindings held.").set(-2);
        assert_eq!(
            registry.render(),
            "# HELP checks_total Checks.\n# TYPE checks_total counter\nchecks_total 3\n\
             # HELP denials_total Denials.\n# TYPE denials_total counter\ndenials_total{reason=\"binding-missing\"} 1\n\
             # HELP bindings Bindings held.\n# TYPE bindings gauge\nbindings -2\n"
        );
    }

    #[test]
    fn histogram_counts_into_every_wider_bucket() {
        let registry = Registry::new();
        let latency = registry.latency("check_seconds", "Time of a Check.");
        latency.observe(std::time::Duration::from_millis(3));
        latency.observe(std::time::Duration::from_secs(100));
        let text = registry.render();
        assert!(
            text.contains("check_seconds_bucket{le=\"0.0025\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("check_seconds_bucket{le=\"0.005\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("check_seconds_bucket{le=\"+Inf\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("check_seconds_count 2\n"), "{text}");
        assert!(text.contains("check_seconds_sum 100.003\n"), "{text}");
    }

    #[test]
    fn family_does_not_grow_without_bound() {
        let registry = Registry::new();
        let family = registry.counters("x_total", "X.", &["a"]);
        for number in 0..(family::MAX_SERIES + 50) {
            family.with(&[&number.to_string()]).increment();
        }
        let text = registry.render();
        assert!(text.lines().count() <= family::MAX_SERIES + 3);
        assert!(text.contains("x_total{a=\"other\"} 50\n"), "{text}");
    }

    #[test]
    fn label_values_are_escaped() {
        let registry = Registry::new();
        registry
            .counters("x_total", "X.", &["a"])
            .with(&["q\"b\\n\n"])
            .increment();
        assert!(
            registry
                .render()
                .contains("x_total{a=\"q\\\"b\\\\n\\n\"} 1\n")
        );
    }

    #[test]
    fn labels_that_are_missing_are_empty() {
        let registry = Registry::new();
        registry
            .counters("x_total", "X.", &["a", "b"])
            .with(&["1"])
            .increment();
        assert!(registry.render().contains("x_total{a=\"1\",b=\"\"} 1\n"));
    }
}
