use super::{Health, Outcome};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const MIDDLE: f64 = 0.5;

fn ejected(start: Instant) -> Health {
    let health = Health::new(start);
    assert_eq!(health.fail(Outcome::Unreachable, start, 0, MIDDLE).unwrap().cool_down, 500 * MS);
    health
}

#[test]
fn an_unreachable_node_is_avoided_until_it_was_probed() {
    let start = Instant::now();
    let health = ejected(start);
    assert_eq!(health.fail(Outcome::Unreachable, start, 0, MIDDLE), None, "the second time it is no news");
    assert!(health.is_avoided(start + 499 * MS));
    assert!(!health.is_avoided(start + 500 * MS), "without a monitor a call is the probe");
    health.leave_probes_to_monitor();
    assert!(health.is_avoided(start + 500 * MS), "with a monitor none is");
    assert!(!health.begin_probe(start + 499 * MS));
    assert!(health.begin_probe(start + 500 * MS));
    assert!(health.come_back(start + 501 * MS));
    health.end_probe();
    assert!(!health.is_avoided(start + 501 * MS));
}

#[test]
fn failures_eject_only_in_a_row() {
    let start = Instant::now();
    let health = Health::new(start);
    let fail = || health.fail(Outcome::Failed, start, 0, MIDDLE).is_some();
    for _ in 0..2 {
        assert!(!fail() && !fail());
        assert!(!health.answered());
    }
    assert!(!fail() && !fail());
    assert!(!health.is_ejected());
    assert!(fail());
    assert!(health.is_ejected());
    assert!(health.answered(), "an answer does not end the ejection, but is worth a probe");
    assert!(health.is_ejected());
    assert!(health.end_cool_down(start) && !health.end_cool_down(start + MS), "not with each answer");
    assert!(health.begin_probe(start + MS));
}

#[test]
fn failures_eject_as_half_of_many() {
    let start = Instant::now();
    let health = Health::new(start);
    let mut answered = 0;
    let mut attempts = 0;
    while !health.is_ejected() {
        attempts += 2;
        answered += 1;
        assert!(!health.answered() || health.is_ejected());
        let _ = health.fail(Outcome::Failed, start, answered, MIDDLE);
        assert!(attempts < 20, "every other one failed");
    }
    assert!(attempts >= 10);
}

#[test]
fn the_cool_down_doubles_up_to_30_seconds_and_is_spread() {
    let start = Instant::now();
    let health = ejected(start);
    for seconds in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        for (chance, factor) in [(0.0, 0.8), (1.0, 1.2)] {
            let before = health.record.lock().doublings;
            health.probe_failed(start, chance);
            let left = health.cools_down_for(start).unwrap().as_secs_f64();
            assert!((left - seconds * factor).abs() < 0.001, "{left} for {seconds}");
            health.record.lock().doublings = if chance < 1.0 { before } else { before + 1 };
        }
    }
}

#[test]
fn a_node_that_fails_again_soon_is_avoided_for_longer() {
    let start = Instant::now();
    let health = ejected(start);
    assert!(health.come_back(start));
    let again = health.fail(Outcome::NotServing, start + Duration::from_secs(9), 0, MIDDLE).unwrap();
    assert_eq!(again.cool_down, Duration::from_secs(1));
    assert!(health.come_back(start + Duration::from_secs(20)));
    let later = health.fail(Outcome::NotServing, start + Duration::from_secs(31), 0, MIDDLE).unwrap();
    assert_eq!(later.cool_down, Duration::from_millis(500));
}

#[test]
fn the_share_grows_in_ten_seconds_and_only_after_an_ejection() {
    let start = Instant::now();
    let health = ejected(start);
    assert!((Health::new(start).share(start) - 1.0).abs() < 1e-9);
    health.come_back(start);
    for (seconds, share) in [(0, 0.1), (1, 0.1), (5, 0.5), (9, 0.9), (10, 1.0), (100, 1.0)] {
        assert!((health.share(start + Duration::from_secs(seconds)) - share).abs() < 1e-9, "{seconds} s");
    }
    health.end_slow_start(start + Duration::from_secs(9));
    assert!(health.is_eased_in());
    health.end_slow_start(start + Duration::from_secs(11));
    assert!(!health.is_eased_in());
}

#[test]
fn one_probe_at_a_time_however_many_threads_try() {
    let start = Instant::now();
    let health = ejected(start);
    let (running, most, probes) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..20_000_u32 {
                    if health.begin_probe(start + 500 * MS) {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        probes.fetch_add(1, Ordering::SeqCst);
                        if round % 2 == 0 {
                            thread::yield_now();
                        }
                        running.fetch_sub(1, Ordering::SeqCst);
                        health.end_probe();
                    }
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert!(probes.load(Ordering::SeqCst) > 8);
}
