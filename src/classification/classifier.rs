//! The classifier: looks commands up in the static table, in the overrides and among the names that servers corrected.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::arguments::{Frames, Key, Rule, Words};
use super::class::Classification;
use super::table::{GROUPS, Row};

/// Classifies commands by the static table and by overrides.
///
/// ```
/// use redis_replicated::{Classification, Classifier};
///
/// let classifier = Classifier::new();
/// assert_eq!(classifier.classify(redis::cmd("get").arg("k")), Classification::Read);
/// assert_eq!(classifier.classify(redis::cmd("OBJECT").arg("ENCODING").arg("k")), Classification::Read);
/// assert_eq!(classifier.classify(&redis::cmd("NO.SUCH.COMMAND")), Classification::Write);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Classifier {
    /// By the name in upper case, with or without a subcommand.
    overrides: HashMap<Box<[u8]>, Classification>,
    /// The commands that servers refused as writes.
    learned: Learned,
}

/// The longest name that can be overridden, both words and the space between them.
const LONGEST_NAME: usize = 64;

impl Classifier {
    /// Makes a classifier that knows the static table only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the class of `command`, in place of that in the table. A name of two words overrides one subcommand.
    ///
    /// Default: no overrides. Returns `None` if `command` is not one or two words of printable ASCII, of at most 64 bytes in
    /// all, or if `class` is [`Cursor`](Classification::Cursor) and the table does not know the position of the cursor.
    #[must_use]
    pub fn with_override(mut self, command: &str, class: Classification) -> Option<Self> {
        let words: Vec<&str> = command.split(' ').collect();
        let printable = words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()));
        if !printable || words.len() > 2 || command.len() > LONGEST_NAME {
            return None;
        }
        let name = command.to_ascii_uppercase().into_bytes();
        let scans = |row: &Row| matches!(row.rule, Rule::Scan(_) | Rule::Resume(_) | Rule::WithCursor);
        let (first, second) = (words[0].as_bytes(), words.get(1).map(|word| word.as_bytes()));
        if class == Classification::Cursor && !row_of(first, second).is_some_and(scans) {
            return None;
        }
        self.overrides.insert(name.into(), class);
        Some(self)
    }

    /// Returns the class of `cmd`. An empty command is a [`Write`](Classification::Write), like every unknown one.
    #[must_use]
    pub fn classify(&self, cmd: &redis::Cmd) -> Classification {
        let mut words = cmd.args_iter().map(|arg| match arg {
            redis::Arg::Simple(word) => word,
            // A cursor, whose value the redis crate hides. It does not decide the class.
            _ => b"0",
        });
        let Some(name) = words.next() else { return Classification::Write };
        let row = self.find(name, words.next());
        match row.rule {
            Rule::Eval | Rule::WithCursor => self.classify_packed(&cmd.get_packed_command()),
            _ => row.class,
        }
    }

    /// Returns the strictest class among the commands in `packed`.
    ///
    /// `packed` is one command or a pipeline in the wire format. Bytes that are not whole commands are a
    /// [`Write`](Classification::Write).
    #[must_use]
    pub fn classify_packed(&self, packed: &[u8]) -> Classification {
        let class = |words: Words<'_>| {
            let row = self.find(words.name(), words.second());
            row.rule.class(row.class, words)
        };
        Frames::new(packed)
            .map(|words| words.map_or(Classification::Write, class))
            .max()
            .unwrap_or(Classification::Write)
    }

    /// Returns the row of a command, as overrides and learned writes change it.
    #[inline]
    pub(super) fn find(&self, name: &[u8], second: Option<&[u8]>) -> Row {
        let mut row = row_of(name, second).copied().unwrap_or(UNKNOWN);
        if !self.overrides.is_empty()
            && let Some(class) = self.overridden(name, second)
        {
            if row.class == Classification::Connection {
                // Whatever it is declared, it changes its connection.
                row.rule = Rule::Unknown;
            }
            row.class = class;
            // The override decides, not the first line of the script.
            row.rule = if matches!(row.rule, Rule::Eval) { Rule::Partial } else { row.rule };
        }
        if !self.learned.is_empty() && self.learned.contains(name, second) {
            row.class = Classification::Write;
            // A script that declares that it does not write is still a read.
            row.rule = row_of(name, second).map_or(Rule::Unknown, |row| row.rule);
        }
        row
    }

    /// Records that servers refuse the command at this position of `packed` as a write. Returns its name if that is new.
    pub(crate) fn learn_write(&self, packed: &[u8], position: usize) -> Option<String> {
        let words = Frames::new(packed).nth(position)?.ok()?;
        let mut name = words.name().to_owned();
        if name.to_ascii_uppercase().ends_with(b"_RO") {
            // This script writes by mistake. Other scripts that the same command runs may be right.
            return None;
        }
        let is_one_word = self.overrides.contains_key(&name.to_ascii_uppercase()[..]);
        let is_container = row_of(words.name(), None).is_some_and(|row| matches!(row.rule, Rule::Container));
        if let Some(second) = words.second() {
            let both = [words.name(), b" ", second].concat();
            let is_declared = self.overrides.contains_key(&both.to_ascii_uppercase()[..]);
            if is_declared || (is_container && !is_one_word) {
                name = both;
            }
        }
        let is_new = name.len() <= LONGEST_NAME && self.learned.remember(&name);
        is_new.then(|| name.escape_ascii().to_string().to_ascii_uppercase())
    }

    /// Returns the declared class: that of both words before that of the first word.
    fn overridden(&self, name: &[u8], second: Option<&[u8]>) -> Option<Classification> {
        let mut buffer = [0_u8; LONGEST_NAME];
        let head = buffer.get_mut(..name.len())?;
        head.copy_from_slice(name);
        head.make_ascii_uppercase();
        let with_second = second.and_then(|second| {
            let end = name.len() + 1 + second.len();
            let tail = buffer.get_mut(name.len()..end)?;
            tail[0] = b' ';
            tail[1..].copy_from_slice(second);
            tail.make_ascii_uppercase();
            self.overrides.get(&buffer[..end])
        });
        with_second.or_else(|| self.overrides.get(&buffer[..name.len()])).copied()
    }
}

/// At most this many names are remembered. For further ones, each call is refused once.
const MOST: usize = 64;

/// Commands that servers refused as writes although they were declared reads: their names in upper case, with or without a
/// subcommand. Read without a lock.
#[derive(Debug, Default)]
struct Learned(OnceLock<Box<[Name]>>);

/// Set once; the names fill the slots from the first on.
type Name = OnceLock<Box<[u8]>>;

impl Learned {
    /// Remembers a name. Returns whether it is new.
    fn remember(&self, name: &[u8]) -> bool {
        let slots = self.0.get_or_init(|| (0..MOST).map(|_| Name::new()).collect());
        for slot in slots {
            let mut is_new = false;
            let known = slot.get_or_init(|| {
                is_new = true;
                name.to_ascii_uppercase().into()
            });
            if known.eq_ignore_ascii_case(name) {
                return is_new;
            }
        }
        false
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Returns whether the command, or this subcommand of it, is remembered.
    #[cold]
    fn contains(&self, name: &[u8], second: Option<&[u8]>) -> bool {
        let is_it = |known: &[u8]| match known.get(name.len()..).and_then(|rest| rest.split_first()) {
            Some((b' ', rest)) => {
                known[..name.len()].eq_ignore_ascii_case(name)
                    && second.is_some_and(|second| rest.eq_ignore_ascii_case(second))
            }
            _ => known.eq_ignore_ascii_case(name),
        };
        let slots = self.0.get().map_or(&[][..], |slots| slots);
        slots.iter().map_while(Name::get).any(|known| is_it(known))
    }
}

impl Clone for Learned {
    /// Makes an empty one: what the servers of one set refuse says nothing about another set.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A power of two, about three times the number of rows: most look-ups end at the first slot.
const SLOTS: usize = 2048;
/// A command that is not in the table, and a free slot.
const UNKNOWN: Row = Row { name: "", class: Classification::Write, key: Key::None, rule: Rule::Unknown };

/// An open-addressing hash table of the commands in [`GROUPS`], built by the compiler. It holds whole rows: every call looks a
/// command up, and each further memory line would be a cold one after a round trip.
static INDEX: [Row; SLOTS] = build();

/// Returns the row of a command in the static table; of a container, the row of its subcommand.
#[inline]
pub(super) fn row_of(name: &[u8], second: Option<&[u8]>) -> Option<&'static Row> {
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
        // "OBJECT ENCODING", sent as one word, is no command.
        _ => (!name.contains(&b' ')).then_some(row),
    }
}

#[inline]
fn probe(hash: u64, matches: impl Fn(&[u8]) -> bool) -> Option<&'static Row> {
    let mut slot = slot_of(hash);
    // The loop ends: more than half of the slots are free.
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

/// Adds the letters of a word to a hash, in any case. Cheap for each letter; [`slot_of`] mixes once at the end.
const fn hash(mut hash: u64, word: &[u8]) -> u64 {
    let mut at = 0;
    while at < word.len() {
        // Without the bit that lower and upper case differ in.
        hash = hash.rotate_left(5) ^ (word[at] & 0xdf) as u64;
        at += 1;
    }
    hash
}

/// Returns the slot at which the search for a hash begins.
const fn slot_of(hash: u64) -> usize {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOTS.trailing_zeros())) as usize
}

const fn build() -> [Row; SLOTS] {
    let mut index = [UNKNOWN; SLOTS];
    let (mut group, mut at, mut filled) = (0, 0, 0);
    while group < GROUPS.len() {
        if at == GROUPS[group].names.len() {
            (group, at) = (group + 1, 0);
            continue;
        }
        let row = GROUPS[group].row(at);
        let mut slot = slot_of(hash(START, row.name.as_bytes()));
        while !index[slot].name.is_empty() {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = row;
        (at, filled) = (at + 1, filled + 1);
    }
    assert!(filled * 2 < SLOTS);
    index
}

#[cfg(test)]
mod tests;
