use super::Outcome;
use crate::node::Node;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const MIDDLE: f64 = 0.5;

fn node() -> Node {
    Node::new("a:1".parse().unwrap())
}

/// A node that was ejected at the time that is returned.
fn ejected() -> (Node, Instant) {
    let (node, start) = (node(), Instant::now());
    assert_eq!(node.count_against(Outcome::Unreachable, start, MIDDLE).unwrap().cool_down, 500 * MS);
    (node, start)
}

#[test]
fn an_unreachable_node_is_avoided_until_it_was_probed() {
    let (node, start) = ejected();
    assert_eq!(node.count_against(Outcome::Unreachable, start, MIDDLE), None, "the second time it is no news");
    assert!(node.is_avoided(start + 499 * MS));
    assert!(!node.is_avoided(start + 500 * MS), "without a monitor a call is the probe");
    node.leave_probes_to_monitor();
    assert!(node.is_avoided(start + 500 * MS), "with a monitor none is");
    assert!(!node.begin_probe(start + 499 * MS));
    assert!(node.begin_probe(start + 500 * MS));
    assert!(node.come_back(start + 501 * MS).is_some());
    node.end_probe();
    assert!(!node.is_avoided(start + 501 * MS));
}

#[test]
fn failures_eject_only_in_a_row() {
    let (node, start) = (node(), Instant::now());
    let fail = || node.count_against(Outcome::Failed, start, MIDDLE).is_some();
    for _ in 0..2 {
        assert!(!fail() && !fail());
        assert!(!node.record_answer());
    }
    assert!(!fail() && !fail());
    assert!(!node.is_ejected());
    assert!(fail());
    assert!(node.is_ejected());
    assert!(node.record_answer(), "an answer does not end the ejection, but is worth a probe");
    assert!(node.is_ejected());
    assert!(node.end_cool_down(start) && !node.end_cool_down(start + MS), "not with each answer");
    assert!(node.begin_probe(start + MS));
}

#[test]
fn failures_eject_as_half_of_many() {
    let (node, start) = (node(), Instant::now());
    let mut attempts = 0;
    while !node.is_ejected() {
        attempts += 2;
        assert!(!node.record_answer() || node.is_ejected());
        let _ = node.count_against(Outcome::Failed, start, MIDDLE);
        assert!(attempts < 20, "every other one failed");
    }
    assert!(attempts >= 10);
}

#[test]
fn the_cool_down_doubles_up_to_30_seconds_and_is_spread() {
    let (node, start) = ejected();
    for seconds in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        for (chance, factor) in [(0.0, 0.8), (1.0, 1.2)] {
            let before = node.record.outage.lock().doublings;
            node.probe_failed(start, chance);
            let left = node.cools_down_for(start).unwrap().as_secs_f64();
            assert!((left - seconds * factor).abs() < 0.001, "{left} for {seconds}");
            node.record.outage.lock().doublings = if chance < 1.0 { before } else { before + 1 };
        }
    }
}

#[test]
fn a_node_that_fails_again_soon_is_avoided_for_longer() {
    let (node, start) = ejected();
    assert!(node.come_back(start).is_some());
    let again = node.count_against(Outcome::NotServing, start + Duration::from_secs(9), MIDDLE).unwrap();
    assert_eq!(again.cool_down, Duration::from_secs(1));
    assert!(node.come_back(start + Duration::from_secs(20)).is_some());
    let later = node.count_against(Outcome::NotServing, start + Duration::from_secs(31), MIDDLE).unwrap();
    assert_eq!(later.cool_down, Duration::from_millis(500));
}

#[test]
fn the_share_grows_in_ten_seconds_and_only_after_an_ejection() {
    let (node, start) = ejected();
    assert!((self::node().share_at(start) - 1.0).abs() < 1e-9);
    node.come_back(start);
    for (seconds, share) in [(0, 0.1), (1, 0.1), (5, 0.5), (9, 0.9), (10, 1.0), (100, 1.0)] {
        assert!((node.share_at(start + Duration::from_secs(seconds)) - share).abs() < 1e-9, "{seconds} s");
    }
    node.end_slow_start(start + Duration::from_secs(9));
    assert!(node.is_slow_start());
    node.end_slow_start(start + Duration::from_secs(11));
    assert!(!node.is_slow_start());
}

#[test]
fn one_probe_at_a_time_however_many_threads_try() {
    let (node, start) = ejected();
    let (running, most, probes) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..20_000_u32 {
                    if node.begin_probe(start + 500 * MS) {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        probes.fetch_add(1, Ordering::SeqCst);
                        if round % 2 == 0 {
                            thread::yield_now();
                        }
                        running.fetch_sub(1, Ordering::SeqCst);
                        node.end_probe();
                    }
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert!(probes.load(Ordering::SeqCst) > 8);
}
