//! The kinds of health, for people: what [`health`](super) concludes from the attempts on a node.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::node::record::Outcome;
use crate::node::state::Node;

/// The health of a node: what the calls on it say. What its data is worth is its [`SyncState`](crate::SyncState).
///
/// `Display` writes plain words, such as `slow start`. `Serialize` writes the same words in snake case: `slow_start`.
///
/// ```no_run
/// use redis_replicated::Health;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// for node in client.snapshot().nodes.iter().filter(|node| node.health != Health::Available) {
///     println!("{} has been in {} for {:?}", node.addr, node.health, node.health_for);
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It serves.
    Available,
    /// It failed. Calls go to other nodes, until a probe finds that it serves again.
    Ejected,
    /// It is ejected, and a probe is under way.
    Probing,
    /// It serves again, with a share of its load that grows to 100 % in 10 s.
    SlowStart,
}

/// The health of a node at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HealthAt {
    pub(crate) health: Health,
    /// How long it has been so. A probe does not interrupt an ejection.
    pub(crate) lasts: Duration,
    /// The outcome of the last failure, while the node is ejected.
    pub(crate) outcome: Option<Outcome>,
    /// How often the node was ejected.
    pub(crate) ejections: u64,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Available => "available",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::SlowStart => "slow start",
        })
    }
}

impl Node {
    /// Returns the health at this time. Takes a lock, which calls that are answered do not.
    pub(crate) fn health_at(&self, now: Instant) -> HealthAt {
        let record = &self.record;
        let outage = record.outage.lock();
        let is_ejected = self.is_ejected();
        let health = match (is_ejected, record.is_probed.load(Ordering::Relaxed)) {
            (true, true) => Health::Probing,
            (true, false) => Health::Ejected,
            (false, _) if self.share_at(now) < 1.0 => Health::SlowStart,
            (false, _) => Health::Available,
        };
        let lasts = match health {
            Health::SlowStart => {
                Duration::from_nanos(record.nanos(now).saturating_sub(record.slow_start_since.load(Ordering::Relaxed)))
            }
            _ => {
                let since = if is_ejected { outage.ejected } else { outage.returned };
                since.map_or_else(|| record.age_at(now), |since| now.saturating_duration_since(since))
            }
        };
        HealthAt { health, lasts, outcome: outage.outcome.filter(|_| is_ejected), ejections: outage.ejections }
    }
}

#[cfg(test)]
mod tests {
    use super::Health;
    use crate::node::{Node, Outcome};
    use std::time::{Duration, Instant};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn health_says_what_it_is_since_when_and_why() {
        let node = Node::new("a:1".parse().unwrap());
        let start = Instant::now();
        let at = |seconds: u32| {
            let found = node.health_at(start + seconds * SECOND);
            (found.health, found.lasts.as_secs(), found.outcome, found.ejections)
        };
        assert_eq!(at(7), (Health::Available, 7, None, 0));
        assert!(node.count_against(Outcome::Failed, start, 0.5).is_none());
        assert_eq!(at(7), (Health::Available, 7, None, 0), "one failure is no ejection");
        assert!(node.count_against(Outcome::NotServing, start + 7 * SECOND, 0.5).is_some());
        assert_eq!(at(7), (Health::Ejected, 0, Some(Outcome::NotServing), 1));
        assert!(node.begin_probe(start + 9 * SECOND));
        assert_eq!(at(9), (Health::Probing, 2, Some(Outcome::NotServing), 1));
        node.end_probe();
        node.probe_failed(start + 9 * SECOND, 0.5);
        assert!(node.count_against(Outcome::Unreachable, start + 9 * SECOND, 0.5).is_none());
        assert_eq!(at(12), (Health::Ejected, 5, Some(Outcome::Unreachable), 1), "the last failure is the reason");
        node.come_back(start + 20 * SECOND);
        assert_eq!(at(24), (Health::SlowStart, 4, None, 1));
        assert_eq!(at(30), (Health::Available, 10, None, 1));
        assert!(node.count_against(Outcome::Unreachable, start + 40 * SECOND, 0.5).is_some());
        assert_eq!(at(43), (Health::Ejected, 3, Some(Outcome::Unreachable), 2));
    }

    #[test]
    fn what_people_read_is_what_programs_read() {
        for health in [Health::Available, Health::Ejected, Health::Probing, Health::SlowStart] {
            let json = serde_json::to_string(&health).unwrap();
            assert_eq!(json, format!("\"{}\"", health.to_string().replace(' ', "_")));
        }
        assert_eq!(format!("{:<10}|", Health::Ejected), "ejected   |");
    }
}
