use super::{Fenced, Word};
use crate::classification::{Classifier, Request};
use crate::consistency::{Fence, Passed, Raise};
use crate::routing::Reply;
use redis::{Cmd, Pipeline, Value, parse_redis_value};

const RAISE: Raise = Raise { name: 7, master: 1, before: None };
const RENEWAL: Raise = Raise { name: 7, master: 1, before: Some(Fence { name: 6, count: 3 }) };

fn values(replies: &[&str]) -> Reply {
    let kept = replies.iter().map(|reply| parse_redis_value(format!("{reply}\r\n").as_bytes()).unwrap()).collect();
    Reply::Many { kept, not_queued: Vec::new() }
}

/// The names of the commands that are sent.
fn sent(fenced: &Fenced) -> Vec<String> {
    let text = String::from_utf8_lossy(&fenced.bytes).into_owned();
    let lines: Vec<&str> = text.split("\r\n").collect();
    let begins = (0..lines.len()).filter(|line| lines[*line].starts_with('*'));
    begins.map(|line| lines[line + 2].to_owned()).collect()
}

fn one(reply: Reply) -> Value {
    let Reply::One(value) = reply else { panic!("{reply:?}") };
    value
}

const HELLO: &str = "*2\r\n$4\r\nrole\r\n$6\r\nmaster";

#[test]
fn a_read_comes_with_role_and_counter() {
    let (packed, classifier) = (Cmd::get("k").get_packed_command(), Classifier::new());
    let request = Request::command(&packed, &classifier).unwrap();
    let fenced = Fenced::read(&request, Some(Fence { name: 7, count: 3 }), false);
    assert_eq!(sent(&fenced), ["HELLO", "MULTI", "GET", "GET", "EXEC"]);
    let opened = fenced.open(&request, values(&[HELLO, "+OK", "+QUEUED", "+QUEUED", "*2\r\n$1\r\n3\r\n$1\r\nv"]));
    assert_eq!(one(opened.reply), Value::BulkString(b"v".to_vec()));
    assert!(matches!(opened.word, Word::Passed(Passed { is_master: true, count: Some(3) })));
    let wrong = "*2\r\n$-1\r\n-WRONGTYPE x";
    let opened = fenced.open(&request, values(&["-ERR unknown command", "+OK", "+QUEUED", "+QUEUED", wrong]));
    assert!(matches!(opened.word, Word::Passed(Passed { is_master: false, count: None })));
    assert!(matches!(one(opened.reply), Value::ServerError(_)));
    let opened = fenced.open(&request, values(&[HELLO, "+OK", "+QUEUED", "-ERR arity", "-EXECABORT x"]));
    assert!(matches!(opened.word, Word::None) && matches!(one(opened.reply), Value::ServerError(_)));
    let opened = fenced.open(&request, values(&[HELLO, "+OK", "-NOPERM x", "+QUEUED", "-EXECABORT x"]));
    assert!(matches!(opened.word, Word::Refused { executed: false, .. }));
    let pinned = Fenced::read(&request, None, true);
    assert_eq!(sent(&pinned), ["HELLO", "GET", "GET"], "an EXEC would end what is watched");
    let opened = pinned.open(&request, values(&[HELLO, "$1\r\n4", "$1\r\nv"]));
    assert!(matches!(opened.word, Word::Passed(Passed { is_master: true, count: Some(4) })));
    assert_eq!(one(opened.reply), Value::BulkString(b"v".to_vec()));
}

#[test]
fn a_write_raises_the_counter_in_its_own_transaction() {
    let (packed, classifier) = (Cmd::set("k", "v").get_packed_command(), Classifier::new());
    let request = Request::command(&packed, &classifier).unwrap();
    let fenced = Fenced::write(&request, RAISE, false);
    assert_eq!(sent(&fenced), ["MULTI", "SET", "INCRBY", "PEXPIRE", "EXEC"]);
    let queued = ["+OK", "+QUEUED", "+QUEUED", "+QUEUED"];
    let opened = fenced.open(&request, values(&[&queued[..], &["*3\r\n+OK\r\n:5\r\n:1"]].concat()));
    assert_eq!(one(opened.reply), Value::Okay);
    assert!(matches!(opened.word, Word::Raised { count: 5, before: None, .. }));
    let refused = ["+OK", "-READONLY x", "-READONLY x", "-READONLY x", "-EXECABORT x"];
    let opened = fenced.open(&request, values(&refused));
    assert!(matches!(opened.word, Word::None), "the request's own refusal");
    let opened = fenced.open(&request, values(&["+OK", "+QUEUED", "-NOPERM x", "+QUEUED", "-EXECABORT x"]));
    assert!(matches!(opened.word, Word::Refused { executed: false, .. }));
    // Without the right to MULTI they run one by one.
    let opened = fenced.open(&request, values(&["-NOPERM x", "+OK", ":5", ":1", "-NOPERM x"]));
    assert!(matches!(opened.word, Word::Raised { count: 5, .. }) && one(opened.reply) == Value::Okay);
    let renewal = Fenced::write(&request, RENEWAL, false).confirmed_by(1, std::time::Duration::from_micros(1));
    assert_eq!(sent(&renewal), ["MULTI", "GET", "SET", "INCRBY", "PEXPIRE", "EXEC", "WAIT"]);
    let replies = [&queued[..], &["+QUEUED", "*4\r\n$1\r\n3\r\n+OK\r\n:1\r\n:1", ":2"]].concat();
    let opened = renewal.open(&request, values(&replies));
    assert!(matches!(opened.word, Word::Raised { count: 1, before: Some(3), .. }));
    assert_eq!((one(opened.reply), opened.confirmed), (Value::Okay, Some(Ok(2))));
}

#[test]
fn a_transaction_raises_it_before_its_end() {
    let classifier = Classifier::new();
    let pipeline: Pipeline = redis::pipe().atomic().set("a", 1).get("b").to_owned();
    let packed = pipeline.get_packed_pipeline();
    let request = Request::pipeline(&packed, 3, 1, &classifier).unwrap();
    let fenced = Fenced::write(&request, RENEWAL, false);
    assert_eq!(sent(&fenced), ["MULTI", "SET", "GET", "GET", "INCRBY", "PEXPIRE", "EXEC"]);
    let queued = ["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED"];
    let exec = "*5\r\n+OK\r\n$-1\r\n$1\r\n3\r\n:1\r\n:1";
    let opened = fenced.open(&request, values(&[&queued[..], &[exec]].concat()));
    assert!(matches!(opened.word, Word::Raised { count: 1, before: Some(3), .. }));
    let Reply::Many { kept, not_queued } = opened.reply else { panic!("of a pipeline") };
    assert_eq!((kept, not_queued.len()), (vec![Value::Array(vec![Value::Okay, Value::Nil])], 0));
    let aborted = ["+OK", "+QUEUED", "-ERR x", "+QUEUED", "+QUEUED", "+QUEUED", "-EXECABORT x"];
    let opened = fenced.open(&request, values(&aborted));
    let Reply::Many { not_queued, .. } = opened.reply else { panic!("of a pipeline") };
    assert!(matches!(opened.word, Word::None) && not_queued.len() == 1 && not_queued[0].0 == 2);
    let watched = fenced.open(&request, values(&[&queued[..], &["*-1"]].concat()));
    assert!(matches!(watched.word, Word::None), "something watched has changed");
}

#[test]
fn a_pipeline_raises_it_behind_itself() {
    let classifier = Classifier::new();
    let packed = redis::pipe().set("a", 1).get("b").get_packed_pipeline();
    let request = Request::pipeline(&packed, 0, 2, &classifier).unwrap();
    let fenced = Fenced::write(&request, RENEWAL, false);
    assert_eq!(sent(&fenced), ["GET", "SET", "GET", "INCRBY", "PEXPIRE"]);
    let opened = fenced.open(&request, values(&["$1\r\n3", "+OK", "$-1", ":1", ":1"]));
    assert!(matches!(opened.word, Word::Raised { count: 1, before: Some(3), .. }));
    let Reply::Many { kept, .. } = opened.reply else { panic!("of a pipeline") };
    assert_eq!(kept, [Value::Okay, Value::Nil]);
    let opened = fenced.open(&request, values(&["$1\r\n3", "+OK", "$-1", "-NOPERM x", ":0"]));
    assert!(matches!(opened.word, Word::Refused { executed: true, .. }));
}
