//! Whatever a peer sends, in whatever pieces: reading it ends, takes no more memory than there are bytes, and never panics.

use std::io::{self, BufReader, Read};
use std::thread;

use allocation_counter::measure;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{Index, select};
use redis::{Parser, RedisError, RedisResult, Value};

use super::hello::{Greeting, read_greeting, role_in_greeting};
use crate::replication::{MOST_FOLLOWERS, Report, role_in_reply};

/// What the parser allocates before it has seen the elements, whatever length is said: up to 4096 of them in each of 100 levels.
const MOST_AHEAD: u64 = 100 * 4096 * size_of::<Value>() as u64;

/// Bytes that arrive in pieces of these lengths, over and over.
struct Pieces<'a> {
    bytes: &'a [u8],
    lengths: &'a [usize],
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths.get(self.turn % self.lengths.len().max(1)).copied().unwrap_or(usize::MAX).max(1);
        self.turn += 1;
        let (piece, rest) = self.bytes.split_at(length.min(self.bytes.len()).min(buffer.len()));
        buffer[..piece.len()].copy_from_slice(piece);
        self.bytes = rest;
        Ok(piece.len())
    }
}

/// Reads replies as a connection does, until the first that is none. The one place that knows how replies are read.
fn replies(bytes: &[u8], lengths: &[usize]) -> Vec<RedisResult<Value>> {
    let mut socket = BufReader::with_capacity(8192, Pieces { bytes, lengths, turn: 0 });
    let mut parser = Parser::new();
    let mut replies = Vec::new();
    loop {
        let reply = parser.parse_value(&mut socket);
        let is_last = reply.is_err();
        replies.push(reply);
        if is_last {
            return replies;
        }
    }
}

/// Has every reader of replies look at a value.
fn look_at(value: &Value) {
    let greeting = read_greeting(value);
    assert_eq!(role_in_greeting(value), if let Greeting::Role(role) = greeting { role } else { None });
    let report = Report::of_role(value);
    assert!(report.role == role_in_reply(value) && report.followers.len() <= MOST_FOLLOWERS);
}

/// The values, and the kinds of errors: where in a piece an error was found is part of its text.
fn words(replies: &[RedisResult<Value>]) -> Vec<String> {
    let word = |reply: &RedisResult<Value>| match reply {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    };
    replies.iter().map(word).collect()
}

/// A reply in the words of both protocols, some of them with a length that is not so.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "+OK\r\n",
        "+master\r\n",
        "$5\r\nslave\r\n",
        "$4\r\nrole\r\n",
        "$4\r\nmode\r\n",
        "$8\r\nsentinel\r\n",
        ":1\r\n",
        ":-7\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "_\r\n",
        "#t\r\n",
        "#x\r\n",
        ",1.5\r\n",
        ",nan\r\n",
        "(123\r\n",
        "=8\r\ntxt:some\r\n",
        "=-1\r\n",
        "!5\r\nERR x\r\n",
        "!-9\r\n",
        "-ERR no\r\n",
        "-\r\n",
        "$3\r\nab\r\n",
        ">0\r\n",
        "%-1\r\n",
        "|-1\r\n",
        "~-1\r\n",
        ">-1\r\n",
        "$99999999999\r\n",
        "*9223372036854775807\r\n",
        "%9223372036854775807\r\n",
        "|9223372036854775807\r\n",
        "$+5\r\n",
    ];
    let leaf = prop_oneof![
        6 => select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..20).prop_map(|bytes| [format!("${}\r\n", bytes.len()).as_bytes(), &bytes[..], b"\r\n"].concat()),
        1 => vec(any::<u8>(), 0..20),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        let kind = prop_oneof![8 => Just((b'*', 1)), 2 => Just((b'%', 2)), 1 => Just((b'~', 1)), 1 => Just((b'>', 1))];
        (kind, vec(inner, 0..6)).prop_map(|((kind, each), items)| {
            let head = format!("{}{}\r\n", char::from(kind), items.len() / each);
            [head.into_bytes(), items.concat()].concat()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_in_any_pieces_are_read_alike(
        replies_sent in vec(reply(), 1..5),
        changes in vec((any::<Index>(), any::<u8>()), 0..3),
        lengths in vec(1_usize..40, 0..12),
    ) {
        let mut bytes = replies_sent.concat();
        if !bytes.is_empty() {
            let length = bytes.len();
            changes.iter().for_each(|(index, byte)| bytes[index.index(length)] = *byte);
        }
        let mut read = Vec::new();
        let memory = measure(|| read = replies(&bytes, &lengths)).bytes_max;
        prop_assert!(memory < MOST_AHEAD + 1000 * bytes.len() as u64, "{} bytes for {}", memory, bytes.len());
        read.iter().flatten().for_each(look_at);
        let whole = replies(&bytes, &[]);
        if whole.last().is_some_and(|end| end.as_ref().is_err_and(RedisError::is_io_error)) {
            prop_assert_eq!(words(&read), words(&whole));
        } else {
            // In what is no reply, the parser may overlook a byte at the end of a piece. What came before is read alike.
            let good = whole.len() - 1;
            prop_assert_eq!(words(&read[..good]), words(&whole[..good]));
        }
    }
}

#[test]
fn a_length_that_is_said_is_not_believed() {
    for kind in ['$', '*', '%', '~', '>', '|', '=', '!'] {
        for length in ["99999999999", "9223372036854775807", "4611686018427387903", "-2", "-9223372036854775808"] {
            let bytes = format!("{kind}{length}\r\n+some\r\n");
            let memory = measure(|| drop(replies(bytes.as_bytes(), &[]))).bytes_max;
            assert!(memory < 1 << 20, "{kind}{length}: {memory} bytes");
        }
    }
}

#[test]
fn replies_nested_deep_are_refused_or_read_but_never_overflow() {
    let nested = |depth: usize, kind: &str| [kind.repeat(depth).as_bytes(), b":1\r\n"].concat();
    let read = move || {
        for kind in ["*1\r\n", "~1\r\n", "%1\r\n+k\r\n"] {
            assert!(replies(&nested(99, kind), &[])[0].is_ok(), "{kind:?}");
            assert!(replies(&nested(101, kind), &[])[0].is_err(), "{kind:?}");
            assert!(replies(&nested(100_000, kind), &[7])[0].is_err(), "{kind:?}");
        }
    };
    // As much as a thread of the standard library has.
    thread::Builder::new().stack_size(2 << 20).spawn(read).unwrap().join().unwrap();
}
