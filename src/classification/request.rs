//! One packed command or pipeline, with everything that routing needs to know about it.

use std::fmt;

use super::arguments::{Block, Cursor, Frames, Malformed, Rule, TransactionStep, Words};
use super::class::Classification;
use super::classifier::{Classifier, row_of};

/// A packed command or pipeline with its class. Borrows its bytes; making one does not allocate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) bytes: &'a [u8],
    /// The first key of the first command, for strategies.
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) block: Block,
    pub(crate) replies: Replies,
    pub(crate) class: Classification,
    /// It, or a command of the pipeline, continues a scan that one node began.
    pub(crate) continues_scan: bool,
    /// It watches keys or opens a transaction, and so may leave one open.
    pub(crate) opens: bool,
    /// A failure may leave a part of it applied: scripts, functions, pipelines.
    pub(crate) partial: bool,
    /// Runs a script, a function or an unknown command, whose reply may have any form.
    pub(crate) runs_script: bool,
    /// Its commands are known to read or write data, and to leave the connection as it was: other callers may send on the same
    /// connection.
    pub(crate) may_share: bool,
    /// The caller sends the text of the script where a node does not know it: then another node need not be asked.
    pub(crate) has_script_text: bool,
    rule: Rule,
    name: &'a [u8],
    /// The name in the table; empty for unknown commands.
    known: &'static str,
}

/// Which replies a request gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replies {
    One,
    /// Those of a pipeline. The first `skipped` acknowledge the commands of a transaction (`OK`, `QUEUED` …).
    Many {
        skipped: usize,
        kept: usize,
    },
}

impl<'a> Request<'a> {
    /// Reads one packed command.
    #[inline]
    pub(crate) fn command(bytes: &'a [u8], classifier: &Classifier) -> Result<Self, Malformed> {
        Words::only(bytes).map(|words| Self::of(bytes, words, classifier))
    }

    /// Reads a command that the redis crate has just packed into `bytes`: what it packed is whole.
    #[inline]
    pub(crate) fn packed(cmd: &'a redis::Cmd, bytes: &'a [u8], classifier: &Classifier) -> Result<Self, Malformed> {
        match Words::packed(cmd, bytes) {
            Some(words) => Ok(Self::of(bytes, words, classifier)),
            None => Self::command(bytes, classifier),
        }
    }

    #[inline]
    fn of(bytes: &'a [u8], words: Words<'a>, classifier: &Classifier) -> Self {
        let row = classifier.find(words.name(), words.second());
        let class = row.rule.class(row.class, words);
        Self {
            bytes,
            key: row.key.find(words),
            block: row.rule.block(words),
            replies: Replies::One,
            class,
            continues_scan: class == Classification::Cursor && !row.rule.is_first_page(words),
            opens: matches!(row.rule, Rule::Step(TransactionStep::Watch | TransactionStep::Multi)),
            partial: row.rule.is_partial() && class != Classification::Read,
            runs_script: row.rule.is_partial(),
            may_share: !matches!(class, Classification::Master | Classification::Connection)
                && row.rule.may_share(words),
            has_script_text: false,
            rule: row.rule,
            name: words.name(),
            known: row.name,
        }
    }

    /// Makes the request for a connection of the user's own, to a replica or to the master. It is never sent.
    pub(crate) fn for_connection(is_replica: bool) -> Request<'static> {
        Request {
            bytes: &[],
            key: None,
            block: Block::No,
            replies: Replies::One,
            class: if is_replica { Classification::Read } else { Classification::Master },
            continues_scan: false,
            opens: false,
            partial: false,
            runs_script: false,
            may_share: false,
            has_script_text: false,
            rule: Rule::Plain,
            name: b"dedicated",
            known: "",
        }
    }

    /// Returns the request for a question of this crate that gets one reply.
    pub(crate) fn question(bytes: &[u8]) -> Request<'_> {
        Request { bytes, name: b"HELLO", ..Request::for_connection(false) }
    }

    /// Reads a packed pipeline that gets `skipped + kept` replies.
    pub(crate) fn pipeline(
        bytes: &'a [u8],
        skipped: usize,
        kept: usize,
        classifier: &Classifier,
    ) -> Result<Self, Malformed> {
        let mut commands = Frames::new(bytes).map(|words| words.map(|words| Self::of(bytes, words, classifier)));
        let first = commands.next().ok_or(Malformed)??;
        let (mut whole, mut last, mut count) = (first, first, 1);
        let mut queued_may_share = first.may_share_in_transaction();
        let mut nests = false;
        for command in commands {
            last = command?;
            count += 1;
            whole.class = whole.class.max(last.class);
            whole.key = whole.key.or(last.key);
            whole.block = whole.block.then(last.block);
            whole.continues_scan |= last.continues_scan;
            whole.opens |= last.opens;
            whole.runs_script |= last.runs_script;
            whole.may_share &= last.may_share;
            queued_may_share &= last.may_share_in_transaction();
            nests |= last.step().is_some() && count <= skipped;
        }
        whole.replies = Replies::Many { skipped, kept };
        whole.partial = true;
        if skipped > 0 {
            // `MULTI … EXEC`: nothing in it blocks, and it leaves nothing open.
            let is_transaction =
                first.step() == Some(TransactionStep::Multi) && last.step() == Some(TransactionStep::Exec);
            // A step in between would end it early, or stay open after it.
            if !is_transaction || kept != 1 || nests {
                return Err(Malformed);
            }
            whole.block = Block::No;
            whole.opens = false;
            whole.may_share = queued_may_share;
        }
        // The caller would wait for a missing reply, and the connection's next user would read one too many.
        if skipped.checked_add(kept) == Some(count) { Ok(whole) } else { Err(Malformed) }
    }

    /// Returns whether it may be shared as a part of a transaction: should the server refuse `MULTI`, it is executed on its own.
    fn may_share_in_transaction(&self) -> bool {
        self.may_share || self.step().is_some()
    }

    /// Returns whether a command of the pipeline, in the form in which it is sent, opens a transaction.
    pub(crate) fn has_multi(&self) -> bool {
        let is_multi = |words: Words<'_>| words.name().eq_ignore_ascii_case(b"MULTI");
        !self.is_single() && Frames::new(self.bytes).flatten().any(is_multi)
    }

    /// Returns whether it is one command rather than a pipeline.
    pub(crate) fn is_single(&self) -> bool {
        self.replies == Replies::One
    }

    /// Returns how many replies it gets.
    pub(crate) fn reply_count(&self) -> usize {
        match self.replies {
            Replies::One => 1,
            Replies::Many { skipped, kept } => skipped + kept,
        }
    }

    /// Returns the name of the command in the table, in upper case. The names are few: `OTHER` for unknown commands.
    pub(crate) fn operation(&self) -> &'static str {
        match self.replies {
            Replies::Many { skipped: 0, .. } => "PIPELINE",
            Replies::Many { .. } => "MULTI",
            Replies::One if self.known.is_empty() => "OTHER",
            Replies::One => self.known,
        }
    }

    /// Returns the number of commands of a pipeline, or of those between `MULTI` and `EXEC`.
    pub(crate) fn batch_size(&self) -> Option<usize> {
        match self.replies {
            Replies::One => None,
            Replies::Many { skipped: 0, kept } => Some(kept),
            Replies::Many { skipped, .. } => Some(skipped.saturating_sub(1)),
        }
    }

    /// Returns the request as a part of a longer one, which gets `replies` and blocks for longer.
    pub(crate) fn within<'b>(&self, bytes: &'b [u8], replies: usize, block: Block) -> Request<'b>
    where
        'a: 'b,
    {
        let replies = Replies::Many { skipped: 0, kept: replies };
        Request { bytes, replies, block: self.block.then(block), ..*self }
    }

    /// Returns the request as a write.
    pub(crate) fn as_write(&self) -> Self {
        let partial = self.partial || self.runs_script;
        Self { class: Classification::Write, continues_scan: false, partial, ..*self }
    }

    /// Returns the cursor of a single command that scans.
    pub(crate) fn cursor(&self) -> Option<Cursor<'a>> {
        if self.class != Classification::Cursor || self.replies != Replies::One {
            return None;
        }
        let words = Words::only(self.bytes).ok()?;
        let row = row_of(words.name(), words.second())?;
        self.rule.cursor(row.name, words)
    }

    /// Returns whether it may block by its own argument.
    #[inline]
    pub(crate) fn blocks(&self) -> bool {
        self.block != Block::No
    }

    /// Returns whether it may be sent again although the first one may have been executed.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.is_read() && !self.continues_scan
    }

    /// Returns whether its time measures the latency of the node: not for pipelines and commands that block.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.replies == Replies::One && self.block == Block::No
    }

    /// Returns whether it is served by candidates rather than by the master alone.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.class, Classification::Read | Classification::Cursor)
    }

    /// Returns whether it is a transaction that the redis crate wrapped into `MULTI` and `EXEC`.
    pub(crate) fn is_transaction(&self) -> bool {
        matches!(self.replies, Replies::Many { skipped, .. } if skipped > 0)
    }

    /// Returns the transaction step of a single command.
    pub(crate) fn step(&self) -> Option<TransactionStep> {
        match (self.replies, self.rule) {
            (Replies::One, Rule::Step(step)) => Some(step),
            _ => None,
        }
    }

    /// Returns whether it runs a script that may go on after an error. Such a script does not declare what it does: servers
    /// refuse single commands of it, and not the script.
    pub(crate) fn may_catch_errors(&self) -> bool {
        let may_catch = |words: Words<'_>| match words.name() {
            name if name.eq_ignore_ascii_case(b"EVAL") => {
                !words.second().is_some_and(|script| script.starts_with(b"#!"))
            }
            name => name.eq_ignore_ascii_case(b"EVALSHA"),
        };
        Frames::new(self.bytes).flatten().any(may_catch)
    }

    /// Returns the transaction step of each command, in order.
    pub(crate) fn steps(&self, classifier: &Classifier) -> impl Iterator<Item = Option<TransactionStep>> {
        Frames::new(self.bytes).map(|words| Self::of(self.bytes, words.ok()?, classifier).step())
    }
}

/// Shows the name of the command, for messages: printable, never an argument.
impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Replies::Many { .. } = self.replies {
            f.write_str("a pipeline that begins with ")?;
        }
        let shown = &self.name[..self.name.len().min(32)];
        write!(f, "{}", shown.escape_ascii().to_string().to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests;
