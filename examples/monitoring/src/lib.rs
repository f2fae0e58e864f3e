//! The metrics of redis-replicated in Prometheus: the set-up, and a replica set to whose clients something happens.

pub mod demo;
pub mod prometheus;
