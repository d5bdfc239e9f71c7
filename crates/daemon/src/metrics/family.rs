//! Owns a family of metrics: one per set of label values, bounded.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::RwLock;

use super::Render;

/// Most label sets of one family. Reasons times kinds stay far below it.
pub(super) const MAX_SERIES: usize = 512;

/// The value of every label of what came after the bound.
const OTHER: &str = "other";

/// Metrics of one name, told apart by labels. Cheap to clone.
#[derive(Clone)]
pub struct Family<M>(Arc<Inner<M>>);

struct Inner<M> {
    name: &'static str,
    labels: &'static [&'static str],
    make: fn() -> M,
    series: RwLock<BTreeMap<Vec<String>, M>>,
}

impl<M: Clone> Family<M> {
    pub(super) fn new(
        name: &'static str,
        labels: &'static [&'static str],
        make: fn() -> M,
    ) -> Self {
        Self(Arc::new(Inner {
            name,
            labels,
            make,
            series: RwLock::new(BTreeMap::new()),
        }))
    }

    /// The metric of these label values, in the order of the labels. Keep it where it is used often.
    pub fn with(&self, values: &[&str]) -> M {
        let key = self.key(values.iter().copied());
        if let Some(metric) = self.0.series.read().get(&key) {
            return metric.clone();
        }
        let mut series = self.0.series.write();
        let key = if series.len() < MAX_SERIES || series.contains_key(&key) {
            key
        } else {
            self.key(std::iter::repeat(OTHER))
        };
        series.entry(key).or_insert_with(self.0.make).clone()
    }

    fn key<'a>(&self, values: impl Iterator<Item = &'a str>) -> Vec<String> {
        let values = values.chain(std::iter::repeat(""));
        self.0
            .labels
            .iter()
            .zip(values)
            .map(|(_, value)| value.to_owned())
            .collect()
    }
}

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Family").field(&self.0.name).finish()
    }
}

/// A metric that writes its samples, given the family's name and the label pairs.
pub(super) trait Sample: Send + Sync {
    fn sample(&self, name: &str, labels: &str, text: &mut String);
}

impl<M: Sample> Render for Family<M> {
    fn render(&self, text: &mut String) {
        for (values, metric) in self.0.series.read().iter() {
            let pairs: Vec<String> = self
                .0
                .labels
                .iter()
                .zip(values)
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            metric.sample(self.0.name, &pairs.join(","), text);
        }
    }
}

/// One line: a name, its label pairs and a value.
pub(super) fn line(text: &mut String, name: &str, labels: &str, value: impl fmt::Display) {
    let value = value.to_string();
    if labels.is_empty() {
        text.extend([name, " ", &value, "\n"]);
    } else {
        text.extend([name, "{", labels, "} ", &value, "\n"]);
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
