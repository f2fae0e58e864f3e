//! Values that name their key: whoever gets another one's reply, or a part of one, sees it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A write in doubt is applied within this time, or not at all: the longest stop of a server is much shorter.
const SETTLED: Duration = Duration::from_secs(120);

/// A key that one thread sets to numbered values, and all threads read.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) key: String,
    /// The number of the last value that was sent.
    sent: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last one that is known to have been applied.
    applied: u64,
    /// Those that may be applied late, behind younger ones: their caller did not wait for the reply.
    in_doubt: Vec<(u64, Instant)>,
}

impl Word {
    pub(super) fn new(key: String) -> Self {
        Self { key, sent: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Makes the next value, of this length if it has room for its head.
    pub(super) fn next(&self, length: usize, value: &mut Vec<u8>) -> u64 {
        let number = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
        value.clear();
        // The length is part of the head, and counts it.
        let head = |length: usize| format!("{} {number} {length} ", self.key);
        let length = length.max(head(length).len() + 1);
        value.extend(head(length).as_bytes());
        value.resize(length, filler(number));
        number
    }

    /// Records that a value was applied.
    pub(super) fn applied(&self, number: u64) {
        let mut state = self.state.lock().unwrap();
        state.applied = number;
        let now = Instant::now();
        state.in_doubt.retain(|(_, since)| now - *since < SETTLED);
    }

    /// Records that a value may be applied, now or later.
    pub(super) fn in_doubt(&self, number: u64) {
        self.state.lock().unwrap().in_doubt.push((number, Instant::now()));
    }

    /// Checks what anybody read.
    pub(super) fn check(&self, value: Option<&[u8]>) -> Result<u64, String> {
        let Some(value) = value else { return Ok(0) };
        let shown = || String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
        let number = self.number(value).ok_or_else(|| format!("{} is {:?} …", self.key, shown()))?;
        let sent = self.sent.load(Ordering::SeqCst);
        if (1..=sent).contains(&number) {
            Ok(number)
        } else {
            Err(format!("{} is {:?} …, and {sent} was sent last", self.key, shown()))
        }
    }

    /// Checks what the thread that sets it read on the master, after its last call has ended.
    pub(super) fn check_present(&self, value: Option<&[u8]>) -> Result<(), String> {
        let number = self.check(value)?;
        let state = self.state.lock().unwrap();
        let is_late = || state.in_doubt.iter().any(|(late, _)| *late == number);
        if number >= state.applied || is_late() {
            return Ok(());
        }
        Err(format!("{} is {number} on the master, and {} was acknowledged", self.key, state.applied))
    }

    /// Returns the number of a value of this key that is whole.
    fn number(&self, value: &[u8]) -> Option<u64> {
        let mut parts = value.splitn(4, |byte| *byte == b' ');
        let key = parts.next()?;
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
        let (number, length) = (number()?, number()?);
        let rest = parts.next()?;
        let is_whole = value.len() as u64 == length && rest.iter().all(|byte| *byte == filler(number));
        (key == self.key.as_bytes() && is_whole).then_some(number)
    }
}

/// Returns the byte that fills a value.
fn filler(number: u64) -> u8 {
    b'a' + u8::try_from(number % 26).unwrap()
}
