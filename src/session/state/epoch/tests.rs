//! The values of one counter.

use super::{BASE, Before, Epoch, Kind, REMEMBERED, UNDER_WAY};

#[test]
fn answers_in_any_order_lead_to_the_same_value() {
    let mut epoch = Epoch::new(7);
    let (a, b, c) = (epoch.begin(1, Kind::Whole), epoch.begin(2, Kind::Whole), epoch.begin(3, Kind::Whole));
    assert!(a > BASE && b < BASE);
    // The server executes b, a, c; the replies come as c, b, a.
    assert_eq!(epoch.answered(c, a + b + c), Before::All);
    assert_eq!((epoch.answered(b, b), epoch.answered(a, a + b)), (Before::All, Before::All));
    assert_eq!(epoch.top(), a + b + c);
    assert!(epoch.is_at_top(a + b + c) && !epoch.is_at_top(a + b) && !epoch.is_at_top(0));
}

#[test]
fn a_lost_write_is_part_of_the_value_once_it_is_executed() {
    let mut epoch = Epoch::new(7);
    let first = epoch.begin(1, Kind::Whole);
    epoch.answered(first, first);
    let lost = epoch.begin(2, Kind::Whole);
    epoch.lose(lost);
    epoch.cancel(lost);
    assert!(epoch.is_at_top(first) && epoch.is_at_top(first + lost));
    epoch.learn(first + lost);
    assert!(!epoch.is_at_top(first) && epoch.had(first) && epoch.top() == first + lost);
    let refused = epoch.begin(3, Kind::Whole);
    epoch.cancel(refused);
    assert!(!epoch.is_at_top(first + lost + refused), "it was not executed");
}

#[test]
fn another_past_is_told_however_many_writes_follow() {
    let mut epoch = Epoch::new(7);
    let [a, b, c, d] = [1, 2, 3, 4].map(|dice| epoch.begin(dice, Kind::Whole));
    epoch.answered(a, a);
    epoch.answered(b, a + b);
    // The server starts again where only `a` was.
    assert_eq!(epoch.clone().answered(c, a + c), Before::Other(a));
    assert!(epoch.proves_loss(a));
    let mut after_two = epoch.clone();
    assert_eq!(after_two.answered(d, a + c + d), Before::Other(a + c), "as many as before, but others");
    // It was evicted.
    assert!(!epoch.proves_loss(c));
    assert_eq!(epoch.answered(c, c), Before::Other(0));
    assert!(epoch.is_at_top(c) && epoch.is_at_top(c + d) && !epoch.is_at_top(a + b));
}

#[test]
fn nothing_is_lost_with_a_write_that_only_raised_the_counter() {
    let mut epoch = Epoch::new(7);
    let (write, touch) = (epoch.begin(1, Kind::Whole), epoch.begin(2, Kind::Touch));
    epoch.answered(write, write);
    epoch.answered(touch, write + touch);
    assert!(epoch.keeps_all(write) && !epoch.keeps_all(0));
    let next = epoch.begin(3, Kind::Split);
    epoch.answered(next, write + touch + next);
    assert!(!epoch.keeps_all(write + touch) && epoch.keeps_all(write + touch + next));
}

#[test]
fn nothing_grows_without_end() {
    let mut epoch = Epoch::new(7);
    let mut value = 0;
    for dice in 0..200 {
        let amount = epoch.begin(dice, Kind::Whole);
        value += amount;
        epoch.answered(amount, value);
    }
    assert!(epoch.chain.len() == REMEMBERED && epoch.had(value) && !epoch.is_over());
    let amounts: Vec<u64> =
        (0..UNDER_WAY as u64).map(|dice| epoch.begin(dice * 0x9e37_79b9_7f4a, Kind::Whole)).collect();
    assert!(epoch.is_full() && epoch.is_at_top(value + amounts.iter().sum::<u64>()));
    assert!(!epoch.is_at_top(value + amounts[0] + 1));
    amounts[..4].iter().for_each(|amount| epoch.lose(*amount));
    assert!(epoch.is_over());
}

#[test]
fn who_goes_on_by_a_token_calls_nothing_lost_that_was_never_written() {
    let mut epoch = Epoch::new(7);
    let (first, second) = (epoch.begin(1, Kind::Touch), epoch.begin(2, Kind::Touch));
    epoch.answered(first, first);
    epoch.answered(second, first + second);
    let resumed = Epoch::resumed(7, epoch.top(), epoch.told());
    assert!(!resumed.proves_loss(first) && !resumed.proves_loss(0));
    assert!(epoch.keeps_all(first), "the first one stands for what was there before");
    let write = epoch.begin(3, Kind::Whole);
    epoch.answered(write, first + second + write);
    assert!(epoch.proves_loss(first + second));
}
