//! The metrics and spans are there, with their attributes: with exporters that keep what they get.

#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_example::{demo, telemetry};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Of one metric: its unit, the names of its attributes, and the sum of its values (of a histogram: their number).
#[derive(Debug, Default)]
struct Found {
    unit: String,
    attributes: BTreeSet<String>,
    sum: f64,
}

#[test]
fn metrics_and_spans_are_exported() {
    let (metrics, spans) = (InMemoryMetricExporter::default(), InMemorySpanExporter::default());
    let reader = PeriodicReader::builder(metrics.clone()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let tracers =
        SdkTracerProvider::builder().with_sampler(telemetry::sampler(1.0)).with_simple_exporter(spans.clone()).build();
    tracing_subscriber::registry().with(telemetry::layer(&tracers)).init();

    let demo = demo::run(&meters.meter("redis-replicated")).unwrap();
    tracing::info_span!("request").in_scope(|| demo.client.get::<Option<String>>("key").unwrap());
    meters.force_flush().unwrap();

    let all = metrics.get_finished_metrics().unwrap();
    check_metrics(&found(all.last().unwrap()));
    check_spans(&spans.get_finished_spans().unwrap());
}

fn check_metrics(found: &BTreeMap<String, Found>) {
    let expected: [(&str, &str, &[&str]); 11] = [
        (
            "db.client.operation.duration",
            "s",
            &["db.operation.name", "db.namespace", "server.port", "redis.client.operation.retry_attempts"],
        ),
        ("redis.client.errors", "{error}", &["error.type", "redis.client.errors.internal"]),
        ("redis.client.routing.reads", "{read}", &["server.address", "server.port", "redis.client.routing.role"]),
        ("redis.client.routing.retries", "{retry}", &[]),
        ("redis.client.routing.ejections", "{ejection}", &["server.address", "server.port", "error.type"]),
        ("redis.client.routing.failovers", "{failover}", &[]),
        ("redis.client.routing.failover.duration", "s", &[]),
        ("redis.client.routing.available", "{node}", &["server.address", "redis.client.routing.role"]),
        ("redis.client.routing.replication.lag", "By", &["server.address", "server.port"]),
        ("db.client.connection.count", "{connection}", &["db.client.connection.pool.name"]),
        ("redis.client.routing.session.losses", "{loss}", &[]),
    ];
    for (name, unit, attributes) in expected {
        if name.ends_with("losses") {
            assert!(!found.contains_key(name), "nothing was lost");
            continue;
        }
        let metric = found.get(name).unwrap_or_else(|| panic!("no {name} in {found:#?}"));
        assert_eq!(metric.unit, unit, "{name}");
        for attribute in attributes {
            assert!(metric.attributes.contains(*attribute), "{name} has no {attribute}: {metric:?}");
        }
    }
    let sum = |name: &str| found[name].sum;
    // 1 SET, 100 GET, 1 LLEN, and what the loss of nodes takes.
    assert!(sum("db.client.operation.duration") >= 102.0 && sum("redis.client.routing.reads") >= 101.0, "{found:#?}");
    assert!(sum("redis.client.errors") >= 1.0, "LLEN of a string");
    assert!(sum("redis.client.routing.ejections") >= 1.0 && sum("redis.client.routing.failovers") >= 1.0, "{found:#?}");
}

fn check_spans(spans: &[SpanData]) {
    let call = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let attribute = |span: &SpanData, name: &str| {
        span.attributes.iter().find(|pair| pair.key.as_str() == name).map(|pair| pair.value.to_string())
    };
    let gets = call("GET");
    assert!(gets.len() >= 101, "{} spans", gets.len());
    for name in ["db.system.name", "db.operation.name", "db.namespace", "server.address", "server.port"] {
        assert!(attribute(gets[0], name).is_some(), "{name}: {:?}", gets[0]);
    }
    assert_eq!(gets[0].span_kind, SpanKind::Client);
    let failed = call("LLEN");
    assert!(matches!(failed[0].status, Status::Error { .. }), "{failed:?}");
    assert_eq!(attribute(failed[0], "db.response.status_code").as_deref(), Some("WRONGTYPE"));
    let request = call("request")[0];
    assert_eq!(gets.last().unwrap().parent_span_id, request.span_context.span_id(), "a call in a span is its child");
}

fn found(all: &ResourceMetrics) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::<String, Found>::new();
    for metric in all.scope_metrics().flat_map(|scope| scope.metrics()) {
        let entry = found.entry(metric.name().to_owned()).or_default();
        entry.unit = metric.unit().to_owned();
        match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                for point in sum.data_points() {
                    entry.sum += point.value() as f64;
                    entry.attributes.extend(point.attributes().map(|pair| pair.key.to_string()));
                }
            }
            AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
                for point in gauge.data_points() {
                    entry.sum += point.value() as f64;
                    entry.attributes.extend(point.attributes().map(|pair| pair.key.to_string()));
                }
            }
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                for point in histogram.data_points() {
                    entry.sum += point.count() as f64;
                    entry.attributes.extend(point.attributes().map(|pair| pair.key.to_string()));
                }
            }
            other => panic!("{}: {other:?}", metric.name()),
        }
    }
    found
}
