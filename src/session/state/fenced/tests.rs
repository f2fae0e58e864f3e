//! What fences prove, step by step.

use std::time::Instant;

use super::{RESUMED_FOR, SETTLED_AFTER};
use crate::replication::examples::at;
use crate::session::loss::Loss;
use crate::session::state::{FENCE_LIVES, Kind, Passed, Raise, Raised, Requirement, Session, Step};
use crate::session::token::{Fence, Seen};
use crate::session::{SessionMode, Token};

pub(in crate::session::state) const A: u64 = 1;
const B: u64 = 2;

/// A session whose time stands still.
pub(in crate::session::state) struct Scene {
    pub(in crate::session::state) session: Session,
    pub(in crate::session::state) now: Instant,
    names: u64,
}

impl Scene {
    pub(in crate::session::state) fn new() -> Self {
        Self::of(Session::default())
    }

    fn of(session: Session) -> Self {
        Self { session, now: Instant::now(), names: 100 }
    }

    pub(in crate::session::state) fn begin(&mut self) -> (Requirement, Raise) {
        self.names += 1;
        let requirement = self.session.requirement();
        let dice = self.names.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (requirement, self.session.raise(self.now, self.names, dice, Kind::Whole).unwrap())
    }

    /// A write on a node where the counter stood at `stood`; the fence before, if there is one, at `before`.
    fn write_at(&mut self, stood: u64, before: Option<u64>) -> Option<Loss> {
        let (requirement, raise) = self.begin();
        self.answer(&requirement, raise, stood, before, A)
    }

    pub(in crate::session::state) fn answer(
        &self,
        requirement: &Requirement,
        raise: Raise,
        stood: u64,
        before: Option<u64>,
        by: u64,
    ) -> Option<Loss> {
        let raised = Raised { count: stood + raise.amount, before, by };
        let lost = self.session.raised(requirement, raise, raised, self.now);
        // As a call ends.
        self.session.cancel(raise);
        lost
    }

    /// A write on a node that has everything.
    pub(in crate::session::state) fn write(&mut self) {
        let seen = self.session.requirement().seen.fence();
        let (requirement, raise) = self.begin();
        let stood = seen.filter(|seen| seen.name == raise.name).map_or(0, |seen| seen.count);
        let before = raise.before.map(|fence| fence.count);
        assert_eq!(self.answer(&requirement, raise, stood, before, A), None);
    }

    /// The write that ends a doubt.
    fn settle(&mut self) {
        assert!(self.session.requirement().needs_master);
        self.write();
        assert!(!self.session.requirement().needs_master);
    }

    pub(in crate::session::state) fn count(&self) -> u64 {
        self.session.requirement().seen.fence().unwrap().count
    }

    pub(in crate::session::state) fn read(&self, is_master: bool, count: Option<u64>) -> Step {
        self.session.passed(&self.session.requirement(), Passed { is_master, count, open: None, by: A }, true)
    }
}

#[test]
fn a_node_has_to_stand_where_the_session_saw_it() {
    let mut scene = Scene::new();
    scene.write();
    let first = scene.count();
    scene.write();
    let second = scene.count();
    assert_eq!(scene.read(false, Some(second)), Step::Accept);
    for count in [Some(first), Some(second + 1), Some(0), None] {
        assert_eq!(scene.read(false, count), Step::Wait, "{count:?}");
    }
    assert_eq!(scene.read(true, Some(second)), Step::Accept);
}

#[test]
fn a_number_never_comes_again() {
    let mut scene = Scene::new();
    scene.write();
    let snapshot = scene.count();
    scene.write();
    let lost = scene.count();
    // The master starts again from the snapshot, and takes as many writes as it lost.
    assert_eq!(scene.write_at(snapshot, None), Some(Loss::Lost));
    assert_ne!(scene.count(), lost);
    assert_eq!(scene.read(false, Some(lost)), Step::Wait, "one that still has the lost write has not the new one");
    assert_eq!(scene.session.take_loss(), Some(Loss::Lost));
    scene.settle();
    assert_eq!(scene.read(false, Some(scene.count())), Step::Accept);
}

#[test]
fn a_read_finds_out_as_well() {
    let mut scene = Scene::new();
    scene.write();
    let snapshot = scene.count();
    scene.write();
    let usurper = Passed { is_master: true, count: Some(snapshot), open: None, by: A };
    assert_eq!(scene.session.passed(&scene.session.requirement(), usurper, false), Step::Wait, "not the set's master");
    assert_eq!(scene.read(true, Some(snapshot)), Step::Tell(Loss::Lost));
    assert_eq!((scene.read(true, Some(snapshot)), scene.read(false, Some(snapshot))), (Step::Accept, Step::Wait));
    assert_eq!(scene.write_at(snapshot, None), None);
    assert_eq!((scene.read(false, Some(scene.count())), scene.session.token().loss), (Step::Accept, None));
    assert_eq!(scene.read(false, Some(snapshot)), Step::Wait, "one that is as old may be on the lost branch");
}

#[test]
fn an_evicted_fence_is_not_proven_and_never_nothing_to_prove() {
    let mut scene = Scene::new();
    scene.write();
    let before = scene.count();
    // Evicted, then a write: it begins the counter anew.
    assert_eq!(scene.write_at(0, None), Some(Loss::Unproven));
    assert_eq!(scene.session.take_loss(), Some(Loss::Unproven));
    assert_eq!(
        (scene.read(true, Some(scene.count())), scene.read(false, Some(scene.count()))),
        (Step::Accept, Step::Wait)
    );
    scene.settle();
    assert_eq!(scene.read(false, Some(before)), Step::Wait, "it lacks the new write");
    assert_eq!(scene.read(false, Some(scene.count())), Step::Accept);
    // Evicted, then a read: only the master serves until there is another fence.
    assert_eq!((scene.read(false, None), scene.read(true, None)), (Step::Wait, Step::Tell(Loss::Unproven)));
    assert!(scene.session.requirement().needs_master && scene.read(false, None) == Step::Wait);
    assert_eq!(scene.read(true, None), Step::Accept);
    assert!(scene.session.requirement().needs_master, "the master's word is no fence");
    scene.write_at(0, None);
    assert_eq!((scene.session.requirement().needs_master, scene.session.take_loss()), (false, None));
    assert_eq!(scene.read(false, Some(scene.count())), Step::Accept);
}

#[test]
fn a_doubt_ends_with_a_fence_that_was_raised_after_it() {
    let mut scene = Scene::new();
    scene.write();
    let before = scene.count();
    let (early, early_raise) = scene.begin();
    let (_, lost) = scene.begin();
    scene.session.lose(lost);
    scene.session.cancel(lost);
    assert_eq!((scene.read(false, Some(before)), scene.read(true, Some(before))), (Step::Wait, Step::Accept));
    assert!(scene.session.requirement().needs_master, "one read does not settle it");
    scene.answer(&early, early_raise, before, None, A);
    assert!(scene.session.requirement().needs_master, "that write began before");
    let name = scene.session.wants_fence(scene.now).unwrap();
    assert_eq!((name, scene.session.wants_fence(scene.now)), (lost.name, None), "not again at once");
    assert!(scene.session.wants_fence(scene.now + SETTLED_AFTER).is_some());
    // It was executed after all, before the next one.
    let stood = scene.count() + lost.amount;
    assert_eq!(scene.write_at(stood, None), None);
    assert_eq!(
        (scene.session.requirement().needs_master, scene.read(false, Some(scene.count()))),
        (false, Step::Accept)
    );
    assert_eq!(scene.read(false, Some(scene.count() - lost.amount)), Step::Wait);
}

#[test]
fn a_write_in_doubt_that_was_seen_is_seen_again() {
    let mut scene = Scene::new();
    scene.write();
    let before = scene.count();
    let (_, lost) = scene.begin();
    scene.session.lose(lost);
    assert_eq!(scene.read(true, Some(before + lost.amount)), Step::Accept, "6");
    scene.write_at(before + lost.amount, None);
    assert_eq!(scene.read(false, Some(before)), Step::Wait, "not 5 again");
    // The same where it was the first one.
    let mut scene = Scene::new();
    let (_, first) = scene.begin();
    scene.session.lose(first);
    assert_eq!(scene.read(true, None), Step::Accept);
    assert_eq!(scene.read(true, Some(first.amount)), Step::Accept);
    assert_eq!(scene.read(true, None), Step::Tell(Loss::Unproven));
}

#[test]
fn what_another_master_executed_is_noticed() {
    let mut scene = Scene::new();
    scene.write();
    let known = scene.count();
    scene.write();
    let (requirement, raise) = scene.begin();
    // Meant for one master, executed by another that lacks the last write.
    assert_eq!(scene.answer(&requirement, raise, known, None, B), Some(Loss::Lost));
    assert_eq!(scene.session.take_loss(), Some(Loss::Lost));
    scene.settle();
    assert_eq!(scene.read(false, Some(scene.count())), Step::Accept);
    let (requirement, raise) = scene.begin();
    let stood = scene.count();
    assert_eq!(scene.answer(&requirement, raise, stood, None, A), None, "one that has everything is as good");
}

#[test]
fn a_write_without_a_fence_leaves_it_to_its_master() {
    let mut scene = Scene::new();
    scene.write();
    let known = scene.count();
    scene.session.wrote_unfenced(A);
    assert_eq!((scene.read(false, Some(known)), scene.read(true, Some(known))), (Step::Wait, Step::Accept));
    scene.write_at(known, None);
    assert_eq!((scene.read(false, Some(scene.count())), scene.session.take_loss()), (Step::Accept, None));
    // Another master takes over: nobody can tell whether it has that write.
    scene.session.wrote_unfenced(A);
    let (requirement, stood) = (scene.session.requirement(), scene.count());
    let passed = Passed { is_master: true, count: Some(stood), open: None, by: B };
    assert_eq!(scene.session.passed(&requirement, passed, false), Step::Wait);
    assert_eq!(scene.session.passed(&requirement, passed, true), Step::Tell(Loss::Unproven));
    scene.settle();
    scene.session.wrote_unfenced(A);
    let stood = scene.count();
    let (requirement, raise) = scene.begin();
    assert_eq!(scene.answer(&requirement, raise, stood, None, B), Some(Loss::Unproven));
}

#[test]
fn writes_of_several_threads_are_told_apart_in_any_order() {
    let mut scene = Scene::new();
    scene.write();
    let base = scene.count();
    let old = scene.session.requirement();
    let (first, one) = scene.begin();
    let (second, two) = scene.begin();
    // Executed: two, one. Read in between; answered: one, two.
    assert_eq!(scene.read(false, Some(base + two.amount)), Step::Accept);
    assert_eq!(scene.read(false, Some(base)), Step::Wait, "the other one was seen");
    assert_eq!(scene.answer(&first, one, base + two.amount, None, A), None);
    assert_eq!(scene.answer(&second, two, base, None, A), None);
    let top = base + one.amount + two.amount;
    assert_eq!((scene.count(), scene.read(true, Some(top))), (top, Step::Accept));
    let passed = |count| Passed { is_master: true, count: Some(count), open: None, by: A };
    assert_eq!(scene.session.passed(&old, passed(base), true), Step::Accept, "an answer to a read that began early");
    assert_eq!(scene.session.passed(&old, passed(base + two.amount), true), Step::Accept);
    assert_eq!(scene.session.passed(&old, passed(base + one.amount), true), Step::Wait, "late, and no loss");
    assert_eq!((scene.count(), scene.session.take_loss()), (top, None));
    let begun = (0..20).filter(|_| scene.begin_if_room().is_some()).count();
    assert_eq!(begun, 16);
    assert!(scene.begin_if_room().is_none(), "too many at a time go without a fence");
}

impl Scene {
    fn begin_if_room(&mut self) -> Option<Raise> {
        self.names += 1;
        self.session.raise(self.now, self.names, self.names.wrapping_mul(0x9e37_79b9_7f4a_7c15), Kind::Whole)
    }
}

#[test]
fn a_token_keeps_its_value_and_a_resumed_session_takes_a_fence_of_its_own() {
    let mut scene = Scene::new();
    scene.write();
    let (name, count) = (scene.session.requirement().seen.fence().unwrap().name, scene.count());
    let token: Token = scene.session.token().to_string().parse().unwrap();
    assert_eq!(token.seen, Seen::Fence(Fence { name, count }));
    // Both go on, each behind a fence of its own.
    let mut there = Scene::of(Session::resume(&token, SessionMode::Fence));
    assert_eq!((there.read(false, Some(count)), there.read(false, Some(count + 1))), (Step::Accept, Step::Wait));
    there.names = 500;
    for scene in [&mut scene, &mut there] {
        let (requirement, raise) = scene.begin();
        assert_eq!((raise.name == name, raise.before), (false, Some(Fence { name, count })));
        assert_eq!(scene.answer(&requirement, raise, 0, Some(count), A), None);
        assert_eq!((scene.count(), scene.session.take_loss()), (raise.amount, None));
    }
    for (before, loss) in [(Some(count - 1), Loss::Lost), (Some(count + 1), Loss::Unproven), (None, Loss::Unproven)] {
        let mut there = Scene::of(Session::resume(&token, SessionMode::Fence));
        there.names = 900;
        assert_eq!(there.write_at(0, before), Some(loss), "{before:?}");
        let there = Scene::of(Session::resume(&token, SessionMode::Fence));
        assert_eq!(there.read(true, before), Step::Tell(loss), "{before:?}");
        assert_eq!(there.read(true, before), Step::Accept, "told once");
    }
}

#[test]
fn a_fence_is_renewed_before_it_expires() {
    let mut scene = Scene::new();
    assert_eq!(scene.session.wants_fence(scene.now), None);
    scene.write();
    let old = scene.session.requirement().seen.fence().unwrap();
    assert_eq!(scene.session.wants_fence(scene.now), None);
    let there = Session::resume(&scene.session.token(), SessionMode::Fence);
    assert_eq!(there.wants_fence(scene.now), None);
    assert_eq!(there.wants_fence(scene.now + RESUMED_FOR), Some(old.name));
    scene.now += FENCE_LIVES / 2;
    assert_eq!(scene.session.wants_fence(scene.now), Some(old.name));
    assert_eq!(scene.session.wants_fence(scene.now), None, "not again at once");
    scene.write();
    let new = scene.session.requirement().seen.fence().unwrap();
    assert!(new.name != old.name && scene.session.wants_fence(scene.now).is_none());
}

#[test]
fn tokens_of_the_other_mode_keep_their_demand() {
    let strict = Token { seen: Seen::At(at(1, 10)), ..Token::default() };
    let session = Session::resume(&strict, SessionMode::Fence);
    assert_eq!((session.mode(), session.token()), (SessionMode::Strict, strict));
    let fence = Token { seen: Seen::Fence(Fence { name: 1, count: 5 }), ..Token::default() };
    let session = Session::resume(&fence, SessionMode::Strict);
    assert_eq!((session.mode(), session.token()), (SessionMode::Fence, fence));
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let merged = Session::resume(&strict.merge(fence), mode);
        assert!(merged.mode() == mode && merged.requirement().needs_master);
    }
    let merged = Session::resume(&strict.merge(fence), SessionMode::Fence);
    let passed = Passed { is_master: true, count: None, open: None, by: A };
    assert_eq!(merged.passed(&merged.requirement(), passed, true), Step::Accept);
    assert!(merged.requirement().needs_master, "one read does not settle it");
}

#[test]
fn a_scan_goes_on_where_it_began() {
    let mut scene = Scene::new();
    scene.write();
    let began_at = scene.session.requirement().seen;
    let count = scene.count();
    scene.write();
    let mut requirement = scene.session.requirement();
    let passed = Passed { is_master: false, count: Some(count), open: None, by: A };
    assert_eq!(scene.session.passed(&requirement, passed, false), Step::Wait);
    requirement.begin_at(&scene.session, began_at);
    assert_eq!(scene.session.passed(&requirement, passed, false), Step::Accept);
    let mut requirement = scene.session.requirement();
    requirement.begin_at(&scene.session, Seen::Fence(Fence { name: 1, count: 1 }));
    assert_eq!(scene.session.passed(&requirement, passed, false), Step::Wait, "another fence says nothing");
}
