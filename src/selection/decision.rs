//! The public answer of `explain`: where a command would go, and why other nodes are left out.

use std::fmt;
use std::time::{Duration, Instant};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::rank::{Exclusion, Rank, rank};
use super::read_from::ReadFrom;
use super::select::{Contender, Contenders, Criteria, Likelihood};
use crate::addr::NodeAddr;
use crate::classification::Classification;
use crate::node::Node;

/// Where a command would go right now, and why: from [`ReplicatedClient::explain`](crate::ReplicatedClient::explain).
///
/// Its `Display` is a readable sentence. `Serialize` is for dashboards: `command`, `classification`, `read_from`, `candidates`, each
/// with its `addr` and its [`Measures`], and `excluded`, each with its `addr` and `reason`. Times are numbers of milliseconds, and
/// their names end with `_ms`.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let decision = client.explain(redis::cmd("GET").arg("greeting"));
/// println!("{decision}");
/// println!("candidates: {:?}", decision.candidates());
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub(crate) command: String,
    pub(crate) classification: Classification,
    pub(crate) read_from: ReadFrom,
    pub(crate) candidates: Vec<NodeAddr>,
    pub(crate) measures: Vec<Measures>,
    pub(crate) excluded: Vec<(NodeAddr, Exclusion)>,
}

/// What a strategy knows of a candidate: from [`Decision::measures`].
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let decision = client.explain(redis::cmd("GET").arg("greeting"));
/// for (addr, measures) in decision.candidates().iter().zip(decision.measures()) {
///     println!("{addr}: {} requests in flight, latency {:?}", measures.in_flight, measures.latency);
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measures {
    /// The number of this client's requests that wait for a reply of the node, or for a connection to it.
    pub in_flight: u32,
    /// How long calls to the node take. `None`: not known yet. In JSON: `latency_ms`.
    #[serde(rename = "latency_ms", serialize_with = "crate::millis::serialize_option")]
    pub latency: Option<Duration>,
    /// How long the monitor's requests to the node take. `None`: there is no monitor, or no reply yet. In JSON: `heartbeat_ms`.
    #[serde(rename = "heartbeat_ms", serialize_with = "crate::millis::serialize_option")]
    pub heartbeat: Option<Duration>,
    /// The share of the load that the node should get, compared with the other nodes.
    pub weight: u32,
    /// The availability zone. `None`: not known.
    pub zone: Option<String>,
    /// The part of its load that the node gets: 1.0, or less during slow start.
    pub share: f64,
}

impl Measures {
    pub(crate) fn of(node: &Node, now: Instant) -> Self {
        Self {
            in_flight: node.in_flight(),
            latency: node.latency_at(now),
            heartbeat: node.heartbeat(),
            weight: node.weight(),
            zone: node.zone().map(str::to_owned),
            share: node.share_at(now),
        }
    }
}

impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in flight, weight {}", self.in_flight, self.weight)?;
        if let Some(latency) = self.latency {
            write!(f, ", latency {latency:.1?}")?;
        }
        if let Some(heartbeat) = self.heartbeat {
            write!(f, ", heartbeat {heartbeat:.1?}")?;
        }
        if let Some(zone) = &self.zone {
            write!(f, ", zone {zone}")?;
        }
        if self.share < 1.0 { write!(f, ", share {:.0} %", self.share * 100.0) } else { Ok(()) }
    }
}

impl Decision {
    /// Returns the classification of the command.
    #[must_use]
    pub fn classification(&self) -> Classification {
        self.classification
    }

    /// Returns the nodes from which the strategy would pick one.
    #[must_use]
    pub fn candidates(&self) -> &[NodeAddr] {
        &self.candidates
    }

    /// Returns what the strategy knows of each candidate, in the order of [`candidates`](Self::candidates).
    #[must_use]
    pub fn measures(&self) -> &[Measures] {
        &self.measures
    }

    /// Returns the other nodes, each with the reason why it is not a candidate.
    #[must_use]
    pub fn excluded(&self) -> &[(NodeAddr, Exclusion)] {
        &self.excluded
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a {}", self.command, self.classification)?;
        if matches!(self.classification, Classification::Read | Classification::Cursor) {
            write!(f, " (read from {})", self.read_from)?;
        }
        match &self.candidates[..] {
            [] => f.write_str(": goes nowhere")?,
            [_, ..] => {
                for (index, (addr, measures)) in self.candidates.iter().zip(&self.measures).enumerate() {
                    let lead = if index == 0 { ": goes to" } else { " or" };
                    write!(f, "{lead} {addr} ({measures})")?;
                }
            }
        }
        self.excluded.iter().try_for_each(|(addr, reason)| write!(f, "; not to {addr}: {reason}"))
    }
}

impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Candidate<'a> {
            addr: &'a NodeAddr,
            #[serde(flatten)]
            measures: &'a Measures,
        }
        #[derive(Serialize)]
        struct Excluded<'a> {
            addr: &'a NodeAddr,
            reason: Exclusion,
        }
        let both = self.candidates.iter().zip(&self.measures);
        let candidates: Vec<_> = both.map(|(addr, measures)| Candidate { addr, measures }).collect();
        let excluded: Vec<_> = self.excluded.iter().map(|(addr, reason)| Excluded { addr, reason: *reason }).collect();
        let mut decision = serializer.serialize_struct("Decision", 5)?;
        decision.serialize_field("command", &self.command)?;
        decision.serialize_field("classification", &self.classification)?;
        decision.serialize_field("read_from", &self.read_from)?;
        decision.serialize_field("candidates", &candidates)?;
        decision.serialize_field("excluded", &excluded)?;
        decision.end()
    }
}

/// Returns the reason for each server that is not a candidate.
pub(crate) fn exclusion_reasons<S: Contender>(
    set: &Contenders<'_, S>,
    criteria: Criteria,
    likelihood: impl Fn(&S) -> Likelihood,
    now: Instant,
    candidates: &[NodeAddr],
) -> Vec<(NodeAddr, Exclusion)> {
    let reason =
        |server: &S| match rank(server.node(), server.assigned_role(), criteria.is_read, criteria.read_from, now) {
            _ if likelihood(server) == Likelihood::Impossible => Exclusion::Unproven,
            Err(exclusion) => exclusion,
            Ok(Rank::LastResort) => Exclusion::Ejected,
            Ok(Rank::OutOfSync) => Exclusion::OutOfSync,
            Ok(Rank::Lagging) => Exclusion::Lagging,
            Ok(Rank::Fallback) if !criteria.may_fall_back => Exclusion::Protected,
            Ok(_) if likelihood(server) == Likelihood::Unlikely => Exclusion::Unproven,
            Ok(_) => Exclusion::Fallback,
        };
    let others = set.servers.iter().filter(|server| !candidates.contains(server.node().addr()));
    others.map(|server| (server.node().addr().clone(), reason(server))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Decision, Exclusion, Measures};
    use crate::classification::Classification;
    use crate::node::{Node, Outcome};
    use crate::selection::ReadFrom;
    use std::time::{Duration, Instant};

    #[test]
    fn json_has_all_parts_and_times_in_milliseconds() {
        let (node, now) = (Node::new("a:1".parse().unwrap()), Instant::now());
        node.record_at(Outcome::Answered, Duration::from_micros(213), now);
        let decision = Decision {
            command: "GET".to_owned(),
            classification: Classification::Read,
            read_from: ReadFrom::ReplicaPreferred,
            candidates: vec![node.addr().clone()],
            measures: vec![Measures::of(&node, now)],
            excluded: vec![("b:1".parse().unwrap(), Exclusion::OutOfSync)],
        };
        let expected = serde_json::json!({
            "command": "GET",
            "classification": "read",
            "read_from": "replica_preferred",
            "candidates": [{
                "addr": "a:1", "in_flight": 0, "latency_ms": 0.213, "heartbeat_ms": null, "weight": 1, "zone": null, "share": 1.0
            }],
            "excluded": [{ "addr": "b:1", "reason": "out_of_sync" }],
        });
        assert_eq!(serde_json::to_value(&decision).unwrap(), expected);
    }
}
