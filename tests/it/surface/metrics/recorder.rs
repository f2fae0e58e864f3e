//! A recorder that keeps everything: the series of all clients of this program, which their observers label.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use redis_replicated::observe::MetricsObserver;

/// What one series has recorded.
#[derive(Debug, Default)]
pub struct Values {
    /// The value of a counter, or how many values a histogram has.
    count: AtomicU64,
    /// The values of a histogram; the last one of a gauge.
    all: Mutex<Vec<f64>>,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub kind: &'static str,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    values: Arc<Values>,
}

#[derive(Clone, Debug)]
pub struct Described {
    pub kind: &'static str,
    pub unit: Option<Unit>,
    pub text: String,
}

#[derive(Debug, Default)]
struct Kept {
    series: Mutex<Vec<Series>>,
    described: Mutex<BTreeMap<String, Described>>,
}

/// The series of one client.
#[derive(Clone, Copy, Debug)]
pub struct Seen(&'static str);

/// Makes the observer of a client, and what shows its series.
pub fn observed(client: &'static str) -> (MetricsObserver, Seen) {
    LazyLock::force(&KEPT);
    (MetricsObserver::new().label("client", client), Seen(client))
}

static KEPT: LazyLock<Arc<Kept>> = LazyLock::new(|| {
    let kept = Arc::new(Kept::default());
    metrics::set_global_recorder(Arc::clone(&kept)).unwrap();
    kept
});

/// What is described of each name.
pub fn described() -> BTreeMap<String, Described> {
    KEPT.described.lock().unwrap().clone()
}

impl Seen {
    /// Returns all series of the client.
    pub fn all(self) -> Vec<Series> {
        let all = KEPT.series.lock().unwrap();
        all.iter()
            .filter(|series| series.labels.get("client").is_some_and(|client| client == self.0))
            .cloned()
            .collect()
    }

    /// Returns the series of this name that have these attributes.
    pub fn find(self, name: &str, labels: &[(&str, &str)]) -> Vec<Series> {
        let has = |series: &Series| {
            labels.iter().all(|(label, value)| series.labels.get(*label).map_or("", String::as_str) == *value)
        };
        self.all().into_iter().filter(|series| series.name == name && has(series)).collect()
    }

    /// Returns the sum of these counters, or the number of values in these histograms.
    pub fn count(self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.find(name, labels).iter().map(|series| series.values.count.load(Ordering::SeqCst)).sum()
    }

    /// Returns the value of the one gauge with these attributes.
    pub fn gauge(self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.find(name, labels);
        assert!(found.len() <= 1, "{found:?}");
        found.first()?.values.all.lock().unwrap().last().copied()
    }

    /// Returns the values in these histograms.
    pub fn values(self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        self.find(name, labels).iter().flat_map(|series| series.values.all.lock().unwrap().clone()).collect()
    }
}

impl Kept {
    fn register(&self, kind: &'static str, key: &Key) -> Arc<Values> {
        let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        let mut all = self.series.lock().unwrap();
        if let Some(known) = all.iter().find(|known| known.name == key.name() && known.labels == labels) {
            assert_eq!(known.kind, kind, "{key}");
            return Arc::clone(&known.values);
        }
        let series = Series { kind, name: key.name().to_owned(), labels, values: Arc::default() };
        all.push(series.clone());
        series.values
    }

    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, text: &SharedString) {
        let described = Described { kind, unit, text: text.as_ref().to_owned() };
        self.described.lock().unwrap().insert(name.as_str().to_owned(), described);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("counter", &name, unit, &text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("gauge", &name, unit, &text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("histogram", &name, unit, &text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register("counter", key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register("gauge", key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.register("histogram", key))
    }
}

impl CounterFn for Values {
    fn increment(&self, value: u64) {
        self.count.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.count.fetch_max(value, Ordering::SeqCst);
    }
}

impl GaugeFn for Values {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }

    fn set(&self, value: f64) {
        *self.all.lock().unwrap() = vec![value];
    }
}

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.all.lock().unwrap().push(value);
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}
