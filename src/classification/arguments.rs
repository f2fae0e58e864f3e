//! The arguments of a command: how they are read, and what they decide.
//!
//! [`Frames`] and [`Words`] read commands in the wire format (RESP arrays of bulk strings). They borrow everything and are safe
//! on any bytes. [`Key`] and [`Rule`] say what the arguments decide: the key, the cursor, the time to block, the class.

use std::time::Duration;

use super::class::Classification;

/// Bytes that are not whole RESP commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

/// Iterates over the commands of a pipeline. Ends after the first malformed one.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

/// The words of one command: its name and its arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    /// `$3\r\nGET\r\n…`: exactly `count` words.
    body: &'a [u8],
    count: usize,
    name: &'a [u8],
    second: Option<&'a [u8]>,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Words<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = take_frame(self.rest);
        self.rest = frame.map_or(&[], |(_, rest)| rest);
        Some(frame.map(|(words, _)| words).ok_or(Malformed))
    }
}

impl<'a> Words<'a> {
    /// Reads the only command in `bytes`.
    pub(crate) fn only(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match take_frame(bytes) {
            Some((words, [])) => Ok(words),
            _ => Err(Malformed),
        }
    }

    /// Takes the first words out of a command instead of reading its packed form. Returns `None` where the packed form has to
    /// be read.
    #[inline]
    pub(crate) fn packed(cmd: &'a redis::Cmd, bytes: &'a [u8]) -> Option<Self> {
        /// `*2\r\n`. A command of ten words or more has a longer one, and has to be read.
        const HEADER: usize = 4;
        let mut args = cmd.args_iter();
        let count = args.len();
        let redis::Arg::Simple(name) = args.next()? else { return None };
        let second = match args.next() {
            Some(redis::Arg::Simple(second)) => Some(second),
            // A cursor, whose value the redis crate hides.
            Some(_) => return None,
            None => None,
        };
        if count < 10 { Some(Self { body: bytes.get(HEADER..)?, count, name, second }) } else { None }
    }

    #[inline]
    pub(super) fn name(self) -> &'a [u8] {
        self.name
    }

    /// Returns the first argument, or the subcommand.
    #[inline]
    pub(super) fn second(self) -> Option<&'a [u8]> {
        self.second
    }

    /// Returns the word at `position`; the name is at 0.
    #[inline]
    pub(super) fn nth_word(mut self, position: usize) -> Option<&'a [u8]> {
        if position == 1 { self.second } else { self.nth(position) }
    }

    pub(super) fn last_word(self) -> Option<&'a [u8]> {
        self.last()
    }

    /// Returns the word that follows `option`, in any case.
    pub(super) fn after(mut self, option: &[u8]) -> Option<&'a [u8]> {
        self.find(|word| word.eq_ignore_ascii_case(option))?;
        self.next()
    }

    /// Returns the word that follows `option` before the word `end`.
    pub(super) fn before(self, end: &[u8], option: &[u8]) -> Option<&'a [u8]> {
        let mut options = self.take_while(|word| !word.eq_ignore_ascii_case(end));
        options.find(|word| word.eq_ignore_ascii_case(option))?;
        options.next()
    }

    pub(super) fn ends_with(self, option: &[u8]) -> bool {
        self.last().is_some_and(|word| word.eq_ignore_ascii_case(option))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (word, rest) = take_word(self.body)?;
        self.body = rest;
        self.count -= 1;
        Some(word)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Words<'_> {}

#[inline]
fn take_frame(bytes: &[u8]) -> Option<(Words<'_>, &[u8])> {
    let (count, body) = take_length(bytes, b'*')?;
    // A command without a name gets no reply: waiting for one would never end.
    if count == 0 {
        return None;
    }
    let (name, mut rest) = take_word(body)?;
    let mut second = None;
    for position in 1..count {
        let (word, tail) = take_word(rest)?;
        if position == 1 {
            second = Some(word);
        }
        rest = tail;
    }
    let body = &body[..body.len() - rest.len()];
    Some((Words { body, count, name, second }, rest))
}

#[inline]
fn take_word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_length(bytes, b'$')?;
    let (word, rest) = rest.split_at_checked(length)?;
    Some((word, rest.strip_prefix(b"\r\n")?))
}

/// Reads `marker`, a decimal number and a line end.
#[inline]
fn take_length(bytes: &[u8], marker: u8) -> Option<(usize, &[u8])> {
    /// In digits: far more than a server accepts, and no overflow.
    const LONGEST: usize = 12;
    let (&first, digits) = bytes.split_first()?;
    let mut length = 0_u64;
    let mut read = 0;
    while let Some(digit @ 0..=9) = digits.get(read).map(|byte| byte.wrapping_sub(b'0')) {
        length = length * 10 + u64::from(digit);
        read += 1;
        if read > LONGEST {
            return None;
        }
    }
    let rest = digits.get(read..)?.strip_prefix(b"\r\n")?;
    // The server refuses leading zeros.
    let is_plain = read == 1 || (read > 1 && digits[0] != b'0');
    (first == marker && is_plain).then_some((usize::try_from(length).ok()?, rest))
}

/// The position of the last argument, whatever the length of the command.
pub(super) const LAST: u8 = u8::MAX;

/// Where the first key of a command is; position 0 is the name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    None,
    At(u8),
    /// After the number of keys, which is at this position.
    After(u8),
    /// After the word `STREAMS`.
    Streams,
}

/// What the arguments of a command decide.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Plain,
    /// The second word names the command.
    Container,
    /// A script: `no-writes` in its first line makes it a read. A failed one may have been applied in part.
    Eval,
    /// A script or function of which only the name is known. A failed one may have been applied in part.
    Partial,
    /// An unknown command: it may do what any other may do.
    Unknown,
    /// The cursor is at this position; 0 starts a scan.
    Scan(u8),
    /// The cursor is at this position, and only another command can have opened it.
    Resume(u8),
    /// `WITHCURSOR` opens a cursor.
    WithCursor,
    /// Blocks for the number of seconds at this position.
    BlockSeconds(u8),
    /// Blocks for the number of milliseconds at this position.
    BlockMillis(u8),
    /// Blocks for the number of milliseconds after `BLOCK`, if there is one.
    BlockOption,
    /// A step of a transaction that the caller drives.
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

/// How long a command may block, by its own argument.
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
    /// `SCAN`, `HSCAN` …; `FT` for `FT.AGGREGATE` and `FT.CURSOR`.
    pub(crate) family: &'static str,
    /// The key or index that is scanned. Empty for the key space.
    pub(crate) scanned: &'a [u8],
    /// The next cursor follows the results in the reply, rather than preceding them.
    pub(crate) trailing: bool,
}

impl Block {
    /// Returns the time of both, one after the other.
    pub(crate) fn then(self, next: Self) -> Self {
        match (self, next) {
            (Self::Forever, _) | (_, Self::Forever) => Self::Forever,
            (Self::No, other) | (other, Self::No) => other,
            (Self::For(a), Self::For(b)) => Self::For(a.saturating_add(b)),
        }
    }

    /// Longer blocks count as endless.
    const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

    pub(crate) fn bounded(time: Duration) -> Self {
        if time > Self::LONGEST { Self::Forever } else { Self::For(time) }
    }

    fn from_secs(argument: &[u8]) -> Self {
        let seconds = std::str::from_utf8(argument).ok().and_then(|text| text.parse::<f64>().ok());
        match seconds {
            Some(0.0) => Self::Forever,
            // The server refuses everything else, and does not block.
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
    /// Returns the class: that of the table, unless the arguments decide.
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

    /// Returns whether a command of class `Cursor` opens a scan, as far as the position of its cursor is known.
    pub(super) fn is_first_page(self, words: Words<'_>) -> bool {
        match self {
            Self::Scan(position) => words.nth_word(usize::from(position)) == Some(b"0"),
            Self::WithCursor => true,
            _ => false,
        }
    }

    /// Returns whether other callers may send on the same connection: the command leaves the connection as it was, and never
    /// blocks it. Servers read numbers in more forms than [`block`](Self::block) does.
    #[inline]
    pub(super) fn may_share(self, words: Words<'_>) -> bool {
        match self {
            Self::Unknown | Self::Container | Self::Step(_) | Self::BlockSeconds(_) | Self::BlockMillis(_) => false,
            Self::BlockOption => words.before(b"STREAMS", b"BLOCK").is_none(),
            _ => !runs_on_a_thread(words.name()),
        }
    }

    /// Returns whether a failed command may have been applied in part.
    #[inline]
    pub(super) fn is_partial(self) -> bool {
        matches!(self, Self::Eval | Self::Partial | Self::Unknown)
    }
}

/// Returns whether the server runs the command on a thread of its own, and answers nothing else on the connection meanwhile.
#[inline]
fn runs_on_a_thread(name: &[u8]) -> bool {
    let begins_with = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    begins_with(b"FT.") || begins_with(b"GRAPH.") || name.eq_ignore_ascii_case(b"VSIM")
}

/// Returns whether the first line of a script is `#!lua flags=…` with the flag `no-writes`.
///
/// A script with an unknown or malformed first line counts as one that writes. The server's `script.c` defines the flags.
fn declares_no_writes(script: &[u8]) -> bool {
    const FLAGS: [&str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];
    let Some(end) = script.iter().position(|&byte| byte == b'\n') else { return false };
    let Ok(line) = std::str::from_utf8(&script[..end]) else { return false };
    let Some(("#!lua", flags)) = line.trim_end_matches('\r').split_once(' ') else { return false };
    let Some(flags) = flags.trim_matches(' ').strip_prefix("flags=") else { return false };
    flags.split(',').all(|flag| FLAGS.contains(&flag)) && flags.split(',').any(|flag| flag == FLAGS[0])
}

#[cfg(test)]
mod tests;
