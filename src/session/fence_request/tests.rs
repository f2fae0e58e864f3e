//! Packing a request with a fence, and unpacking the replies.

use super::{Counts, FenceEvidence, FenceRequest, Greeting};
use crate::classification::{Classifier, Request};
use crate::retry::Reply;
use crate::session::guarantees::Acknowledgement;
use crate::session::state::{Raise, Requirement};
use crate::session::token::{Fence, Watermark};
use redis::{Cmd, Pipeline, Value, parse_redis_value};
use std::time::Duration;

const RAISE: Raise = Raise { name: 7, amount: 5, before: None };
const RENEWAL: Raise = Raise { name: 7, amount: 1, before: Some(Fence { name: 6, count: 3 }) };

fn requirement() -> Requirement {
    let mut requirement = Requirement::default();
    requirement.watermark = Watermark::Fence(Fence { name: 7, count: 3 });
    requirement
}

fn values(replies: &[&str]) -> Reply {
    let kept = replies.iter().map(|reply| parse_redis_value(format!("{reply}\r\n").as_bytes()).unwrap()).collect();
    Reply::Many { kept, not_queued: Vec::new() }
}

/// The names of the commands that are sent.
fn sent(fenced: &FenceRequest) -> Vec<String> {
    let text = String::from_utf8_lossy(&fenced.bytes).into_owned();
    let lines: Vec<&str> = text.split("\r\n").collect();
    let begins = (0..lines.len()).filter(|line| lines[*line].starts_with('*'));
    begins.map(|line| lines[line + 2].to_owned()).collect()
}

fn one(reply: Reply) -> Value {
    let Reply::One(value) = reply else { panic!("{reply:?}") };
    value
}

const ACKNOWLEDGEMENT: Acknowledgement = Acknowledgement { replicas: 1, limit: Duration::from_micros(1) };

const HELLO: &str = "*2\r\n$4\r\nrole\r\n$6\r\nmaster";

const MASTER: Greeting = Greeting { is_master: true, is_unordered: false };
const UNKNOWN: Greeting = Greeting { is_master: false, is_unordered: false };

#[test]
fn a_read_comes_with_role_and_counter() {
    let (packed, classifier) = (Cmd::get("k").get_packed_command(), Classifier::new());
    let request = Request::command(&packed, &classifier).unwrap();
    let fenced = FenceRequest::read(&request, &requirement(), false);
    assert_eq!(sent(&fenced), ["HELLO", "MULTI", "GET", "GET", "EXEC"]);
    let unpacked = fenced.unpack(&request, values(&[HELLO, "+OK", "+QUEUED", "+QUEUED", "*2\r\n$1\r\n3\r\n$1\r\nv"]));
    assert_eq!(one(unpacked.reply), Value::BulkString(b"v".to_vec()));
    assert!(matches!(
        unpacked.evidence.0,
        FenceEvidence::Read { greeting: MASTER, counts: Counts { count: Some(3), second: None }, behind: None }
    ));
    let wrong = "*2\r\n$-1\r\n-WRONGTYPE x";
    let unpacked = fenced.unpack(&request, values(&["-ERR unknown command", "+OK", "+QUEUED", "+QUEUED", wrong]));
    assert!(matches!(
        unpacked.evidence.0,
        FenceEvidence::Read { greeting: UNKNOWN, counts: Counts { count: None, .. }, behind: None }
    ));
    assert!(matches!(one(unpacked.reply), Value::ServerError(_)));
    let unpacked = fenced.unpack(&request, values(&[HELLO, "+OK", "+QUEUED", "-ERR arity", "-EXECABORT x"]));
    assert!(matches!(unpacked.evidence.0, FenceEvidence::None) && matches!(one(unpacked.reply), Value::ServerError(_)));
    assert!(!unpacked.is_transaction_refused);
    let unpacked = fenced.unpack(&request, values(&[HELLO, "+OK", "-NOPERM x", "+QUEUED", "-EXECABORT x"]));
    assert!(
        matches!(unpacked.evidence.0, FenceEvidence::Refused { executed: false, .. })
            && unpacked.is_transaction_refused
    );
    let dragonfly = HELLO.replace("*2", "*4") + "\r\n$17\r\ndragonfly_version\r\n$1\r\n1";
    let unpacked =
        fenced.unpack(&request, values(&[&dragonfly, "+OK", "+QUEUED", "+QUEUED", "*2\r\n$1\r\n3\r\n$1\r\nv"]));
    let greeting = Greeting { is_master: true, is_unordered: true };
    assert!(matches!(unpacked.evidence.0, FenceEvidence::Read { greeting: actual, .. } if actual == greeting));
}

#[test]
fn reads_without_a_transaction_are_between_two_counters() {
    let (packed, classifier) = (Cmd::get("k").get_packed_command(), Classifier::new());
    let request = Request::command(&packed, &classifier).unwrap();
    let pinned = FenceRequest::read(&request, &Requirement::default(), true);
    assert_eq!(sent(&pinned), ["HELLO", "GET", "GET", "GET"], "an EXEC would end what is watched");
    let unpacked = pinned.unpack(&request, values(&[HELLO, "$1\r\n4", "$1\r\nv", "$1\r\n5"]));
    assert!(matches!(
        unpacked.evidence.0,
        FenceEvidence::Read {
            greeting: MASTER,
            counts: Counts { count: Some(4), .. },
            behind: Some(Counts { count: Some(5), .. })
        }
    ));
    assert_eq!(one(unpacked.reply), Value::BulkString(b"v".to_vec()));
    let unpacked = pinned.unpack(&request, values(&[HELLO, "$1\r\n4", "$1\r\nv", "$-1"]));
    assert!(
        matches!(unpacked.evidence.0, FenceEvidence::Read { behind: Some(Counts { count: None, .. }), .. }),
        "a full resync in between"
    );
    let unpacked = pinned.unpack(&request, values(&[HELLO, "-NOPERM x", "$1\r\nv", "-NOPERM x"]));
    assert!(matches!(unpacked.evidence.0, FenceEvidence::Refused { executed: true, greeting: MASTER, .. }));
}

#[test]
fn a_second_counter_is_read_if_one_does_not_stand_for_all() {
    let (packed, classifier) = (Cmd::get("k").get_packed_command(), Classifier::new());
    let request = Request::command(&packed, &classifier).unwrap();
    let mut requirement = requirement();
    requirement.second = Some(Fence { name: 6, count: 9 });
    let fenced = FenceRequest::read(&request, &requirement, false);
    assert_eq!(sent(&fenced), ["HELLO", "MULTI", "GET", "GET", "GET", "EXEC"]);
    let queued = [HELLO, "+OK", "+QUEUED", "+QUEUED", "+QUEUED"];
    let replies = [&queued[..], &["*3\r\n$1\r\n3\r\n$1\r\n9\r\n$1\r\nv"]].concat();
    let unpacked = fenced.unpack(&request, values(&replies));
    assert_eq!(one(unpacked.reply), Value::BulkString(b"v".to_vec()));
    let both = Counts { count: Some(3), second: Some(9) };
    assert!(matches!(unpacked.evidence.0, FenceEvidence::Read { counts, behind: None, .. } if counts == both));
    let plain = fenced.without_transaction(&request, &requirement).unwrap();
    assert_eq!(sent(&plain), ["HELLO", "GET", "GET", "GET", "GET", "GET"]);
    let unpacked = plain.unpack(&request, values(&[HELLO, "$1\r\n3", "$1\r\n9", "$1\r\nv", "$1\r\n3", "$-1"]));
    assert_eq!(one(unpacked.reply), Value::BulkString(b"v".to_vec()));
    let gone = Counts { second: None, ..both };
    assert!(
        matches!(unpacked.evidence.0, FenceEvidence::Read { counts, behind: Some(behind), .. } if (counts, behind) == (both, gone))
    );
    let refused = [HELLO, "+OK", "+QUEUED", "-NOPERM x", "+QUEUED", "-EXECABORT x"];
    assert!(fenced.unpack(&request, values(&refused)).is_transaction_refused);
}

const QUEUED: [&str; 4] = ["+OK", "+QUEUED", "+QUEUED", "+QUEUED"];

#[test]
fn a_write_raises_the_counter_in_its_own_transaction() {
    let (packed, classifier) = (Cmd::set("k", "v").get_packed_command(), Classifier::new());
    let request = Request::command(&packed, &classifier).unwrap();
    let fenced = FenceRequest::write(&request, RAISE, false);
    assert_eq!(sent(&fenced), ["MULTI", "SET", "INCRBY", "PEXPIRE", "EXEC"]);
    let unpacked = fenced.unpack(&request, values(&[&QUEUED[..], &["*3\r\n+OK\r\n:5\r\n:1"]].concat()));
    assert_eq!(one(unpacked.reply), Value::Okay);
    assert!(
        matches!(unpacked.evidence.0, FenceEvidence::Raised { count: 5, before: None, .. })
            && !unpacked.is_transaction_refused
    );
    let refused = ["+OK", "-READONLY x", "-READONLY x", "-READONLY x", "-EXECABORT x"];
    let unpacked = fenced.unpack(&request, values(&refused));
    assert!(
        matches!(unpacked.evidence.0, FenceEvidence::None) && !unpacked.is_transaction_refused,
        "the request's own refusal"
    );
    // Without the right to MULTI they run one by one.
    let unpacked = fenced.unpack(&request, values(&["-NOPERM x", "+OK", ":5", ":1", "-NOPERM x"]));
    assert!(
        matches!(unpacked.evidence.0, FenceEvidence::Raised { count: 5, .. }) && one(unpacked.reply) == Value::Okay
    );
    assert!(!unpacked.is_transaction_refused);
    let renewal = FenceRequest::write(&request, RENEWAL, false).acknowledged_by(Some(ACKNOWLEDGEMENT));
    assert_eq!(sent(&renewal), ["MULTI", "SET", "GET", "INCRBY", "PEXPIRE", "EXEC", "WAIT"]);
    let replies = [&QUEUED[..], &["+QUEUED", "*4\r\n+OK\r\n$1\r\n3\r\n:1\r\n:1", ":2"]].concat();
    let unpacked = renewal.unpack(&request, values(&replies));
    assert!(matches!(unpacked.evidence.0, FenceEvidence::Raised { count: 1, before: Some(3), .. }));
    assert_eq!((one(unpacked.reply), unpacked.evidence.1), (Value::Okay, Some(Ok(2))));
    let plain = renewal.without_transaction(&request, &Requirement::default()).unwrap();
    assert_eq!(sent(&plain), ["SET", "GET", "INCRBY", "PEXPIRE", "WAIT"]);
}

#[test]
fn what_is_added_to_a_write_never_fails_it() {
    let (packed, classifier) = (Cmd::del("k").get_packed_command(), Classifier::new());
    let request = Request::command(&packed, &classifier).unwrap();
    let fenced = FenceRequest::write(&request, RAISE, false);
    const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
    const DISCARDED: &str =
        "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    for (replies, is_transaction_refused) in [
        (["+OK", "+QUEUED", "-NOPERM x", "-NOPERM x", "-EXECABORT x"], true),
        (["+OK", OOM, OOM, OOM, "-EXECABORT x"], true),
        (["+OK", "+QUEUED", OOM, "+QUEUED", "-EXECABORT x"], true),
        (["+OK", "+QUEUED", "+QUEUED", "+QUEUED", DISCARDED], true),
        (["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "-NOPERM no permissions to run the 'exec' command"], true),
        (["+OK", "-NOPERM x", "+QUEUED", "+QUEUED", "-EXECABORT x"], false),
        (["+OK", "-ERR arity", OOM, OOM, "-EXECABORT x"], false),
        (["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "-EXECABORT Transaction discarded because of: READONLY x"], false),
        (["-NOPERM x", ":1", OOM, ":0", "-NOPERM x"], false),
    ] {
        assert_eq!(
            fenced.unpack(&request, values(&replies)).is_transaction_refused,
            is_transaction_refused,
            "{replies:?}"
        );
    }
    let plain = fenced.without_transaction(&request, &Requirement::default()).unwrap();
    assert_eq!(sent(&plain), ["DEL", "INCRBY", "PEXPIRE"]);
    let unpacked = plain.unpack(&request, values(&[":1", OOM, ":0"]));
    assert!(
        matches!(unpacked.evidence.0, FenceEvidence::Refused { executed: true, .. })
            && one(unpacked.reply) == Value::Int(1)
    );
}

#[test]
fn a_transaction_raises_the_counter_before_its_exec() {
    let classifier = Classifier::new();
    let pipeline: Pipeline = redis::pipe().atomic().set("a", 1).get("b").to_owned();
    let packed = pipeline.get_packed_pipeline();
    let request = Request::pipeline(&packed, 3, 1, &classifier).unwrap();
    let fenced = FenceRequest::write(&request, RENEWAL, false);
    assert_eq!(sent(&fenced), ["MULTI", "SET", "GET", "GET", "INCRBY", "PEXPIRE", "EXEC"]);
    let queued = ["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED"];
    let exec = "*5\r\n+OK\r\n$-1\r\n$1\r\n3\r\n:1\r\n:1";
    let unpacked = fenced.unpack(&request, values(&[&queued[..], &[exec]].concat()));
    assert!(matches!(unpacked.evidence.0, FenceEvidence::Raised { count: 1, before: Some(3), .. }));
    let Reply::Many { kept, not_queued } = unpacked.reply else { panic!("of a pipeline") };
    assert_eq!((kept, not_queued.len()), (vec![Value::Array(vec![Value::Okay, Value::Nil])], 0));
    let aborted = ["+OK", "+QUEUED", "-ERR x", "+QUEUED", "+QUEUED", "+QUEUED", "-EXECABORT x"];
    let unpacked = fenced.unpack(&request, values(&aborted));
    let Reply::Many { not_queued, .. } = unpacked.reply else { panic!("of a pipeline") };
    assert!(matches!(unpacked.evidence.0, FenceEvidence::None) && not_queued.len() == 1 && not_queued[0].0 == 2);
    assert!(!unpacked.is_transaction_refused);
    let watched = fenced.unpack(&request, values(&[&queued[..], &["*-1"]].concat()));
    assert!(matches!(watched.evidence.0, FenceEvidence::None), "something watched has changed");
    let no_rights = ["+OK", "+QUEUED", "+QUEUED", "-NOPERM x", "-NOPERM x", "-NOPERM x", "-EXECABORT x"];
    assert!(fenced.unpack(&request, values(&no_rights)).is_transaction_refused);
    for plain in [
        fenced.without_transaction(&request, &Requirement::default()).unwrap(),
        FenceRequest::write(&request, RENEWAL, true),
    ] {
        assert_eq!(sent(&plain), ["MULTI", "SET", "GET", "EXEC", "GET", "INCRBY", "PEXPIRE"]);
        let exec = ["*2\r\n+OK\r\n$-1", "$1\r\n3", "-NOPERM x", "-NOPERM x"];
        let unpacked = plain.unpack(&request, values(&[&queued[..3], &exec].concat()));
        assert!(matches!(unpacked.evidence.0, FenceEvidence::Refused { executed: true, .. }));
        let Reply::Many { kept, not_queued } = unpacked.reply else { panic!("of a pipeline") };
        assert_eq!((kept, not_queued.len()), (vec![Value::Array(vec![Value::Okay, Value::Nil])], 0));
    }
}

#[test]
fn a_raise_follows_an_exec_of_the_users() {
    let (packed, classifier) = (redis::cmd("EXEC").get_packed_command(), Classifier::new());
    let request = Request::command(&packed, &classifier).unwrap();
    let fenced = FenceRequest::write(&request, RAISE, true);
    assert_eq!(sent(&fenced), ["EXEC", "INCRBY", "PEXPIRE"]);
    let unpacked = fenced.unpack(&request, values(&["*1\r\n+OK", ":5", ":1"]));
    assert!(matches!(unpacked.evidence.0, FenceEvidence::Raised { count: 5, .. }));
    assert_eq!(one(unpacked.reply), Value::Array(vec![Value::Okay]));
}

#[test]
fn a_pipeline_raises_the_counter_at_its_end() {
    let classifier = Classifier::new();
    let packed = redis::pipe().set("a", 1).get("b").get_packed_pipeline();
    let request = Request::pipeline(&packed, 0, 2, &classifier).unwrap();
    let fenced = FenceRequest::write(&request, RENEWAL, false);
    assert_eq!(sent(&fenced), ["SET", "GET", "GET", "INCRBY", "PEXPIRE"]);
    let unpacked = fenced.unpack(&request, values(&["+OK", "$-1", "$1\r\n3", ":1", ":1"]));
    assert!(matches!(unpacked.evidence.0, FenceEvidence::Raised { count: 1, before: Some(3), .. }));
    let Reply::Many { kept, .. } = unpacked.reply else { panic!("of a pipeline") };
    assert_eq!(kept, [Value::Okay, Value::Nil]);
    let unpacked = fenced.unpack(&request, values(&["+OK", "$-1", "$1\r\n3", "-NOPERM x", ":0"]));
    assert!(matches!(unpacked.evidence.0, FenceEvidence::Refused { executed: true, .. }));
}
