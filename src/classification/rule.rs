//! What the arguments of a command decide: its key, its cursor, how long it may block, its class.

use std::time::Duration;

use super::Classification;
use super::frame::Words;

/// The position of the last argument, whatever the length of the command.
pub(super) const LAST: u8 = u8::MAX;

/// Where the first key of a command is; position 0 is the name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    None,
    At(u8),
    /// Behind the number of keys, which stands at this position.
    After(u8),
    /// Behind the word `STREAMS`.
    Streams,
}

/// What the arguments of a command decide.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Plain,
    /// The second word names the command.
    Container,
    /// A script: `no-writes` in its first line makes it a read; a failed one may have been applied in part.
    Eval,
    /// A script or function known by name only, or a command known not at all; a failed one may have been applied in part.
    Partial,
    /// The cursor is at this position; 0 starts a scan.
    Scan(u8),
    /// A cursor at this position that only another command can have opened.
    Resume(u8),
    /// `WITHCURSOR` opens a cursor.
    WithCursor,
    /// Blocks for as many seconds as the argument at this position says.
    BlockSeconds(u8),
    /// The same in milliseconds.
    BlockMillis(u8),
    /// Blocks for as many milliseconds as the argument behind `BLOCK` says, if it is there.
    BlockOption,
    /// A step of a transaction driven by hand.
    Step(TransactionStep),
}

/// A command that opens or closes a transaction or a watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TransactionStep {
    Watch,
    Unwatch,
    Multi,
    Exec,
    Discard,
}

/// How long a command may keep the server silent, by its own argument.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Block {
    #[default]
    No,
    For(Duration),
    Forever,
}

/// The cursor of a scan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cursor<'a> {
    /// As it was sent.
    pub(crate) value: &'a [u8],
    /// `SCAN`, `HSCAN` …; `FT` for all of `FT.AGGREGATE` and `FT.CURSOR`.
    pub(crate) family: &'static str,
    /// The key or index that is scanned; empty for the key space.
    pub(crate) scanned: &'a [u8],
    /// Where the reply carries the next cursor: behind the results, not before them.
    pub(crate) trailing: bool,
}

impl Block {
    /// Blocks one after the other.
    pub(crate) fn then(self, next: Self) -> Self {
        match (self, next) {
            (Self::Forever, _) | (_, Self::Forever) => Self::Forever,
            (Self::No, other) | (other, Self::No) => other,
            (Self::For(a), Self::For(b)) => Self::For(a.saturating_add(b)),
        }
    }

    /// So long that the server refuses it, or nobody will live to see the difference.
    const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

    pub(crate) fn bounded(time: Duration) -> Self {
        if time > Self::LONGEST { Self::Forever } else { Self::For(time) }
    }

    fn from_secs(argument: &[u8]) -> Self {
        let seconds = std::str::from_utf8(argument).ok().and_then(|text| text.parse::<f64>().ok());
        match seconds {
            Some(0.0) => Self::Forever,
            // What the server does not accept does not block.
            Some(seconds) => Duration::try_from_secs_f64(seconds).map_or(Self::No, Self::bounded),
            None => Self::No,
        }
    }

    fn from_millis(argument: &[u8]) -> Self {
        match std::str::from_utf8(argument).ok().and_then(|text| text.parse::<u64>().ok()) {
            Some(0) => Self::Forever,
            Some(millis) => Self::bounded(Duration::from_millis(millis)),
            None => Self::No,
        }
    }
}

impl Key {
    #[inline]
    pub(super) fn find<'a>(self, words: Words<'a>) -> Option<&'a [u8]> {
        match self {
            Self::None => None,
            Self::At(position) => words.nth_word(usize::from(position)),
            Self::After(position) => {
                let position = usize::from(position);
                let count = words.nth_word(position)?;
                let none = count.iter().all(|&digit| digit == b'0');
                if none { None } else { words.nth_word(position + 1) }
            }
            Self::Streams => words.after(b"STREAMS"),
        }
    }
}

impl Rule {
    /// Refines the class that the table gives.
    #[inline]
    pub(super) fn class<'a>(self, class: Classification, words: Words<'a>) -> Classification {
        match self {
            Self::Eval if words.nth_word(1).is_some_and(declares_no_writes) => Classification::Read,
            Self::WithCursor if words.after(b"WITHCURSOR").is_some() || words.ends_with(b"WITHCURSOR") => {
                Classification::Cursor
            }
            _ => class,
        }
    }

    #[inline]
    pub(super) fn block(self, words: Words<'_>) -> Block {
        let at = |position| if position == LAST { words.last_word() } else { words.nth_word(usize::from(position)) };
        match self {
            Self::BlockSeconds(position) => at(position).map_or(Block::No, Block::from_secs),
            Self::BlockMillis(position) => at(position).map_or(Block::No, Block::from_millis),
            Self::BlockOption => words.before(b"STREAMS", b"BLOCK").map_or(Block::No, Block::from_millis),
            _ => Block::No,
        }
    }

    pub(super) fn cursor<'a>(self, name: &'static str, words: Words<'a>) -> Option<Cursor<'a>> {
        let word = |position: u8| words.nth_word(usize::from(position));
        match self {
            Self::Scan(position) => {
                let value = word(position)?;
                let scanned = if position > 1 { word(1)? } else { &[] };
                Some(Cursor { value, family: name, scanned, trailing: false })
            }
            Self::Resume(position) => {
                let (value, scanned) = (word(position)?, word(2)?);
                Some(Cursor { value, family: "FT", scanned, trailing: true })
            }
            Self::WithCursor => Some(Cursor { value: b"0", family: "FT", scanned: word(1)?, trailing: true }),
            _ => None,
        }
    }

    /// Tells whether a command of class `Cursor` opens a scan, as far as the place of its cursor is known.
    pub(super) fn is_first_page(self, words: Words<'_>) -> bool {
        match self {
            Self::Scan(position) => words.nth_word(usize::from(position)) == Some(b"0"),
            Self::WithCursor => true,
            _ => false,
        }
    }

    /// Tells whether a failure may leave a part of the command applied.
    #[inline]
    pub(super) fn is_partial(self) -> bool {
        matches!(self, Self::Eval | Self::Partial)
    }
}

/// Tells whether the first line of a script is `#!lua flags=…` with the flag `no-writes`.
///
/// Everything that is not wholly understood counts as a script that writes. Where the flags stand and what they are
/// called is the server's `script.c`.
fn declares_no_writes(script: &[u8]) -> bool {
    const FLAGS: [&str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];
    let Some(end) = script.iter().position(|&byte| byte == b'\n') else { return false };
    let Ok(line) = std::str::from_utf8(&script[..end]) else { return false };
    let Some(("#!lua", flags)) = line.trim_end_matches('\r').split_once(' ') else { return false };
    let Some(flags) = flags.trim_matches(' ').strip_prefix("flags=") else { return false };
    flags.split(',').all(|flag| FLAGS.contains(&flag)) && flags.split(',').any(|flag| flag == FLAGS[0])
}

#[cfg(test)]
mod tests {
    use super::{Block, declares_no_writes};
    use std::time::Duration;

    #[test]
    fn only_a_well_formed_first_line_declares_no_writes() {
        assert!(declares_no_writes(b"#!lua flags=no-writes\nreturn 1"));
        assert!(declares_no_writes(b"#!lua  flags=allow-stale,no-writes\nreturn 1"));
        for script in [
            "return 1",
            "#!lua\nreturn 1",
            "#!lua flags=no-writes",
            "#!lua flags=no-writes,odd\n",
            "#!lua flags=\n",
            "#!lua flags=allow-oom\n",
            "#!js flags=no-writes\n",
            " #!lua flags=no-writes\n",
            "#!lua flags=\"no-writes\"\n",
            "return 1 --\n#!lua flags=no-writes\n",
            "#!lua name=x flags=no-writes\n",
        ] {
            assert!(!declares_no_writes(script.as_bytes()), "{script:?}");
        }
    }

    #[test]
    fn a_block_of_zero_waits_for_ever_and_nonsense_does_not_block() {
        assert_eq!(Block::from_secs(b"0"), Block::Forever);
        assert_eq!(Block::from_secs(b"0.25"), Block::For(Duration::from_millis(250)));
        assert_eq!(Block::from_millis(b"0"), Block::Forever);
        assert_eq!(Block::from_secs(b"1e19"), Block::Forever);
        for nonsense in [&b"-1"[..], b"x", b"", b"nan", b"inf", b"1e300", b"\xff"] {
            assert_eq!(Block::from_secs(nonsense), Block::No);
            assert_eq!(Block::from_millis(nonsense), Block::No);
        }
        let second = Block::For(Duration::from_secs(1));
        assert_eq!(second.then(second).then(Block::No), Block::For(Duration::from_secs(2)));
        assert_eq!(second.then(Block::Forever), Block::Forever);
    }
}
