//! The metrics and spans of redis-replicated in OpenTelemetry.

pub mod demo;
pub mod gauges;
pub mod observer;
pub mod telemetry;
