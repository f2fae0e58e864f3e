//! The set-up of OpenTelemetry: providers, exporters, and the layer that hands over spans.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use crate::demo::Result;

/// Sends metrics and spans to a collector, such as `http://127.0.0.1:4318`, by OTLP over HTTP. The metrics are sent each minute.
///
/// The exporter has threads of its own; the program needs no async runtime.
pub fn otlp(collector: &str, sampled: f64) -> Result<(SdkMeterProvider, SdkTracerProvider)> {
    let metrics = MetricExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{collector}/v1/metrics"))
        .build()?;
    let spans = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{collector}/v1/traces"))
        .build()?;
    let meters = SdkMeterProvider::builder().with_resource(resource()).with_periodic_exporter(metrics).build();
    let tracers = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(sampler(sampled))
        .with_batch_exporter(spans)
        .build();
    Ok((meters, tracers))
}

/// Prints metrics and spans, for a try without a collector.
#[must_use]
pub fn stdout(sampled: f64) -> (SdkMeterProvider, SdkTracerProvider) {
    let reader = PeriodicReader::builder(opentelemetry_stdout::MetricExporter::default()).build();
    let meters = SdkMeterProvider::builder().with_resource(resource()).with_reader(reader).build();
    let tracers = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(sampler(sampled))
        .with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
        .build();
    (meters, tracers)
}

/// Samples this share of the traces (1: all). A call inside a span of the application is sampled if that span is.
#[must_use]
pub fn sampler(share: f64) -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)))
}

/// Hands the spans of calls over to OpenTelemetry, and those of the application at level INFO.
pub fn layer<S>(tracers: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let targets =
        Targets::new().with_default(LevelFilter::INFO).with_target("redis_replicated::call", LevelFilter::DEBUG);
    tracing_opentelemetry::layer().with_tracer(tracers.tracer("redis-replicated")).with_filter(targets)
}

fn resource() -> Resource {
    Resource::builder().with_service_name("opentelemetry-example").build()
}
