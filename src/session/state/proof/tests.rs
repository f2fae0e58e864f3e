//! Several writes at a time, while one fence takes the place of another.

use crate::session::state::fenced::tests::{A, Scene};
use crate::session::state::{Acceptance, FenceReading, WriteKind};
use crate::session::token::Loss;

#[test]
fn a_late_answer_behind_an_old_fence_does_not_lead_back() {
    let mut scene = Scene::new();
    scene.write();
    let old = scene.count();
    let (first, one) = scene.begin();
    let (second, two) = scene.begin();
    scene.session.token();
    let (third, next) = scene.begin();
    // The next fence was raised after the first of them. Of the second, nothing is known.
    scene.answer(&third, next, 0, Some(old + one.amount), A);
    assert_eq!((scene.session.take_loss(), scene.count()), (None, next.amount));
    assert_eq!(scene.answer(&first, one, old, None, A), None);
    assert_eq!(scene.answer(&second, two, old + one.amount, None, A), None);
    // Both have to be proven now, until a write has made sure of it.
    let stood = old + one.amount + two.amount;
    let read = |scene: &Scene, count, second, is_master| {
        let reading = FenceReading { is_master, count: Some(count), second, by: A };
        scene.session.verify_read(&scene.session.requirement(), reading, is_master)
    };
    assert_eq!(read(&scene, next.amount, Some(old + one.amount), false), Acceptance::NotProven);
    assert_eq!(read(&scene, next.amount, Some(stood), false), Acceptance::Accept);
    let token = scene.session.token();
    assert!(token.in_doubt && token.loss == Some(Loss::Unproven), "a token has room for one");
    let (requirement, raise) = scene.begin();
    assert_eq!(raise.before.map(|before| before.count), Some(next.amount));
    scene.answer(&requirement, raise, 0, raise.before.map(|before| before.count), A);
    let (requirement, raise) = scene.begin();
    assert_eq!(raise.before.map(|before| before.count), Some(stood));
    let count = scene.count();
    scene.answer(&requirement, raise, count, Some(stood), A);
    assert_eq!(read(&scene, count + raise.amount, None, false), Acceptance::Accept);
}

#[test]
fn a_loss_of_the_second_fence_is_reported() {
    let mut scene = Scene::new();
    scene.write();
    let old = scene.count();
    let (first, one) = scene.begin();
    scene.session.token();
    let (second, next) = scene.begin();
    scene.answer(&second, next, 0, Some(old), A);
    scene.answer(&first, one, old, None, A);
    let reading = |second| FenceReading { is_master: true, count: Some(next.amount), second, by: A };
    let requirement = scene.session.requirement();
    assert_eq!(scene.session.verify_read(&requirement, reading(Some(old + one.amount)), true), Acceptance::Accept);
    assert_eq!(
        scene.session.verify_read(&requirement, reading(Some(old)), false),
        Acceptance::NotProven,
        "it may be none"
    );
    assert_eq!(scene.session.verify_read(&requirement, reading(Some(old)), true), Acceptance::Report(Loss::Lost));
    assert!(scene.session.requirement().needs_master && scene.session.requirement().second.is_none());
}

#[test]
fn while_a_pipeline_is_under_way_only_the_master_has_what_was_read_of_it() {
    let mut scene = Scene::new();
    scene.write();
    let count = scene.count();
    let requirement = scene.session.requirement();
    let raise = scene.session.raise(scene.now, 1, 5, WriteKind::Stepwise).unwrap();
    assert_eq!(
        (scene.read(false, Some(count)), scene.read(true, Some(count))),
        (Acceptance::NotProven, Acceptance::Accept)
    );
    scene.answer(&requirement, raise, count, None, A);
    assert_eq!(scene.read(false, Some(count + raise.amount)), Acceptance::Accept);
}

#[test]
fn while_the_next_fence_is_being_raised_only_the_master_has_what_was_read_behind_it() {
    let mut scene = Scene::new();
    scene.write();
    let count = scene.count();
    scene.session.token();
    let (requirement, raise) = scene.begin();
    assert_eq!(
        (scene.read(false, Some(count)), scene.read(true, Some(count))),
        (Acceptance::NotProven, Acceptance::Accept)
    );
    scene.answer(&requirement, raise, 0, Some(count), A);
    assert_eq!(scene.read(false, Some(raise.amount)), Acceptance::Accept);
}
