//! Tests with hostile input: reading any bytes in any pieces ends, takes memory in proportion to the bytes, and never
//! panics.

use std::io::{self, BufReader, Read};
use std::thread;

use allocation_counter::measure;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{Index, select};
use redis::{Parser, RedisError, RedisResult, Value};

use super::handshake::{HelloReply, role_in_hello};
use crate::replication::{MOST_FOLLOWERS, Report, role_in_reply};

/// What the parser allocates before it has seen the elements, whatever the length says: up to 4096 of them in each of
/// 100 levels.
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

/// Reads replies as a connection does, until the first bytes that are no reply.
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

/// Passes a value to every reader of replies.
fn read_all_kinds(value: &Value) {
    let hello = HelloReply::of(value);
    assert_eq!(role_in_hello(value), if let HelloReply::Data(role) = hello { role } else { None });
    let report = Report::of_role(value);
    assert!(report.role == role_in_reply(value) && report.followers.len() <= MOST_FOLLOWERS);
}

/// The values, and the kinds of errors. The texts of errors depend on the pieces.
fn summaries(replies: &[RedisResult<Value>]) -> Vec<String> {
    let summary = |reply: &RedisResult<Value>| match reply {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    };
    replies.iter().map(summary).collect()
}

/// A reply in the types of both protocols, some of them with a wrong length.
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
    fn pieces_do_not_change_what_is_read(
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
        read.iter().flatten().for_each(read_all_kinds);
        let whole = replies(&bytes, &[]);
        if whole.last().is_some_and(|end| end.as_ref().is_err_and(RedisError::is_io_error)) {
            prop_assert_eq!(summaries(&read), summaries(&whole));
        } else {
            // In invalid bytes, the parser may overlook one at the end of a piece. The replies before are read alike.
            let good = whole.len() - 1;
            prop_assert_eq!(summaries(&read[..good]), summaries(&whole[..good]));
        }
    }
}

#[test]
fn a_length_reserves_no_memory() {
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
    // The stack of a thread of the standard library.
    thread::Builder::new().stack_size(2 << 20).spawn(read).unwrap().join().unwrap();
}
