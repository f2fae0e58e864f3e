//! One command or one pipeline, packed, with everything that routing has to know about it.

use std::fmt;

use super::frame::{Frames, Malformed, Words};
use super::{Block, Classification, Classifier, Cursor, TransactionStep};

/// A packed command or pipeline and what it is. Borrows its bytes; making one does not allocate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) class: Classification,
    pub(crate) replies: Replies,
    /// The first key of the first command, for strategies.
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) block: Block,
    /// The cursor of a single command, or the first one of a pipeline that goes on with a scan.
    pub(crate) cursor: Option<Cursor<'a>>,
    /// The transaction step of a single command.
    pub(crate) step: Option<TransactionStep>,
    /// A pipeline that watches or opens a transaction by hand, so that it may leave one open.
    pub(crate) opens: bool,
    /// A failure may leave a part of it applied: scripts, functions, pipelines.
    pub(crate) partial: bool,
    name: &'a [u8],
}

/// Which replies a request gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replies {
    One,
    /// A pipeline; of its replies the first `skipped` are acknowledgements inside a transaction (`OK`, `QUEUED` …).
    Many {
        skipped: usize,
        kept: usize,
    },
}

impl<'a> Request<'a> {
    /// Reads one packed command.
    pub(crate) fn command(bytes: &'a [u8], classifier: &Classifier) -> Result<Self, Malformed> {
        let words = Words::only(bytes)?;
        let found = classifier.look_up(words);
        let class = found.rule.class(found.class, words);
        Ok(Self {
            bytes,
            class,
            replies: Replies::One,
            key: found.key.find(words),
            block: found.rule.block(words),
            cursor: if class == Classification::Cursor { found.rule.cursor(found.name, words) } else { None },
            step: found.rule.step(),
            opens: matches!(found.rule.step(), Some(TransactionStep::Watch | TransactionStep::Multi)),
            partial: found.rule.is_partial() && class != Classification::Read,
            name: words.name(),
        })
    }

    /// Reads a packed pipeline that gets `skipped + kept` replies.
    pub(crate) fn pipeline(
        bytes: &'a [u8],
        skipped: usize,
        kept: usize,
        classifier: &Classifier,
    ) -> Result<Self, Malformed> {
        let mut frames = 0;
        let mut ends = (None, None);
        let mut whole: Option<Self> = None;
        for words in Frames::new(bytes) {
            let words = words?;
            frames += 1;
            let class = classifier.class(words);
            let found = classifier.look_up(words);
            ends = (ends.0.or(Some(found.rule.step())), found.rule.step());
            let cursor = if class == Classification::Cursor { found.rule.cursor(found.name, words) } else { None };
            let continues = cursor.filter(|cursor| !cursor.first_page);
            // A transaction does not block, and redis-rs closes the ones that it opens.
            let opens =
                skipped == 0 && matches!(found.rule.step(), Some(TransactionStep::Watch | TransactionStep::Multi));
            let block = if skipped == 0 { found.rule.block(words) } else { Block::No };
            let before = whole.unwrap_or(Self {
                bytes,
                class,
                replies: Replies::Many { skipped, kept },
                key: None,
                block: Block::No,
                cursor: None,
                step: None,
                opens: false,
                partial: true,
                name: words.name(),
            });
            whole = Some(Self {
                class: before.class.max(class),
                key: before.key.or_else(|| found.key.find(words)),
                block: before.block.then(block),
                cursor: before.cursor.or(continues),
                opens: before.opens || opens,
                ..before
            });
        }
        // Too few or too many replies would be waited for in vain, or left to the connection's next user.
        let expected = skipped.checked_add(kept);
        let is_transaction = kept == 1 && ends == (Some(Some(TransactionStep::Multi)), Some(TransactionStep::Exec));
        whole.filter(|_| expected == Some(frames) && (skipped == 0 || is_transaction)).ok_or(Malformed)
    }

    /// Tells whether it may be sent a second time although the first may have been executed.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.is_read() && self.cursor.is_none_or(|cursor| cursor.first_page)
    }

    /// Tells whether it is served by candidates rather than by the master alone.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.class, Classification::Read | Classification::Cursor)
    }

    /// Tells whether it is a transaction that the redis crate wrapped into `MULTI` and `EXEC`.
    pub(crate) fn is_transaction(&self) -> bool {
        matches!(self.replies, Replies::Many { skipped, .. } if skipped > 0)
    }

    /// The steps of each command of a pipeline, or of the only command, in order.
    pub(crate) fn steps(&self, classifier: &Classifier) -> impl Iterator<Item = Option<TransactionStep>> {
        Frames::new(self.bytes).map(|words| words.ok().and_then(|words| classifier.look_up(words).rule.step()))
    }
}

/// The name of the command, for messages: printable, never an argument.
impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Replies::Many { .. } = self.replies {
            f.write_str("a pipeline that begins with ")?;
        }
        let shown = &self.name[..self.name.len().min(32)];
        write!(f, "{}", shown.escape_ascii().to_string().to_ascii_uppercase())
    }
}
