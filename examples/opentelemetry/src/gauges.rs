//! Gauges, which OpenTelemetry reads by callbacks when it collects.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use redis_replicated::{NodeSnapshot, ReplicatedClient};

use crate::observer::node_attributes;

/// Registers the gauges of a client. `snapshot()` sends nothing, so collecting costs no round trip.
///
/// The callbacks hold a clone of the client until the meter provider is shut down.
pub fn register(meter: &Meter, client: &ReplicatedClient) {
    let owner = client.clone();
    meter
        .u64_observable_gauge("redis.client.routing.available")
        .with_description("1 if the node is not ejected, in the role that it has")
        .with_unit("{node}")
        .with_callback(move |gauge| {
            for node in owner.snapshot().nodes {
                let mut attributes = node_attributes(&node.addr);
                attributes.push(KeyValue::new("redis.client.routing.role", node.assigned_role.to_string()));
                gauge.observe(u64::from(!node.ejected), &attributes);
            }
        })
        .build();
    let owner = client.clone();
    meter
        .u64_observable_gauge("redis.client.routing.replication.lag")
        .with_description("How many bytes a replica is behind the master")
        .with_unit("By")
        .with_callback(move |gauge| {
            for node in owner.snapshot().nodes {
                if let Some(lag) = lag(&node) {
                    gauge.observe(lag, &node_attributes(&node.addr));
                }
            }
        })
        .build();
    let owner = client.clone();
    meter
        .u64_observable_gauge("db.client.connection.count")
        .with_description("Connections that calls use")
        .with_unit("{connection}")
        .with_callback(move |gauge| {
            for node in owner.snapshot().nodes {
                let pool = KeyValue::new("db.client.connection.pool.name", node.addr.to_string());
                let state = KeyValue::new("db.client.connection.state", "used");
                gauge.observe(node.connections_in_use.into(), &[pool, state]);
            }
        })
        .build();
}

fn lag(node: &NodeSnapshot) -> Option<u64> {
    node.replication.as_ref()?.lag
}
