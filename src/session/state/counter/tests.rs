//! The values of one counter.

use super::{BASE, Counter, Earlier, MAX_PENDING, MAX_VALUES, WriteKind};

#[test]
fn answers_in_any_order_lead_to_the_same_value() {
    let mut counter = Counter::new(7);
    let (a, b, c) =
        (counter.begin(1, WriteKind::Atomic), counter.begin(2, WriteKind::Atomic), counter.begin(3, WriteKind::Atomic));
    assert!(a > BASE && b < BASE);
    // The server executes b, a, c; the replies come as c, b, a.
    assert_eq!(counter.record_answer(c, a + b + c), Earlier::All);
    assert_eq!((counter.record_answer(b, b), counter.record_answer(a, a + b)), (Earlier::All, Earlier::All));
    assert_eq!(counter.last_value(), a + b + c);
    assert!(counter.contains_all_at(a + b + c) && !counter.contains_all_at(a + b) && !counter.contains_all_at(0));
}

#[test]
fn a_lost_write_is_part_of_the_value_once_it_is_executed() {
    let mut counter = Counter::new(7);
    let first = counter.begin(1, WriteKind::Atomic);
    counter.record_answer(first, first);
    let lost = counter.begin(2, WriteKind::Atomic);
    counter.record_lost_reply(lost);
    counter.cancel(lost);
    assert!(counter.contains_all_at(first) && counter.contains_all_at(first + lost));
    counter.observe(first + lost);
    assert!(!counter.contains_all_at(first) && counter.has_had(first) && counter.last_value() == first + lost);
    let refused = counter.begin(3, WriteKind::Atomic);
    counter.cancel(refused);
    assert!(!counter.contains_all_at(first + lost + refused), "it was not executed");
}

#[test]
fn another_history_is_noticed_after_any_number_of_writes() {
    let mut counter = Counter::new(7);
    let [a, b, c, d] = [1, 2, 3, 4].map(|dice| counter.begin(dice, WriteKind::Atomic));
    counter.record_answer(a, a);
    counter.record_answer(b, a + b);
    // The server starts again where only `a` was.
    assert_eq!(counter.clone().record_answer(c, a + c), Earlier::Other(a));
    assert!(counter.proves_loss(a));
    let mut after_two = counter.clone();
    assert_eq!(after_two.record_answer(d, a + c + d), Earlier::Other(a + c), "as many as before, but others");
    // It was evicted.
    assert!(!counter.proves_loss(c));
    assert_eq!(counter.record_answer(c, c), Earlier::Other(0));
    assert!(counter.contains_all_at(c) && counter.contains_all_at(c + d) && !counter.contains_all_at(a + b));
}

#[test]
fn the_loss_of_a_renewal_is_no_loss() {
    let mut counter = Counter::new(7);
    let (write, touch) = (counter.begin(1, WriteKind::Atomic), counter.begin(2, WriteKind::Renewal));
    counter.record_answer(write, write);
    counter.record_answer(touch, write + touch);
    assert!(counter.lacks_only_renewals(write) && !counter.lacks_only_renewals(0));
    let next = counter.begin(3, WriteKind::Stepwise);
    counter.record_answer(next, write + touch + next);
    assert!(!counter.lacks_only_renewals(write + touch) && counter.lacks_only_renewals(write + touch + next));
}

#[test]
fn nothing_grows_without_end() {
    let mut counter = Counter::new(7);
    let mut value = 0;
    for dice in 0..200 {
        let amount = counter.begin(dice, WriteKind::Atomic);
        value += amount;
        counter.record_answer(amount, value);
    }
    assert!(counter.values.len() == MAX_VALUES && counter.has_had(value) && !counter.is_closed());
    let amounts: Vec<u64> =
        (0..MAX_PENDING as u64).map(|dice| counter.begin(dice * 0x9e37_79b9_7f4a, WriteKind::Atomic)).collect();
    assert!(counter.is_full() && counter.contains_all_at(value + amounts.iter().sum::<u64>()));
    assert!(!counter.contains_all_at(value + amounts[0] + 1));
    amounts[..4].iter().for_each(|amount| counter.record_lost_reply(*amount));
    assert!(counter.is_closed());
}

#[test]
fn a_resumed_counter_reports_no_loss_of_renewals() {
    let mut counter = Counter::new(7);
    let (first, second) = (counter.begin(1, WriteKind::Renewal), counter.begin(2, WriteKind::Renewal));
    counter.record_answer(first, first);
    counter.record_answer(second, first + second);
    let resumed = Counter::resumed(7, counter.last_value(), counter.token_written());
    assert!(!resumed.proves_loss(first) && !resumed.proves_loss(0));
    assert!(counter.lacks_only_renewals(first), "the first one stands for what was there before");
    let write = counter.begin(3, WriteKind::Atomic);
    counter.record_answer(write, first + second + write);
    assert!(counter.proves_loss(first + second));
}
