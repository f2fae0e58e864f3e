//! The text that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};

/// The metrics of a text, by their names without `_bucket`, `_sum` and `_count` of histograms, with all labels of their series.
#[derive(Debug)]
pub struct Rendered {
    metrics: BTreeMap<String, BTreeSet<String>>,
    histograms: BTreeSet<String>,
}

impl Rendered {
    pub fn of(text: &str) -> Self {
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let histograms = kinds.clone().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name.to_owned());
        let histograms: BTreeSet<String> = histograms.collect();
        assert!(kinds.clone().all(|(_, kind)| kind != "summary"), "a histogram has no buckets: {text}");
        let mut metrics = BTreeMap::<String, BTreeSet<String>>::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = &line[..line.find(['{', ' ']).unwrap()];
            let labels = metrics.entry(family(name, &histograms).to_owned()).or_default();
            // No value of these tests contains a quote or a comma.
            let inner = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inner, _)| inner);
            labels.extend(inner.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())));
        }
        for name in &histograms {
            metrics.entry(name.clone()).or_default().remove("le");
        }
        Self { metrics, histograms }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.metrics.keys().map(String::as_str)
    }

    /// Returns the labels of a metric, also of the series of a histogram; `None` if there is no such metric.
    pub fn labels(&self, name: &str) -> Option<BTreeSet<String>> {
        let is_bucket = name.strip_suffix("_bucket").is_some_and(|family| self.histograms.contains(family));
        let mut labels = self.metrics.get(family(name, &self.histograms))?.clone();
        labels.extend(is_bucket.then(|| "le".to_owned()));
        Some(labels)
    }
}

fn family<'a>(name: &'a str, histograms: &BTreeSet<String>) -> &'a str {
    let suffixes = ["_bucket", "_sum", "_count"];
    let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).filter(|name| histograms.contains(*name));
    family.unwrap_or(name)
}
