//! Packing a request with `INFO`, and unpacking the replies.

use super::{EXEC, Form, INFO, InfoRequest, MULTI, NoEvidence, UnpackedInfo};
use crate::classification::{Block, Classifier, Replies, Request};
use crate::replication::Evidence;
use crate::retry::Reply;
use crate::session::guarantees::Acknowledgement;
use redis::{Cmd, Pipeline, Value, parse_redis_value};
use std::time::Duration;

const AT_70: &str = "role:slave\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:70\r\n\
    slave_read_only:1\r\nmaster_replid:0101010101010101010101010101010101010101\r\n\
    master_replid2:0000000000000000000000000000000000000000\r\nsecond_repl_offset:-1\r\n";
const NOPERM: &str = "-NOPERM no permissions to run the 'info' command\r\n";
const ABORT: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
const WAIT: Option<Acknowledgement> = Some(Acknowledgement { replicas: 2, limit: Duration::from_millis(1500) });

fn info(offset: u32) -> String {
    let text = AT_70.replace("70", &offset.to_string());
    format!("${}\r\n{text}\r\n", text.len())
}

/// Packs a request, and unpacks the replies to it.
fn exchange(request: &Request<'_>, form: Form, replicas: Option<Acknowledgement>, answers: &[&str]) -> UnpackedInfo {
    let kept = answers.iter().map(|answer| parse_redis_value(answer.as_bytes()).unwrap()).collect();
    InfoRequest::new(request, form, replicas).unpack(request, Reply::Many { kept, not_queued: Vec::new() })
}

fn command(cmd: &Cmd, form: Form, replicas: Option<Acknowledgement>, answers: &[&str]) -> UnpackedInfo {
    let packed = cmd.get_packed_command();
    exchange(&Request::command(&packed, &Classifier::new()).unwrap(), form, replicas, answers)
}

fn pipeline(pipe: &Pipeline, form: Form, replicas: Option<Acknowledgement>, answers: &[&str]) -> UnpackedInfo {
    let packed = pipe.get_packed_pipeline();
    let (skipped, kept) = if pipe.is_transaction() { (pipe.len() + 1, 1) } else { (0, pipe.len()) };
    exchange(&Request::pipeline(&packed, skipped, kept, &Classifier::new()).unwrap(), form, replicas, answers)
}

fn read(answers: &[&str]) -> UnpackedInfo {
    command(&Cmd::get("k"), Form::InTransaction, None, answers)
}

/// Returns the only value as text, or the error code.
fn one(unpacked: &UnpackedInfo) -> String {
    match &unpacked.reply {
        Reply::One(value) => text(value),
        Reply::Many { .. } => panic!("{unpacked:?}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::ServerError(error) => error.code().to_owned(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

fn offset(evidence: Option<&super::InfoEvidence>) -> Option<u64> {
    evidence?.as_ref().ok().map(|evidence: &Evidence| evidence.position.offset)
}

/// Returns the code of the error that a server gave instead of evidence.
fn refusal(unpacked: &UnpackedInfo) -> Option<&str> {
    match &unpacked.before {
        Some(Err(NoEvidence { refusal })) => Some(refusal.as_ref().map_or("", |error| error.code())),
        _ => None,
    }
}

#[test]
fn a_request_is_packed_with_its_evidence_request() {
    let packed = Cmd::set("k", "v").get_packed_command();
    let request = Request::command(&packed, &Classifier::new()).unwrap();
    let wait = b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n1500\r\n";
    let forms: [(Form, &[&[u8]], usize); 4] = [
        (Form::WithoutInfo, &[&packed], 1),
        (Form::InTransaction, &[MULTI, INFO, &packed, EXEC], 4),
        (Form::Between, &[INFO, &packed, INFO], 3),
        (Form::InfoAfter, &[&packed, INFO], 2),
    ];
    for (form, parts, kept) in forms {
        let info_request = InfoRequest::new(&request, form, None);
        let packed = info_request.packed(&request);
        assert_eq!(packed.bytes, parts.concat(), "{form:?}");
        assert_eq!((packed.replies, packed.block), (Replies::Many { skipped: 0, kept }, Block::No));
        let info_request = InfoRequest::new(&request, form, WAIT);
        let packed = info_request.packed(&request);
        assert_eq!(packed.bytes, [&parts.concat()[..], wait].concat(), "{form:?}");
        assert_eq!(packed.replies, Replies::Many { skipped: 0, kept: kept + 1 });
        assert_eq!(packed.block, Block::For(Duration::from_millis(1500)));
    }
}

#[test]
fn a_read_comes_with_evidence_of_the_same_moment_in_both_protocols() {
    let both = format!("*2\r\n{}$1\r\nv\r\n", info(70));
    let unpacked = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &both]);
    assert_eq!((one(&unpacked), offset(unpacked.before.as_ref())), ("v".to_owned(), Some(70)));
    let verbatim = format!("*2\r\n={}\r\ntxt:{AT_70}\r\n$1\r\nv\r\n", AT_70.len() + 4);
    let unpacked = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &verbatim]);
    assert_eq!((one(&unpacked), offset(unpacked.before.as_ref())), ("v".to_owned(), Some(70)));
}

#[test]
fn the_error_of_a_read_is_its_reply() {
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let unpacked = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &format!("*2\r\n{}{wrong}", info(70))]);
    assert_eq!((one(&unpacked), offset(unpacked.before.as_ref())), ("WRONGTYPE".to_owned(), Some(70)));
    let arity = "-ERR wrong number of arguments for 'get' command\r\n";
    for error in [arity, LOADING, "-MASTERDOWN Link with MASTER is down\r\n", "-NOPERM no\r\n"] {
        let unpacked = read(&["+OK\r\n", "+QUEUED\r\n", error, ABORT]);
        assert!(unpacked.before.is_none() && error.starts_with(&format!("-{} ", one(&unpacked))), "{error}");
    }
    let unpacked = read(&["+OK\r\n", NOPERM, arity, ABORT]);
    assert_eq!((one(&unpacked), unpacked.before.is_none()), ("ERR".to_owned(), true));
}

#[test]
fn a_server_without_evidence_proves_nothing() {
    let inner = format!("*2\r\n{NOPERM}$1\r\nv\r\n");
    let no_multi = "-ERR unknown command 'MULTI'\r\n";
    let no_exec = "-ERR EXEC without MULTI\r\n";
    let at_70 = info(70);
    for (answers, says) in [
        (["+OK\r\n", NOPERM, "+QUEUED\r\n", ABORT], "NOPERM"),
        (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &inner], "NOPERM"),
        (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", ABORT], "EXECABORT"),
        (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n$2\r\nhi\r\n$1\r\nv\r\n"], ""),
        (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*-1\r\n"], ""),
        // Without a transaction, they were executed one by one.
        ([no_multi, &at_70, "$1\r\nv\r\n", no_exec], "ERR"),
        ([no_multi, &at_70, "-WRONGTYPE x\r\n", no_exec], "ERR"),
    ] {
        assert_eq!(refusal(&read(&answers)), Some(says), "{answers:?}");
    }
}

#[test]
fn a_refused_transaction_fails_the_read() {
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let (at_70, no_exec) = (info(70), "-ERR EXEC without MULTI\r\n");
    for answers in [
        ["+OK\r\n", oom, oom, ABORT],
        ["-ERR unknown command 'MULTI'\r\n", &at_70, "$1\r\nv\r\n", "-ERR unknown command 'EXEC'\r\n"],
        ["-NOPERM no permissions to run the 'multi' command\r\n", &at_70, "-WRONGTYPE x\r\n", no_exec],
        ["-NOPERM app has no ACL permissions\r\n", &at_70, "$1\r\nv\r\n", "-NOPERM app has no ACL permissions\r\n"],
        ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "-NOPERM no permissions to run the 'exec' command\r\n"],
    ] {
        assert!(read(&answers).is_transaction_refused, "{answers:?}");
    }
    for answers in
        [[LOADING; 4], ["+OK\r\n", NOPERM, "+QUEUED\r\n", ABORT], ["+OK\r\n", "+QUEUED\r\n", "-ERR arity\r\n", ABORT]]
    {
        assert!(!read(&answers).is_transaction_refused, "{answers:?}");
    }
}

#[test]
fn a_server_that_refuses_every_command_gives_its_refusal_as_the_reply() {
    for error in [LOADING, "-NOAUTH Authentication required.\r\n", "-BUSY Redis is busy running a script.\r\n"] {
        let unpacked = read(&[error; 4]);
        assert!(unpacked.before.is_none() && error.starts_with(&format!("-{} ", one(&unpacked))), "{error}");
    }
    let abort = "-EXECABORT Transaction discarded because of: READONLY You can't write.\r\n";
    let unpacked = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", abort]);
    assert_eq!((one(&unpacked), unpacked.before.is_none()), ("EXECABORT".to_owned(), true));
}

#[test]
fn a_pipeline_of_reads_is_between_two_infos() {
    let reads = redis::pipe().get("a").get("b").to_owned();
    let unpacked = pipeline(&reads, Form::Between, None, &[&info(70), "$1\r\nv\r\n", "-WRONGTYPE x\r\n", &info(75)]);
    let Reply::Many { kept, not_queued } = &unpacked.reply else { panic!("{unpacked:?}") };
    assert_eq!(kept.iter().map(text).collect::<Vec<_>>(), ["v", "WRONGTYPE"]);
    assert!(not_queued.is_empty());
    assert_eq!((offset(unpacked.before.as_ref()), offset(unpacked.after.as_ref())), (Some(70), Some(75)));
    let unpacked = command(&Cmd::get("k"), Form::Between, None, &[&info(70), "$1\r\nv\r\n", NOPERM]);
    assert_eq!((one(&unpacked), offset(unpacked.before.as_ref())), ("v".to_owned(), Some(70)));
    assert!(matches!(&unpacked.after, Some(Err(NoEvidence { refusal: Some(_) }))));
}

#[test]
fn a_write_comes_with_evidence_after_it_and_its_acknowledgement() {
    let set = Cmd::set("k", "v");
    let unpacked = command(&set, Form::InfoAfter, WAIT, &["+OK\r\n", &info(70), ":2\r\n"]);
    assert_eq!((one(&unpacked), offset(unpacked.after.as_ref())), ("ok".to_owned(), Some(70)));
    assert_eq!((unpacked.before.is_none(), unpacked.acknowledged), (true, Some(Ok(2))));
    let unpacked =
        command(&set, Form::WithoutInfo, WAIT, &["-OOM x\r\n", "-ERR WAIT cannot be used with replica instances\r\n"]);
    assert_eq!((one(&unpacked), unpacked.after.is_none()), ("OOM".to_owned(), true));
    assert!(matches!(unpacked.acknowledged, Some(Err(_))));
    assert_eq!(command(&set, Form::WithoutInfo, WAIT, &["+OK\r\n", ":-1\r\n"]).acknowledged, Some(Ok(0)));
}

#[test]
fn a_transaction_keeps_what_was_not_queued() {
    let transaction = redis::pipe().atomic().set("a", 1).incr("b", 1).to_owned();
    let done = "*2\r\n+OK\r\n:1\r\n";
    let answers = ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", done, &info(70), ":1\r\n"];
    let unpacked = pipeline(&transaction, Form::InfoAfter, WAIT, &answers);
    let Reply::Many { kept, not_queued } = &unpacked.reply else { panic!("{unpacked:?}") };
    assert_eq!(kept[..], [Value::Array(vec![Value::Okay, Value::Int(1)])]);
    assert!(not_queued.is_empty());
    assert_eq!((offset(unpacked.after.as_ref()), unpacked.acknowledged), (Some(70), Some(Ok(1))));
    let answers = ["+OK\r\n", "+QUEUED\r\n", "-OOM x\r\n", ABORT, &info(70)];
    let unpacked = pipeline(&transaction, Form::InfoAfter, None, &answers);
    let Reply::Many { kept, not_queued } = &unpacked.reply else { panic!("{unpacked:?}") };
    assert_eq!(kept.iter().map(text).collect::<Vec<_>>(), ["EXECABORT"]);
    assert_eq!(not_queued.iter().map(|(at, error)| (*at, error.code())).collect::<Vec<_>>(), [(2, "OOM")]);
}

#[test]
fn missing_values_prove_nothing_and_do_no_harm() {
    let writes = redis::pipe().atomic().set("a", 1).to_owned();
    for form in [Form::WithoutInfo, Form::InTransaction, Form::Between, Form::InfoAfter] {
        let unpacked = command(&Cmd::get("k"), form, WAIT, &[]);
        assert_eq!((one(&unpacked), offset(unpacked.before.as_ref())), ("nil".to_owned(), None));
        assert_eq!((offset(unpacked.after.as_ref()), unpacked.acknowledged), (None, None));
        if form != Form::InTransaction {
            let unpacked = pipeline(&writes, form, None, &["+OK\r\n"]);
            assert!(matches!(&unpacked.reply, Reply::Many { kept, .. } if kept.is_empty()), "{unpacked:?}");
        }
    }
    assert_eq!(refusal(&read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"])), Some(""));
}
