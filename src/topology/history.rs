//! What the monitor learns of the master's history.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::replication::{Ancestry, Report, Role, Timeline};

/// Which history continues which one, and how far the master had written when.
#[derive(Debug, Default)]
pub(crate) struct MasterHistory {
    pub(crate) ancestry: Ancestry,
    pub(crate) timeline: Timeline,
    /// How often the master is asked how far it is, in nanoseconds; 0: as often as every node.
    pace: AtomicU64,
}

impl MasterHistory {
    /// Has the master asked at least this often from now on. Returns whether that is news.
    pub(crate) fn keep_pace(&self, interval: Duration) -> bool {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let faster = |pace: u64| (pace == 0 || nanos < pace).then_some(nanos);
        self.pace.fetch_update(Ordering::Relaxed, Ordering::Relaxed, faster).is_ok()
    }

    /// Returns how long after a question to the master the next one is due.
    pub(crate) fn pace(&self) -> Option<Duration> {
        Some(self.pace.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }

    /// Records what a master said when it was asked at `asked`, and what it had said before. `is_current`: the topology takes
    /// it for the master of the set.
    pub(super) fn record(&self, before: Option<&Report>, report: &Report, asked: Instant, is_current: bool) {
        let Some(position) = report.position().filter(|_| report.role == Some(Role::Master)) else { return };
        if let Some(before) = before.and_then(|before| before.position().filter(|_| renames(before, report)))
            && before.history != position.history
        {
            self.ancestry.record_rename(before.history, position.history);
        }
        if let Some(history) = report.believed_history() {
            self.ancestry.record(history);
        }
        if is_current {
            self.ancestry.set_current_history(position.history);
            self.timeline.record(asked, Instant::now(), position);
        }
    }
}

/// Returns whether one process only gave its history another id: when its first replica connected, or its backlog expired.
/// Nothing is lost by that.
///
/// The run id is not enough. Between two reports, the process may have followed another master and been promoted. Once its
/// backlog expires after that, it names nothing that it continues. But as a replica it would have received something. A
/// server that does not count that (before Redis 7.0) proves nothing, and neither does one that says what it continues, be
/// that believed or not.
fn renames(before: &Report, report: &Report) -> bool {
    let is_one = before.run_id.is_some() && before.run_id == report.run_id;
    let was_master = before.role == Some(Role::Master);
    let received_nothing = before.received.is_some() && before.received == report.received;
    let went_on = before.offset <= report.offset;
    let continues_nothing = report.history.is_some_and(|history| history.earlier.is_none());
    is_one && was_master && received_nothing && went_on && continues_nothing
}

#[cfg(test)]
mod tests {
    use super::MasterHistory;
    use crate::replication::{Position, Relation, ReplicationId, Report, Role};
    use std::time::{Duration, Instant};

    fn report(run_id: &str, history: &str, earlier: Option<(&str, u64)>, offset: u64) -> Report {
        let name = |name: &str| name.repeat(20);
        let (second, diverged_at) = earlier.map_or(("00", "-1".to_owned()), |(id, offset)| (id, offset.to_string()));
        let (history, second) = (name(history), name(second));
        Report::of_info(&format!(
            "role:master\r\nrun_id:{run_id}\r\nmaster_replid:{history}\r\nmaster_replid2:{second}\r\nmaster_repl_offset:{offset}\r\nsecond_repl_offset:{diverged_at}\r\nrepl_backlog_active:1\r\ntotal_net_repl_input_bytes:7\r\n"
        ))
    }

    fn at(history: &str, offset: u64) -> Position {
        Position { history: ReplicationId::parse(history.repeat(20)).unwrap(), offset }
    }

    #[test]
    fn a_process_that_gives_its_history_another_id_loses_nothing() {
        let (history, now) = (MasterHistory::default(), Instant::now());
        let (a, b) = (report("x", "aa", None, 0), report("x", "bb", None, 30));
        history.record(None, &a, now, true);
        history.record(Some(&a), &b, now, true);
        let relate = |seen, to: Position| history.ancestry.relate(seen, to.history);
        assert_eq!(relate(at("aa", 0), at("bb", 0)), Relation::Contained);
        let other = report("y", "cc", None, 40);
        history.record(Some(&b), &other, now, true);
        assert_eq!(relate(at("bb", 1), at("cc", 0)), Relation::Unknown, "another process");
        let heir = report("y", "dd", Some(("bb", 20)), 40);
        history.record(Some(&other), &heir, now, true);
        assert_eq!(relate(at("bb", 19), at("dd", 0)), Relation::Contained);
        assert_eq!(relate(at("bb", 20), at("dd", 0)), Relation::Lost);
        assert_eq!(relate(at("cc", 1), at("dd", 0)), Relation::Unknown, "it says what it continues");
    }

    #[test]
    fn only_the_id_is_new_where_nothing_else_can_have_happened() {
        let relate = |before: &Report, after: &Report| {
            let (history, now) = (MasterHistory::default(), Instant::now());
            history.record(None, before, now, true);
            history.record(Some(before), after, now, true);
            history.ancestry.relate(at("aa", 9), at("bb", 0).history)
        };
        let (before, after) = (report("x", "aa", None, 10), report("x", "bb", None, 30));
        assert_eq!(relate(&before, &after), Relation::Contained);
        for received in [None, Some(8)] {
            let synced = Report { received, ..after.clone() };
            assert_eq!(
                relate(&before, &synced),
                Relation::Unknown,
                "{received:?}: it may have followed another master"
            );
        }
        assert_eq!(
            relate(&Report { received: None, ..before.clone() }, &Report { received: None, ..after.clone() }),
            Relation::Unknown
        );
        assert_eq!(relate(&before, &report("x", "bb", None, 9)), Relation::Unknown, "it went back");
        assert_eq!(relate(&report("x", "aa", Some(("cc", 5)), 10), &after), Relation::Contained, "its backlog expired");
        // Emptied and promoted: what it continues is not believed, but it does say that it continues something.
        let mut emptied = report("x", "bb", Some(("aa", 20)), 30);
        emptied.distrust();
        assert_eq!(relate(&before, &emptied), Relation::Unknown);
        let demoted = Report { role: Some(Role::Replica), ..before.clone() };
        assert_eq!(relate(&demoted, &after), Relation::Unknown);
    }

    #[test]
    fn only_the_current_master_is_on_the_timeline() {
        let (history, start) = (MasterHistory::default(), Instant::now());
        history.record(None, &report("x", "aa", None, 10), start, true);
        history.record(None, &report("y", "bb", None, 99), start + Duration::from_secs(1), false);
        assert_eq!(history.timeline.at(start), Some(at("aa", 10)));
        assert_eq!(history.pace(), None);
        assert_eq!([50, 20, 80].map(|millis| history.keep_pace(Duration::from_millis(millis))), [true, true, false]);
        assert_eq!(history.pace(), Some(Duration::from_millis(20)));
    }
}
