//! The span of a call in `tracing`, by the semantic conventions of OpenTelemetry for Redis.

use tracing::field::{Empty, display};
use tracing::span::EnteredSpan;
use tracing::{Level, Span};

use super::call::CallEnded;
use crate::classification::Request;

const TARGET: &str = "redis_replicated::call";

/// Returns whether somebody reads the spans of calls.
#[inline]
pub(super) fn is_enabled() -> bool {
    tracing::enabled!(target: TARGET, Level::DEBUG)
}

/// Begins the span of a call.
#[cold]
pub(super) fn begin(request: &Request<'_>) -> EnteredSpan {
    let operation = request.operation();
    tracing::debug_span!(
        target: TARGET,
        "call",
        otel.name = operation,
        otel.kind = "client",
        db.system.name = "redis",
        db.operation.name = operation,
        db.operation.batch.size = request.batch_size(),
        db.namespace = Empty,
        server.address = Empty,
        server.port = Empty,
        db.response.status_code = Empty,
        error.type = Empty,
        otel.status_code = Empty,
        redis.client.operation.retry_attempts = Empty,
    )
    .entered()
}

/// Records how the call ended.
#[cold]
pub(super) fn end(span: &Span, call: &CallEnded<'_>) {
    span.record("db.namespace", display(call.database()));
    if let Some(node) = call.node() {
        match node.host().zip(node.port()) {
            Some((host, port)) => {
                span.record("server.address", host);
                span.record("server.port", port);
            }
            None => {
                span.record("server.address", display(node));
            }
        }
    }
    if let Some(kind) = call.error_kind() {
        match call.code() {
            Some(code) => span.record("error.type", code),
            None => span.record("error.type", display(kind)),
        };
        span.record("otel.status_code", "ERROR");
    }
    if let Some(code) = call.code() {
        span.record("db.response.status_code", code);
    }
    if call.retries() > 0 {
        span.record("redis.client.operation.retry_attempts", call.retries());
    }
}
