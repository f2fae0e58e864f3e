//! Finds a row of the static table by name, in any case, in one or two words, without allocating.

use super::Classification;
use super::rule::{Key, Rule};
use super::table::{ROWS, Row};

/// A power of two, about three times the number of rows: most look-ups end at the first slot.
const SLOTS: usize = 2048;
const FREE: Row = Row { name: "", class: Classification::Write, key: Key::None, rule: Rule::Plain };

/// An open-addressing hash table of the [`ROWS`], built by the compiler. It holds the rows themselves: a look-up is part
/// of every call, and each memory line that it touches is a cold one after a round trip.
static INDEX: [Row; SLOTS] = build();

/// Finds the row of a command; of a container, the row of its subcommand.
#[inline]
pub(super) fn find(name: &[u8], second: Option<&[u8]>) -> Option<&'static Row> {
    let hashed = hash(START, name);
    let row = probe(hashed, |row| row.eq_ignore_ascii_case(name))?;
    match (row.rule, second) {
        (Rule::Container, Some(second)) => {
            let both = |row: &[u8]| {
                let (head, tail) = row.split_at_checked(name.len())?;
                let tail = tail.strip_prefix(b" ")?;
                Some(tail.eq_ignore_ascii_case(second) && head.eq_ignore_ascii_case(name))
            };
            probe(hash(hash(hashed, b" "), second), |row| both(row).unwrap_or(false))
        }
        // A subcommand sent as one word, "OBJECT ENCODING", is no command.
        _ => (!name.contains(&b' ')).then_some(row),
    }
}

#[inline]
fn probe(hash: u64, matches: impl Fn(&[u8]) -> bool) -> Option<&'static Row> {
    let mut slot = place(hash);
    // Ends: more than half of the slots are free.
    while !INDEX[slot].name.is_empty() {
        let row = &INDEX[slot];
        if matches(row.name.as_bytes()) {
            return Some(row);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

const START: u64 = 0;

/// Adds the letters of a word, whatever their case. Cheap per letter; [`place`] mixes once at the end.
const fn hash(mut hash: u64, word: &[u8]) -> u64 {
    let mut at = 0;
    while at < word.len() {
        // Without the bit that tells lower from upper case.
        hash = hash.rotate_left(5) ^ (word[at] & 0xdf) as u64;
        at += 1;
    }
    hash
}

/// The slot at which the search for a hash begins.
const fn place(hash: u64) -> usize {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOTS.trailing_zeros())) as usize
}

const fn build() -> [Row; SLOTS] {
    assert!(ROWS.len() * 2 < SLOTS);
    let mut index = [FREE; SLOTS];
    let mut row = 0;
    while row < ROWS.len() {
        let mut slot = place(hash(START, ROWS[row].name.as_bytes()));
        while !index[slot].name.is_empty() {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = ROWS[row];
        row += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::{INDEX, ROWS, SLOTS, START, find, hash, place};

    #[test]
    fn every_row_is_found_by_its_name() {
        for row in ROWS {
            let (name, second) =
                row.name.split_once(' ').map_or((row.name, None), |(name, second)| (name, Some(second)));
            let lower = name.to_ascii_lowercase();
            let found = find(lower.as_bytes(), second.map(str::as_bytes)).unwrap();
            assert_eq!(found.name, row.name);
        }
    }

    #[test]
    fn look_ups_are_short() {
        let steps = |name: &str| {
            let start = place(hash(START, name.as_bytes()));
            (0..SLOTS).position(|step| INDEX[(start + step) % SLOTS].name == name).unwrap()
        };
        let all: Vec<usize> = ROWS.iter().map(|row| steps(row.name)).collect();
        assert!(all.iter().sum::<usize>() < ROWS.len() / 2, "{}", all.iter().sum::<usize>());
        assert!(all.iter().all(|steps| *steps < 12), "{:?}", all.iter().max());
    }

    #[test]
    fn rows_are_sorted_and_in_upper_case() {
        assert!(ROWS.is_sorted_by(|a, b| a.name < b.name));
        assert!(ROWS.iter().all(|row| !row.name.bytes().any(|byte| byte.is_ascii_lowercase())));
    }
}
