//! What a command is, and therefore where it may go.
//!
//! A [`Classifier`] looks a command up in a static table that covers Redis to 8.10, Valkey to 9.1, their modules and
//! Dragonfly, then lets the arguments decide where they do (`EVAL` with `no-writes`, `FT.AGGREGATE … WITHCURSOR`).
//! What is not in the table is a [`Write`](Classification::Write). Nothing here allocates, and nothing does I/O.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use self::frame::{Frames, Words};
use self::learned::Learned;
use self::rule::Rule;

mod echo;
mod frame;
mod index;
mod learned;
mod request;
mod rule;
mod table;

pub(crate) use self::request::{Replies, Request};
pub(crate) use self::rule::{Block, Cursor, TransactionStep};

/// What a command is. It decides which nodes may serve it and whether it may be sent a second time.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Classification {
    /// Reads data and may run on any replica: `GET`, `HGETALL`, `EVAL_RO`. Sent again to another node if one fails.
    Read,
    /// A page of a scan: `SCAN`, `HSCAN`. The first page goes where a read goes, later pages to that same node.
    Cursor,
    /// Neither a data read nor a data write: `PUBLISH`, `INFO`, `CONFIG`. Goes to the master.
    Master,
    /// Writes data, or is unknown: `SET`, `EVAL`. Goes to the master; executed at most once.
    Write,
    /// Would change a pooled connection for its next user: `SELECT`, `AUTH`, `SUBSCRIBE`. Refused on routed handles.
    Connection,
}

/// Tells what commands are, by the static table and by overrides.
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
    /// By upper-case name, with or without a subcommand.
    overrides: HashMap<Box<[u8]>, Classification>,
    /// What servers took for writes.
    learned: Learned,
}

/// The longest name that can be overridden, both words and the space between them.
const LONGEST_NAME: usize = 64;

/// What the table says of one command.
struct Found {
    class: Classification,
    key: rule::Key,
    rule: Rule,
}

impl Classifier {
    /// Makes a classifier that knows the static table only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares what `command` is, whatever the table says; a name of two words overrides one subcommand.
    ///
    /// Returns `None`, and changes nothing, if `command` is not one or two words of printable ASCII of at most 64 bytes
    /// in all, or if `class` is [`Cursor`](Classification::Cursor) and the table does not know where the cursor stands.
    #[must_use]
    pub fn with_override(mut self, command: &str, class: Classification) -> Option<Self> {
        let words: Vec<&str> = command.split(' ').collect();
        let printable = words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()));
        if !printable || words.len() > 2 || command.len() > LONGEST_NAME {
            return None;
        }
        let name = command.to_ascii_uppercase().into_bytes();
        let scans = |row: &table::Row| matches!(row.rule, Rule::Scan(_) | Rule::Resume(_) | Rule::WithCursor);
        let (first, second) = (words[0].as_bytes(), words.get(1).map(|word| word.as_bytes()));
        if class == Classification::Cursor && !index::find(first, second).is_some_and(scans) {
            return None;
        }
        self.overrides.insert(name.into(), class);
        Some(self)
    }

    /// Tells what `cmd` is. An empty command is a [`Write`](Classification::Write): nobody knows it.
    #[must_use]
    pub fn classify(&self, cmd: &redis::Cmd) -> Classification {
        let mut words = cmd.args_iter().map(|arg| match arg {
            redis::Arg::Simple(word) => word,
            // A cursor, whose value redis hides; it decides nothing about the class.
            _ => b"0",
        });
        let Some(name) = words.next() else { return Classification::Write };
        let found = self.find(name, words.next());
        match found.rule {
            Rule::Eval | Rule::WithCursor => self.classify_packed(&cmd.get_packed_command()),
            _ => found.class,
        }
    }

    /// Tells what the commands in `packed` are together: the class of the strictest of them.
    ///
    /// `packed` is one command or a pipeline in the wire format. What is not wholly understood is a
    /// [`Write`](Classification::Write).
    #[must_use]
    pub fn classify_packed(&self, packed: &[u8]) -> Classification {
        let classes = Frames::new(packed).map(|words| words.map_or(Classification::Write, |words| self.class(words)));
        classes.max().unwrap_or(Classification::Write)
    }

    fn class(&self, words: Words<'_>) -> Classification {
        let found = self.look_up(words);
        found.rule.class(found.class, words)
    }

    #[inline]
    fn look_up(&self, words: Words<'_>) -> Found {
        self.find(words.name(), words.second())
    }

    #[inline]
    fn find(&self, name: &[u8], second: Option<&[u8]>) -> Found {
        let mut found = match index::find(name, second) {
            Some(row) => Found { class: row.class, key: row.key, rule: row.rule },
            None => Found { class: Classification::Write, key: rule::Key::None, rule: Rule::Partial },
        };
        if !self.overrides.is_empty()
            && let Some(class) = self.overridden(name, second)
        {
            found.class = class;
            // The override decides, not the first line of the script.
            found.rule = if found.rule.is_partial() { Rule::Partial } else { found.rule };
        }
        if !self.learned.is_empty() && self.learned.contains(name, second) {
            // Scripts that declare that they do not write are still reads.
            let rule = index::find(name, second).map_or(Rule::Partial, |row| row.rule);
            found = Found { class: Classification::Write, rule, ..found };
        }
        found
    }

    /// Remembers that servers take the command at this position of a request for a write. Returns its name if that is
    /// news.
    pub(crate) fn learn_write(&self, request: &Request<'_>, position: usize) -> Option<String> {
        let words = Frames::new(request.bytes).nth(position)?.ok()?;
        let mut name = words.name().to_owned();
        if name.to_ascii_uppercase().ends_with(b"_RO") {
            // What it runs writes, by mistake: that says nothing about other scripts.
            return None;
        }
        let is_one_word = self.overrides.contains_key(&name.to_ascii_uppercase()[..]);
        let is_container = index::find(words.name(), None).is_some_and(|row| matches!(row.rule, Rule::Container));
        if let Some(second) = words.second() {
            let both = [words.name(), b" ", second].concat();
            let is_declared = self.overrides.contains_key(&both.to_ascii_uppercase()[..]);
            if is_declared || (is_container && !is_one_word) {
                name = both;
            }
        }
        let is_news = name.len() <= LONGEST_NAME && self.learned.remember(&name);
        is_news.then(|| name.escape_ascii().to_string().to_ascii_uppercase())
    }

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

impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Classification, Classifier};
    use redis::cmd;

    #[test]
    fn names_are_found_in_any_case_with_one_word_or_two() {
        let classifier = Classifier::new();
        for (command, class) in [
            (cmd("get"), Classification::Read),
            (cmd("Set"), Classification::Write),
            (cmd("object").arg("encoding").clone(), Classification::Read),
            (cmd("OBJECT").arg("nosuch").clone(), Classification::Write),
            (cmd("OBJECT ENCODING"), Classification::Write),
            (cmd("SORT").arg("k").clone(), Classification::Write),
            (cmd("SORT_RO").arg("k").clone(), Classification::Read),
            (cmd("client").arg("reply").arg("off").clone(), Classification::Connection),
            (cmd("CLIENT").arg("LIST").clone(), Classification::Master),
            (cmd("PUBLISH").arg("c").arg("m").clone(), Classification::Master),
            (cmd("HSCAN").arg("k").arg(0).clone(), Classification::Cursor),
            (cmd("FT.AGGREGATE").arg("i").arg("*").clone(), Classification::Read),
            (cmd("FT.AGGREGATE").arg("i").arg("*").arg("withcursor").clone(), Classification::Cursor),
            (cmd("CF.COMPACT").arg("k").clone(), Classification::Write),
            (cmd(""), Classification::Write),
        ] {
            assert_eq!(
                classifier.classify(&command),
                class,
                "{:?}",
                String::from_utf8_lossy(&command.get_packed_command())
            );
        }
    }

    #[test]
    fn a_script_is_a_read_only_if_it_says_so() {
        let classifier = Classifier::new();
        let eval = |script: &str| classifier.classify(cmd("EVAL").arg(script).arg(0));
        assert_eq!(eval("#!lua flags=no-writes\nreturn 1"), Classification::Read);
        assert_eq!(eval("return 1"), Classification::Write);
        assert_eq!(classifier.classify(cmd("EVALSHA_RO").arg("sha").arg(0)), Classification::Read);
        assert_eq!(classifier.classify(cmd("FCALL").arg("f").arg(0)), Classification::Write);
    }

    #[test]
    fn overrides_win_with_and_without_a_subcommand() {
        let classifier = Classifier::new()
            .with_override("my.read", Classification::Read)
            .and_then(|c| c.with_override("OBJECT encoding", Classification::Master))
            .and_then(|c| c.with_override("EVAL", Classification::Master))
            .unwrap();
        assert_eq!(classifier.classify(&cmd("MY.READ")), Classification::Read);
        assert_eq!(classifier.classify(cmd("object").arg("ENCODING").arg("k")), Classification::Master);
        assert_eq!(classifier.classify(cmd("OBJECT").arg("FREQ").arg("k")), Classification::Read);
        assert_eq!(classifier.classify(cmd("EVAL").arg("#!lua flags=no-writes\n").arg(0)), Classification::Master);
        for bad in ["", " ", "A B C", "A  B", "ä", "GET\r\n", &"x".repeat(65)] {
            assert!(Classifier::new().with_override(bad, Classification::Read).is_none(), "{bad:?}");
        }
        assert!(Classifier::new().with_override("MY.SCAN", Classification::Cursor).is_none());
    }

    #[test]
    fn a_pipeline_is_as_strict_as_its_strictest_command() {
        let classifier = Classifier::new();
        let class = |pipeline: &redis::Pipeline| classifier.classify_packed(&pipeline.get_packed_pipeline());
        assert_eq!(class(redis::pipe().get("a").get("b")), Classification::Read);
        assert_eq!(class(redis::pipe().get("a").set("b", 1)), Classification::Write);
        assert_eq!(class(redis::pipe().atomic().get("a")), Classification::Master);
        assert_eq!(class(redis::pipe().set("a", 1).cmd("SELECT").arg(1)), Classification::Connection);
        assert_eq!(classifier.classify_packed(b""), Classification::Write);
    }
}
