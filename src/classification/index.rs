//! Finds a row of the static table by name, in any case, in one or two words, without allocating.

use super::rule::Rule;
use super::table::{ROWS, Row};

/// A power of two, about three times the number of rows: most look-ups end at the first slot.
const SLOTS: usize = 2048;
const FREE: u16 = u16::MAX;

/// An open-addressing hash table over [`ROWS`], built by the compiler.
static INDEX: [u16; SLOTS] = build();

/// Finds the row of a command; of a container, the row of its subcommand.
pub(super) fn find(name: &[u8], second: Option<&[u8]>) -> Option<&'static Row> {
    let row = probe(hash(START, name), |row| row.eq_ignore_ascii_case(name))?;
    match (row.rule, second) {
        (Rule::Container, Some(second)) => {
            let both = |row: &[u8]| {
                let (head, tail) = row.split_at_checked(name.len())?;
                let tail = tail.strip_prefix(b" ")?;
                Some(head.eq_ignore_ascii_case(name) && tail.eq_ignore_ascii_case(second))
            };
            probe(hash(hash(hash(START, name), b" "), second), |row| both(row).unwrap_or(false))
        }
        // A subcommand sent as one word, "OBJECT ENCODING", is no command.
        _ => (!row.name.contains(' ')).then_some(row),
    }
}

fn probe(hash: u32, matches: impl Fn(&[u8]) -> bool) -> Option<&'static Row> {
    let mut slot = hash as usize % SLOTS;
    // Ends: more than half of the slots are free.
    while INDEX[slot] != FREE {
        let row = &ROWS[usize::from(INDEX[slot])];
        if matches(row.name.as_bytes()) {
            return Some(row);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// FNV-1a over the upper-case letters.
const START: u32 = 0x811c_9dc5;

const fn hash(mut hash: u32, word: &[u8]) -> u32 {
    let mut at = 0;
    while at < word.len() {
        hash = (hash ^ word[at].to_ascii_uppercase() as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

const fn build() -> [u16; SLOTS] {
    assert!(ROWS.len() * 2 < SLOTS);
    let mut index = [FREE; SLOTS];
    let mut row = 0;
    while row < ROWS.len() {
        let mut slot = hash(START, ROWS[row].name.as_bytes()) as usize % SLOTS;
        while index[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = row as u16;
        row += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::{ROWS, find};

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
    fn rows_are_sorted_and_in_upper_case() {
        assert!(ROWS.is_sorted_by(|a, b| a.name < b.name));
        assert!(ROWS.iter().all(|row| !row.name.bytes().any(|byte| byte.is_ascii_lowercase())));
    }
}
