//! What a session has seen, step by step.

use crate::replication::examples::{at, id};
use crate::replication::{Ancestry, Evidence, EvidenceSource, Position};
use crate::session::state::{Acceptance, Session};
use crate::session::token::Loss;
use crate::session::{SessionMode, Watermark};

fn master(position: Position, earlier: Option<(u8, u64)>) -> Evidence {
    Evidence::example(EvidenceSource::Master, position, earlier)
}

fn watermark(session: &Session) -> Watermark {
    session.token().watermark
}

fn wrote(session: &Session, evidence: &Evidence) {
    session.record_write(&session.requirement(), evidence, &Ancestry::default());
}

fn read(session: &Session, evidence: &Evidence, ancestry: &Ancestry) -> Acceptance {
    session.read_from_master(&session.requirement(), evidence, ancestry, false)
}

#[test]
fn what_was_written_and_read_adds_up() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    session.read_from_replica(&Evidence::example(EvidenceSource::Replica, at(1, 15), None), &ancestry);
    wrote(&session, &master(at(1, 12), None));
    assert_eq!(watermark(&session), Watermark::At(at(1, 15)), "an answer that comes late");
    session.read_from_replica(&Evidence::example(EvidenceSource::Replica, at(2, 20), Some((1, 16))), &ancestry);
    assert_eq!(watermark(&session), Watermark::At(at(2, 20)), "after a failover that kept it");
}

#[test]
fn a_lost_write_is_reported_once_by_a_read() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    let next = master(at(2, 50), Some((1, 10)));
    assert_eq!(read(&session, &next, &ancestry), Acceptance::Report(Loss::Lost));
    assert_eq!(read(&session, &next, &ancestry), Acceptance::Accept);
    assert_eq!((session.take_loss(), watermark(&session)), (None, Watermark::At(at(2, 50))));
}

#[test]
fn a_lost_read_is_not_reported_as_a_lost_write() {
    for (diverged_at, expected) in [(10, Loss::Lost), (11, Loss::History), (15, Loss::History)] {
        let (session, ancestry) = (Session::default(), Ancestry::default());
        wrote(&session, &master(at(1, 10), None));
        session.read_from_replica(&Evidence::example(EvidenceSource::Replica, at(1, 15), None), &ancestry);
        let there = Session::resume(&session.token().to_string().parse().unwrap(), SessionMode::Strict);
        let next = master(at(2, 50), Some((1, diverged_at)));
        for session in [session, there] {
            assert_eq!(read(&session, &next, &ancestry), Acceptance::Report(expected), "{diverged_at}");
            assert_eq!(read(&session, &next, &ancestry), Acceptance::Accept);
        }
    }
}

#[test]
fn own_writes_are_remembered_through_failovers() {
    for (diverged_at, expected) in [(10, Loss::Lost), (11, Loss::History)] {
        let (session, ancestry) = (Session::default(), Ancestry::default());
        wrote(&session, &master(at(1, 10), None));
        assert_eq!(read(&session, &master(at(2, 50), Some((1, 20))), &ancestry), Acceptance::Accept);
        ancestry.record(master(at(2, 50), Some((1, 20))).history());
        let next = master(at(3, 80), Some((2, diverged_at)));
        assert_eq!(read(&session, &next, &ancestry), Acceptance::Report(expected), "{diverged_at}");
        // What was kept of them.
        assert_eq!(session.token().written, Some(diverged_at - 1).min(Some(10)));
    }
}

#[test]
fn what_may_have_been_written_counts_as_written() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    session.record_doubt();
    assert_eq!(read(&session, &master(at(1, 20), None), &ancestry), Acceptance::Accept);
    assert_eq!(read(&session, &master(at(2, 50), Some((1, 15))), &ancestry), Acceptance::Report(Loss::Lost));
}

#[test]
fn two_unresolved_histories_are_unproven() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    (1..4).for_each(|name| wrote(&session, &master(at(name, 10), None)));
    ancestry.record_rename(id(1), id(3));
    assert_eq!(read(&session, &master(at(3, 12), None), &ancestry), Acceptance::Report(Loss::Unproven));
}

#[test]
fn a_loss_found_by_a_write_is_reported_by_the_next_read() {
    let session = Session::default();
    wrote(&session, &master(at(1, 10), None));
    wrote(&session, &master(at(2, 50), Some((1, 10))));
    assert_eq!((session.take_loss(), session.take_loss()), (Some(Loss::Lost), None));
}

#[test]
fn a_read_that_began_before_that_write_reports_it_too() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    let before = session.requirement();
    let next = master(at(2, 50), Some((1, 10)));
    wrote(&session, &next);
    assert_eq!(session.read_from_master(&before, &next, &ancestry, false), Acceptance::Report(Loss::Lost));
    assert_eq!((session.take_loss(), read(&session, &next, &ancestry)), (None, Acceptance::Accept));
}

#[test]
fn unrelated_histories_are_unproven_unless_the_monitor_may_learn_more() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 0), None));
    let renamed = master(at(2, 30), None);
    assert_eq!(session.read_from_master(&session.requirement(), &renamed, &ancestry, true), Acceptance::NotProven);
    wrote(&session, &renamed);
    assert!(session.requirement().needs_master, "the write does not decide it");
    ancestry.record_rename(id(1), id(2));
    assert_eq!(session.read_from_master(&session.requirement(), &renamed, &ancestry, true), Acceptance::Accept);
    assert!(!session.requirement().needs_master);
    assert_eq!(read(&session, &master(at(3, 30), None), &ancestry), Acceptance::Report(Loss::Unproven));
    assert_eq!(read(&session, &master(at(3, 31), None), &ancestry), Acceptance::Accept);
}

#[test]
fn after_a_write_in_doubt_only_the_master_serves_until_it_answers() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    let before = session.requirement();
    session.record_doubt();
    assert!(session.requirement().needs_master && session.token().in_doubt);
    session.record_write(&before, &master(at(1, 11), None), &ancestry);
    assert!(session.requirement().needs_master, "that call began before");
    assert_eq!(read(&session, &master(at(1, 12), None), &ancestry), Acceptance::Accept);
    assert!(!session.requirement().needs_master);
}

#[test]
fn an_answer_of_a_former_master_does_not_lead_back() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    let (before, next) = (session.requirement(), master(at(2, 50), Some((1, 21))));
    ancestry.record(next.history());
    wrote(&session, &next);
    session.record_write(&before, &master(at(1, 20), None), &ancestry);
    assert_eq!((session.take_loss(), watermark(&session)), (None, Watermark::At(at(2, 50))));
    session.record_write(&before, &master(at(1, 21), None), &ancestry);
    assert_eq!((session.take_loss(), watermark(&session)), (Some(Loss::Lost), Watermark::At(at(2, 50))));
}

#[test]
fn a_read_of_a_former_master_is_neither_accepted_nor_a_loss() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    let next = master(at(2, 50), Some((1, 21)));
    wrote(&session, &next);
    ancestry.record(next.history());
    ancestry.set_current_history(id(2));
    assert_eq!(read(&session, &master(at(1, 20), None), &ancestry), Acceptance::NotProven, "it has less");
    assert_eq!(read(&session, &master(at(1, 30), None), &ancestry), Acceptance::NotProven, "it has something else");
    assert_eq!(read(&session, &master(at(3, 5), None), &ancestry), Acceptance::NotProven, "it came back empty");
    assert_eq!(watermark(&session), Watermark::At(at(2, 50)));
    assert_eq!(read(&session, &next, &ancestry), Acceptance::Accept);
}

#[test]
fn a_successor_that_was_no_master_after_all_is_reported_once() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    let usurper = master(at(2, 50), Some((1, 21)));
    wrote(&session, &usurper);
    ancestry.record(usurper.history());
    ancestry.set_current_history(id(1));
    assert_eq!(read(&session, &master(at(1, 30), None), &ancestry), Acceptance::Report(Loss::Unproven));
    assert_eq!(read(&session, &master(at(1, 30), None), &ancestry), Acceptance::Accept);
}

#[test]
fn a_master_that_went_back_is_unproven() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    assert_eq!(read(&session, &master(at(1, 9), None), &ancestry), Acceptance::Report(Loss::Unproven));
    assert_eq!(read(&session, &master(at(1, 9), None), &ancestry), Acceptance::Accept, "reported once");
}

#[test]
fn a_token_carries_a_session_to_another_process() {
    let session = Session::default();
    wrote(&session, &master(at(1, 10), None));
    session.record_doubt();
    let there = Session::resume(&session.token().to_string().parse().unwrap(), SessionMode::Strict);
    assert_eq!(there.token(), session.token());
    assert!(there.requirement().needs_master);
}

#[test]
fn a_token_carries_a_loss_that_no_read_has_reported() {
    let session = Session::default();
    wrote(&session, &master(at(1, 10), None));
    wrote(&session, &master(at(2, 50), Some((1, 10))));
    let there = Session::resume(&session.token(), SessionMode::Strict);
    assert_eq!((there.take_loss(), there.take_loss()), (Some(Loss::Lost), None));
    assert_eq!(session.take_loss(), Some(Loss::Lost), "each for itself");
    assert_eq!(session.token(), there.token());
    wrote(&session, &master(at(3, 50), None));
    assert_eq!(Session::resume(&session.token(), SessionMode::Strict).take_loss(), Some(Loss::Unproven));
}

#[test]
fn a_late_answer_does_not_lead_back_behind_a_new_name() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    wrote(&session, &master(at(2, 40), None));
    let before = session.requirement();
    wrote(&session, &master(at(2, 50), None));
    ancestry.record_rename(id(1), id(2));
    assert_eq!(session.read_from_master(&before, &master(at(2, 45), None), &ancestry, true), Acceptance::Accept);
    assert_eq!((watermark(&session), session.requirement().needs_master), (Watermark::At(at(2, 50)), false));
}

#[test]
fn a_replica_two_failovers_later_moves_the_session_on() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    ancestry.record(master(at(2, 50), Some((1, 21))).history());
    ancestry.record(master(at(3, 80), Some((2, 61))).history());
    let far = Evidence::example(EvidenceSource::Replica, at(3, 90), None);
    assert_eq!(session.read_from_replica(&far, &ancestry), Acceptance::Accept);
    assert_eq!((watermark(&session), session.requirement().needs_master), (Watermark::At(at(3, 90)), false));
}

#[test]
fn a_replica_of_a_lost_branch_is_not_read_from() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 100), None));
    let next = master(at(2, 200), Some((1, 120)));
    ancestry.record(next.history());
    wrote(&session, &next);
    let lost = Evidence::example(EvidenceSource::Replica, at(1, 150), None);
    assert_eq!(session.read_from_replica(&lost, &ancestry), Acceptance::NotProven);
    assert_eq!((read(&session, &next, &ancestry), session.take_loss()), (Acceptance::Accept, None));
}
