//! What fences prove, step by step.

use std::time::Instant;

use super::{DOUBT_RETRY, RESUMED_TTL};
use crate::replication::examples::at;
use crate::session::state::{Acceptance, FENCE_TTL, FenceReading, Raise, RaiseReply, Requirement, Session, WriteKind};
use crate::session::token::{Fence, Loss, Watermark};
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
        (requirement, self.session.raise(self.now, self.names, dice, WriteKind::Atomic).unwrap())
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
        let raised = RaiseReply { count: stood + raise.amount, before, by };
        let lost = self.session.record_raise(requirement, raise, raised, self.now);
        // As a call ends.
        self.session.cancel(raise);
        lost
    }

    /// A write on a node that has everything.
    pub(in crate::session::state) fn write(&mut self) {
        let seen = self.session.requirement().watermark.fence();
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
        self.session.requirement().watermark.fence().unwrap().count
    }

    pub(in crate::session::state) fn read(&self, is_master: bool, count: Option<u64>) -> Acceptance {
        self.session.verify_read(
            &self.session.requirement(),
            FenceReading { is_master, count, second: None, by: A },
            true,
        )
    }
}

#[test]
fn a_node_needs_the_value_that_the_session_saw() {
    let mut scene = Scene::new();
    scene.write();
    let first = scene.count();
    scene.write();
    let second = scene.count();
    assert_eq!(scene.read(false, Some(second)), Acceptance::Accept);
    for count in [Some(first), Some(second + 1), Some(0), None] {
        assert_eq!(scene.read(false, count), Acceptance::NotProven, "{count:?}");
    }
    assert_eq!(scene.read(true, Some(second)), Acceptance::Accept);
}

#[test]
fn a_value_never_comes_again() {
    let mut scene = Scene::new();
    scene.write();
    let snapshot = scene.count();
    scene.write();
    let lost = scene.count();
    // The master starts again from the snapshot, and takes as many writes as it lost.
    assert_eq!(scene.write_at(snapshot, None), Some(Loss::Lost));
    assert_ne!(scene.count(), lost);
    assert_eq!(
        scene.read(false, Some(lost)),
        Acceptance::NotProven,
        "one that still has the lost write has not the new one"
    );
    assert_eq!(scene.session.take_loss(), Some(Loss::Lost));
    scene.settle();
    assert_eq!(scene.read(false, Some(scene.count())), Acceptance::Accept);
}

#[test]
fn a_read_finds_a_loss_too() {
    let mut scene = Scene::new();
    scene.write();
    let snapshot = scene.count();
    scene.write();
    let usurper = FenceReading { is_master: true, count: Some(snapshot), second: None, by: A };
    assert_eq!(
        scene.session.verify_read(&scene.session.requirement(), usurper, false),
        Acceptance::NotProven,
        "not the set's master"
    );
    assert_eq!(scene.read(true, Some(snapshot)), Acceptance::Report(Loss::Lost));
    assert_eq!(
        (scene.read(true, Some(snapshot)), scene.read(false, Some(snapshot))),
        (Acceptance::Accept, Acceptance::NotProven)
    );
    assert_eq!(scene.write_at(snapshot, None), None);
    assert_eq!((scene.read(false, Some(scene.count())), scene.session.token().loss), (Acceptance::Accept, None));
    assert_eq!(
        scene.read(false, Some(snapshot)),
        Acceptance::NotProven,
        "one that is as old may be on the lost branch"
    );
}

#[test]
fn an_evicted_fence_is_unproven() {
    let mut scene = Scene::new();
    scene.write();
    let before = scene.count();
    // Evicted, then a write: it begins the counter anew.
    assert_eq!(scene.write_at(0, None), Some(Loss::Unproven));
    assert_eq!(scene.session.take_loss(), Some(Loss::Unproven));
    assert_eq!(
        (scene.read(true, Some(scene.count())), scene.read(false, Some(scene.count()))),
        (Acceptance::Accept, Acceptance::NotProven)
    );
    scene.settle();
    assert_eq!(scene.read(false, Some(before)), Acceptance::NotProven, "it lacks the new write");
    assert_eq!(scene.read(false, Some(scene.count())), Acceptance::Accept);
    // Evicted, then a read: only the master serves until there is another fence.
    assert_eq!(
        (scene.read(false, None), scene.read(true, None)),
        (Acceptance::NotProven, Acceptance::Report(Loss::Unproven))
    );
    assert!(scene.session.requirement().needs_master && scene.read(false, None) == Acceptance::NotProven);
    assert_eq!(scene.read(true, None), Acceptance::Accept);
    assert!(scene.session.requirement().needs_master, "a read from the master raises no fence");
    scene.write_at(0, None);
    assert_eq!((scene.session.requirement().needs_master, scene.session.take_loss()), (false, None));
    assert_eq!(scene.read(false, Some(scene.count())), Acceptance::Accept);
}

#[test]
fn a_doubt_ends_with_a_fence_that_was_raised_after_it() {
    let mut scene = Scene::new();
    scene.write();
    let before = scene.count();
    let (early, early_raise) = scene.begin();
    let (_, lost) = scene.begin();
    scene.session.record_lost_reply(lost);
    scene.session.cancel(lost);
    assert_eq!(
        (scene.read(false, Some(before)), scene.read(true, Some(before))),
        (Acceptance::NotProven, Acceptance::Accept)
    );
    assert!(scene.session.requirement().needs_master, "one read does not settle it");
    scene.answer(&early, early_raise, before, None, A);
    assert!(scene.session.requirement().needs_master, "that write began before");
    let name = scene.session.due_renewal(scene.now).unwrap();
    assert_eq!((name, scene.session.due_renewal(scene.now)), (lost.name, None), "not again at once");
    assert!(scene.session.due_renewal(scene.now + DOUBT_RETRY).is_some());
    // It was executed after all, before the next one.
    let stood = scene.count() + lost.amount;
    assert_eq!(scene.write_at(stood, None), None);
    assert_eq!(
        (scene.session.requirement().needs_master, scene.read(false, Some(scene.count()))),
        (false, Acceptance::Accept)
    );
    assert_eq!(scene.read(false, Some(scene.count() - lost.amount)), Acceptance::NotProven);
}

#[test]
fn a_write_in_doubt_that_was_seen_is_seen_again() {
    let mut scene = Scene::new();
    scene.write();
    let before = scene.count();
    let (_, lost) = scene.begin();
    scene.session.record_lost_reply(lost);
    assert_eq!(scene.read(true, Some(before + lost.amount)), Acceptance::Accept, "6");
    scene.write_at(before + lost.amount, None);
    assert_eq!(scene.read(false, Some(before)), Acceptance::NotProven, "not 5 again");
    // The same where it was the first one.
    let mut scene = Scene::new();
    let (_, first) = scene.begin();
    scene.session.record_lost_reply(first);
    assert_eq!(scene.read(true, None), Acceptance::Accept);
    assert_eq!(scene.read(true, Some(first.amount)), Acceptance::Accept);
    assert_eq!(scene.read(true, None), Acceptance::Report(Loss::Unproven));
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
    assert_eq!(scene.read(false, Some(scene.count())), Acceptance::Accept);
    let (requirement, raise) = scene.begin();
    let stood = scene.count();
    assert_eq!(scene.answer(&requirement, raise, stood, None, A), None, "one that has everything is as good");
}

#[test]
fn after_a_write_without_a_fence_only_its_master_serves() {
    let mut scene = Scene::new();
    scene.write();
    let known = scene.count();
    scene.session.record_unfenced_write(A);
    assert_eq!(
        (scene.read(false, Some(known)), scene.read(true, Some(known))),
        (Acceptance::NotProven, Acceptance::Accept)
    );
    scene.write_at(known, None);
    assert_eq!((scene.read(false, Some(scene.count())), scene.session.take_loss()), (Acceptance::Accept, None));
    // Another master takes over: it is not known whether it has that write.
    scene.session.record_unfenced_write(A);
    let (requirement, stood) = (scene.session.requirement(), scene.count());
    let reading = FenceReading { is_master: true, count: Some(stood), second: None, by: B };
    assert_eq!(scene.session.verify_read(&requirement, reading, false), Acceptance::NotProven);
    assert_eq!(scene.session.verify_read(&requirement, reading, true), Acceptance::Report(Loss::Unproven));
    scene.settle();
    scene.session.record_unfenced_write(A);
    let stood = scene.count();
    let (requirement, raise) = scene.begin();
    assert_eq!(scene.answer(&requirement, raise, stood, None, B), Some(Loss::Unproven));
}

#[test]
fn replies_of_several_threads_may_come_in_any_order() {
    let mut scene = Scene::new();
    scene.write();
    let base = scene.count();
    let old = scene.session.requirement();
    let (first, one) = scene.begin();
    let (second, two) = scene.begin();
    // Executed: two, one. Read in between; answered: one, two.
    assert_eq!(scene.read(false, Some(base + two.amount)), Acceptance::Accept);
    assert_eq!(scene.read(false, Some(base)), Acceptance::NotProven, "the other one was seen");
    assert_eq!(scene.answer(&first, one, base + two.amount, None, A), None);
    assert_eq!(scene.answer(&second, two, base, None, A), None);
    let top = base + one.amount + two.amount;
    assert_eq!((scene.count(), scene.read(true, Some(top))), (top, Acceptance::Accept));
    let reading = |count| FenceReading { is_master: true, count: Some(count), second: None, by: A };
    assert_eq!(
        scene.session.verify_read(&old, reading(base), true),
        Acceptance::Accept,
        "an answer to a read that began early"
    );
    assert_eq!(scene.session.verify_read(&old, reading(base + two.amount), true), Acceptance::Accept);
    assert_eq!(
        scene.session.verify_read(&old, reading(base + one.amount), true),
        Acceptance::NotProven,
        "late, and no loss"
    );
    assert_eq!((scene.count(), scene.session.take_loss()), (top, None));
    let begun = (0..20).filter(|_| scene.begin_if_room().is_some()).count();
    assert_eq!(begun, 16);
    assert!(scene.begin_if_room().is_none(), "too many at a time go without a fence");
}

impl Scene {
    fn begin_if_room(&mut self) -> Option<Raise> {
        self.names += 1;
        self.session.raise(self.now, self.names, self.names.wrapping_mul(0x9e37_79b9_7f4a_7c15), WriteKind::Atomic)
    }
}

#[test]
fn a_token_keeps_its_value_and_a_resumed_session_takes_a_fence_of_its_own() {
    let mut scene = Scene::new();
    scene.write();
    let (name, count) = (scene.session.requirement().watermark.fence().unwrap().name, scene.count());
    let token: Token = scene.session.token().to_string().parse().unwrap();
    assert_eq!(token.watermark, Watermark::Fence(Fence { name, count }));
    // Both continue, each with a fence of its own.
    let mut there = Scene::of(Session::resume(&token, SessionMode::Fence));
    assert_eq!(
        (there.read(false, Some(count)), there.read(false, Some(count + 1))),
        (Acceptance::Accept, Acceptance::NotProven)
    );
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
        assert_eq!(there.read(true, before), Acceptance::Report(loss), "{before:?}");
        assert_eq!(there.read(true, before), Acceptance::Accept, "reported once");
    }
}

#[test]
fn a_fence_is_renewed_before_it_expires() {
    let mut scene = Scene::new();
    assert_eq!(scene.session.due_renewal(scene.now), None);
    scene.write();
    let old = scene.session.requirement().watermark.fence().unwrap();
    assert_eq!(scene.session.due_renewal(scene.now), None);
    let there = Session::resume(&scene.session.token(), SessionMode::Fence);
    assert_eq!(there.due_renewal(scene.now), None);
    assert_eq!(there.due_renewal(scene.now + RESUMED_TTL), Some(old.name));
    scene.now += FENCE_TTL / 2;
    assert_eq!(scene.session.due_renewal(scene.now), Some(old.name));
    assert_eq!(scene.session.due_renewal(scene.now), None, "not again at once");
    scene.write();
    let new = scene.session.requirement().watermark.fence().unwrap();
    assert!(new.name != old.name && scene.session.due_renewal(scene.now).is_none());
}

#[test]
fn tokens_of_the_other_mode_keep_their_requirement() {
    let strict = Token { watermark: Watermark::At(at(1, 10)), ..Token::default() };
    let session = Session::resume(&strict, SessionMode::Fence);
    assert_eq!((session.mode(), session.token()), (SessionMode::Strict, strict));
    let fence = Token { watermark: Watermark::Fence(Fence { name: 1, count: 5 }), ..Token::default() };
    let session = Session::resume(&fence, SessionMode::Strict);
    assert_eq!((session.mode(), session.token()), (SessionMode::Fence, fence));
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let merged = Session::resume(&strict.merge(fence), mode);
        assert!(merged.mode() == mode && merged.requirement().needs_master);
    }
    let merged = Session::resume(&strict.merge(fence), SessionMode::Fence);
    let reading = FenceReading { is_master: true, count: None, second: None, by: A };
    assert_eq!(merged.verify_read(&merged.requirement(), reading, true), Acceptance::Accept);
    assert!(merged.requirement().needs_master, "one read does not settle it");
}

#[test]
fn a_scan_requires_what_it_required_when_it_began() {
    let mut scene = Scene::new();
    scene.write();
    let began_at = scene.session.requirement().watermark;
    let count = scene.count();
    scene.write();
    let mut requirement = scene.session.requirement();
    let reading = FenceReading { is_master: false, count: Some(count), second: None, by: A };
    assert_eq!(scene.session.verify_read(&requirement, reading, false), Acceptance::NotProven);
    requirement.begin_at(&scene.session, began_at);
    assert_eq!(scene.session.verify_read(&requirement, reading, false), Acceptance::Accept);
    let mut requirement = scene.session.requirement();
    requirement.begin_at(&scene.session, Watermark::Fence(Fence { name: 1, count: 1 }));
    assert_eq!(
        scene.session.verify_read(&requirement, reading, false),
        Acceptance::NotProven,
        "another fence says nothing"
    );
}
