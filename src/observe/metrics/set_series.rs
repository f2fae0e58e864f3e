//! The series of the whole set.

use std::time::Duration;

use metrics::{Counter, Histogram};

use super::kept::Kept;
use super::labels::Labels;
use super::metric::{
    BUDGET_EXHAUSTED, FAILOVER_DURATION, FAILOVERS, FALLBACK_READS, RETRIES, SESSION_LOSSES, SESSION_READS, STALENESS,
    TOPOLOGY_CHANGES,
};
use crate::observe::call::CallEnded;
use crate::observe::session::{ProvenBy, SessionChange};
use crate::observe::topology::TopologyChange;

/// The series of the whole set. Counters begin at 0, so that the first increase can be seen.
#[derive(Debug)]
pub(super) struct SetSeries {
    labels: Labels,
    retries: Counter,
    budget_exhausted: Counter,
    fallbacks_served: Counter,
    fallbacks_refused: Counter,
    topology_changes: Counter,
    failovers: Counter,
    /// By [`ProvenBy`].
    proven: [Kept<Counter>; 3],
    staleness: Kept<Histogram>,
}

impl SetSeries {
    pub(super) fn new(labels: Labels) -> Self {
        let fallback = |result| FALLBACK_READS.counter(labels.with([("redis.client.routing.result", result)]));
        Self {
            retries: RETRIES.counter(labels.alone()),
            budget_exhausted: BUDGET_EXHAUSTED.counter(labels.alone()),
            fallbacks_served: fallback("served"),
            fallbacks_refused: fallback("refused"),
            topology_changes: TOPOLOGY_CHANGES.counter(labels.alone()),
            failovers: FAILOVERS.counter(labels.alone()),
            proven: Default::default(),
            staleness: Kept::default(),
            labels,
        }
    }

    /// Counts what routing did in a call.
    #[inline]
    pub(super) fn count_call(&self, call: &CallEnded<'_>) {
        if call.retries() > 0 {
            self.retries.increment(call.retries().into());
        }
        if call.budget_pauses() > 0 {
            self.budget_exhausted.increment(1);
        }
        if call.is_fallback() {
            self.fallbacks_served.increment(1);
        } else if call.is_refused_fallback {
            self.fallbacks_refused.increment(1);
        }
    }

    pub(super) fn count_change(&self, change: TopologyChange<'_>) {
        match change {
            TopologyChange::Changed { .. } => self.topology_changes.increment(1),
            TopologyChange::Failover { .. } => self.failovers.increment(1),
            TopologyChange::WritesResumed { after, .. } => {
                FAILOVER_DURATION.histogram(self.labels.alone()).record(after);
            }
            TopologyChange::ProviderFailed { .. } => {}
        }
    }

    pub(super) fn count_session(&self, change: SessionChange) {
        let loss = match change {
            SessionChange::Proven { by, staleness } => return self.count_proven(by, staleness),
            SessionChange::WriteLost => "write_lost",
            SessionChange::HistoryLost => "history_lost",
            SessionChange::Unproven => "unproven",
        };
        SESSION_LOSSES.counter(self.labels.with([("redis.client.routing.loss", loss)])).increment(1);
    }

    fn count_proven(&self, by: ProvenBy, staleness: Option<Duration>) {
        let (position, word) = match by {
            ProvenBy::First => (0, "first"),
            ProvenBy::Another => (1, "another"),
            ProvenBy::Master => (2, "master"),
        };
        let reads = || SESSION_READS.counter(self.labels.with([("redis.client.routing.proven_by", word)]));
        self.proven[position].get(reads).increment(1);
        if let Some(staleness) = staleness {
            self.staleness.get(|| STALENESS.histogram(self.labels.alone())).record(staleness);
        }
    }
}
