//! What a session has seen, step by step.

use crate::replication::examples::{at, id};
use crate::replication::{Ancestry, Evidence, EvidenceSource, Position};
use crate::session::loss::Loss;
use crate::session::state::{Session, Step};
use crate::session::{Seen, SessionMode};

fn master(position: Position, earlier: Option<(u8, u64)>) -> Evidence {
    Evidence::example(EvidenceSource::Master, position, earlier)
}

fn seen(session: &Session) -> Seen {
    session.token().seen
}

fn wrote(session: &Session, evidence: &Evidence) {
    session.wrote(&session.requirement(), evidence, &Ancestry::default());
}

fn read(session: &Session, evidence: &Evidence, ancestry: &Ancestry) -> Step {
    session.read_from_master(&session.requirement(), evidence, ancestry, false)
}

#[test]
fn what_was_written_and_read_adds_up() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    session.read_from_replica(&Evidence::example(EvidenceSource::Replica, at(1, 15), None), &ancestry);
    wrote(&session, &master(at(1, 12), None));
    assert_eq!(seen(&session), Seen::At(at(1, 15)), "an answer that comes late");
    session.read_from_replica(&Evidence::example(EvidenceSource::Replica, at(2, 20), Some((1, 16))), &ancestry);
    assert_eq!(seen(&session), Seen::At(at(2, 20)), "after a failover that kept it");
}

#[test]
fn a_lost_write_is_told_once_by_a_read() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    let next = master(at(2, 50), Some((1, 10)));
    assert_eq!(read(&session, &next, &ancestry), Step::Tell(Loss::Lost));
    assert_eq!(read(&session, &next, &ancestry), Step::Accept);
    assert_eq!((session.take_loss(), seen(&session)), (None, Seen::At(at(2, 50))));
}

#[test]
fn what_was_only_read_is_told_apart_from_what_was_written() {
    for (diverged_at, expected) in [(10, Loss::Lost), (11, Loss::History), (15, Loss::History)] {
        let (session, ancestry) = (Session::default(), Ancestry::default());
        wrote(&session, &master(at(1, 10), None));
        session.read_from_replica(&Evidence::example(EvidenceSource::Replica, at(1, 15), None), &ancestry);
        let there = Session::resume(&session.token().to_string().parse().unwrap(), SessionMode::Strict);
        let next = master(at(2, 50), Some((1, diverged_at)));
        for session in [session, there] {
            assert_eq!(read(&session, &next, &ancestry), Step::Tell(expected), "{diverged_at}");
            assert_eq!(read(&session, &next, &ancestry), Step::Accept);
        }
    }
}

#[test]
fn own_writes_are_remembered_through_failovers() {
    for (diverged_at, expected) in [(10, Loss::Lost), (11, Loss::History)] {
        let (session, ancestry) = (Session::default(), Ancestry::default());
        wrote(&session, &master(at(1, 10), None));
        assert_eq!(read(&session, &master(at(2, 50), Some((1, 20))), &ancestry), Step::Accept);
        ancestry.record(master(at(2, 50), Some((1, 20))).history());
        let next = master(at(3, 80), Some((2, diverged_at)));
        assert_eq!(read(&session, &next, &ancestry), Step::Tell(expected), "{diverged_at}");
        // What was kept of them.
        assert_eq!(session.token().written, Some(diverged_at - 1).min(Some(10)));
    }
}

#[test]
fn what_may_have_been_written_counts_as_written() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    session.doubt();
    assert_eq!(read(&session, &master(at(1, 20), None), &ancestry), Step::Accept);
    assert_eq!(read(&session, &master(at(2, 50), Some((1, 15))), &ancestry), Step::Tell(Loss::Lost));
}

#[test]
fn two_open_histories_are_unproven() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    (1..4).for_each(|name| wrote(&session, &master(at(name, 10), None)));
    ancestry.record_rename(id(1), id(3));
    assert_eq!(read(&session, &master(at(3, 12), None), &ancestry), Step::Tell(Loss::Unproven));
}

#[test]
fn a_write_that_finds_out_leaves_it_to_the_next_read() {
    let session = Session::default();
    wrote(&session, &master(at(1, 10), None));
    wrote(&session, &master(at(2, 50), Some((1, 10))));
    assert_eq!((session.take_loss(), session.take_loss()), (Some(Loss::Lost), None));
}

#[test]
fn a_read_that_began_before_that_write_is_told_as_well() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    let before = session.requirement();
    let next = master(at(2, 50), Some((1, 10)));
    wrote(&session, &next);
    assert_eq!(session.read_from_master(&before, &next, &ancestry, false), Step::Tell(Loss::Lost));
    assert_eq!((session.take_loss(), read(&session, &next, &ancestry)), (None, Step::Accept));
}

#[test]
fn unrelated_histories_are_unproven_unless_somebody_will_tell() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 0), None));
    let renamed = master(at(2, 30), None);
    assert_eq!(session.read_from_master(&session.requirement(), &renamed, &ancestry, true), Step::Wait);
    wrote(&session, &renamed);
    assert!(session.requirement().needs_master, "the write does not decide it");
    ancestry.record_rename(id(1), id(2));
    assert_eq!(session.read_from_master(&session.requirement(), &renamed, &ancestry, true), Step::Accept);
    assert!(!session.requirement().needs_master);
    assert_eq!(read(&session, &master(at(3, 30), None), &ancestry), Step::Tell(Loss::Unproven));
    assert_eq!(read(&session, &master(at(3, 31), None), &ancestry), Step::Accept);
}

#[test]
fn a_write_in_doubt_leaves_it_to_the_master_until_it_answers() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    let before = session.requirement();
    session.doubt();
    assert!(session.requirement().needs_master && session.token().in_doubt);
    session.wrote(&before, &master(at(1, 11), None), &ancestry);
    assert!(session.requirement().needs_master, "that call began before");
    assert_eq!(read(&session, &master(at(1, 12), None), &ancestry), Step::Accept);
    assert!(!session.requirement().needs_master);
}

#[test]
fn an_answer_of_a_former_master_does_not_lead_back() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    let (before, next) = (session.requirement(), master(at(2, 50), Some((1, 21))));
    ancestry.record(next.history());
    wrote(&session, &next);
    session.wrote(&before, &master(at(1, 20), None), &ancestry);
    assert_eq!((session.take_loss(), seen(&session)), (None, Seen::At(at(2, 50))));
    session.wrote(&before, &master(at(1, 21), None), &ancestry);
    assert_eq!((session.take_loss(), seen(&session)), (Some(Loss::Lost), Seen::At(at(2, 50))));
}

#[test]
fn a_read_of_a_former_master_is_neither_accepted_nor_a_loss() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    let next = master(at(2, 50), Some((1, 21)));
    wrote(&session, &next);
    ancestry.record(next.history());
    ancestry.set_current_history(id(2));
    assert_eq!(read(&session, &master(at(1, 20), None), &ancestry), Step::Wait, "it has less");
    assert_eq!(read(&session, &master(at(1, 30), None), &ancestry), Step::Wait, "it has something else");
    assert_eq!(read(&session, &master(at(3, 5), None), &ancestry), Step::Wait, "it came back empty");
    assert_eq!(seen(&session), Seen::At(at(2, 50)));
    assert_eq!(read(&session, &next, &ancestry), Step::Accept);
}

#[test]
fn where_a_successor_was_no_master_after_all_it_is_told_once() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    let usurper = master(at(2, 50), Some((1, 21)));
    wrote(&session, &usurper);
    ancestry.record(usurper.history());
    ancestry.set_current_history(id(1));
    assert_eq!(read(&session, &master(at(1, 30), None), &ancestry), Step::Tell(Loss::Unproven));
    assert_eq!(read(&session, &master(at(1, 30), None), &ancestry), Step::Accept);
}

#[test]
fn a_master_that_went_back_is_unproven() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    assert_eq!(read(&session, &master(at(1, 9), None), &ancestry), Step::Tell(Loss::Unproven));
    assert_eq!(read(&session, &master(at(1, 9), None), &ancestry), Step::Accept, "told once");
}

#[test]
fn a_token_carries_a_session_to_another_process() {
    let session = Session::default();
    wrote(&session, &master(at(1, 10), None));
    session.doubt();
    let there = Session::resume(&session.token().to_string().parse().unwrap(), SessionMode::Strict);
    assert_eq!(there.token(), session.token());
    assert!(there.requirement().needs_master);
}

#[test]
fn a_token_carries_what_no_read_was_told_yet() {
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
    assert_eq!(session.read_from_master(&before, &master(at(2, 45), None), &ancestry, true), Step::Accept);
    assert_eq!((seen(&session), session.requirement().needs_master), (Seen::At(at(2, 50)), false));
}

#[test]
fn a_replica_two_failovers_on_leads_the_session_along() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 10), None));
    ancestry.record(master(at(2, 50), Some((1, 21))).history());
    ancestry.record(master(at(3, 80), Some((2, 61))).history());
    let far = Evidence::example(EvidenceSource::Replica, at(3, 90), None);
    assert_eq!(session.read_from_replica(&far, &ancestry), Step::Accept);
    assert_eq!((seen(&session), session.requirement().needs_master), (Seen::At(at(3, 90)), false));
}

#[test]
fn a_replica_of_a_lost_branch_is_not_read_from() {
    let (session, ancestry) = (Session::default(), Ancestry::default());
    wrote(&session, &master(at(1, 100), None));
    let next = master(at(2, 200), Some((1, 120)));
    ancestry.record(next.history());
    wrote(&session, &next);
    let lost = Evidence::example(EvidenceSource::Replica, at(1, 150), None);
    assert_eq!(session.read_from_replica(&lost, &ancestry), Step::Wait);
    assert_eq!((read(&session, &next, &ancestry), session.take_loss()), (Step::Accept, None));
}
