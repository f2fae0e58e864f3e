use super::{EXEC, Form, INFO, InfoRequest, MULTI, NoEvidence, UnpackedInfo};
use crate::classification::{Block, Classifier, Replies, Request};
use crate::replication::Evidence;
use crate::retry::Reply;
use redis::{Cmd, Pipeline, Value, parse_redis_value};
use std::time::Duration;

const AT_70: &str = "role:slave\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:70\r\n\
    slave_read_only:1\r\nmaster_replid:0101010101010101010101010101010101010101\r\n\
    master_replid2:0000000000000000000000000000000000000000\r\nsecond_repl_offset:-1\r\n";
const NOPERM: &str = "-NOPERM no permissions to run the 'info' command\r\n";
const ABORT: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
const WAIT: Option<(u32, Duration)> = Some((2, Duration::from_millis(1500)));

fn told(offset: u32) -> String {
    let text = AT_70.replace("70", &offset.to_string());
    format!("${}\r\n{text}\r\n", text.len())
}

/// Seals a request, and opens what the server answers to it.
fn exchange(request: &Request<'_>, form: Form, replicas: Option<(u32, Duration)>, answers: &[&str]) -> UnpackedInfo {
    let kept = answers.iter().map(|answer| parse_redis_value(answer.as_bytes()).unwrap()).collect();
    InfoRequest::new(request, form, replicas).unpack(request, Reply::Many { kept, not_queued: Vec::new() })
}

fn command(cmd: &Cmd, form: Form, replicas: Option<(u32, Duration)>, answers: &[&str]) -> UnpackedInfo {
    let packed = cmd.get_packed_command();
    exchange(&Request::command(&packed, &Classifier::new()).unwrap(), form, replicas, answers)
}

fn pipeline(pipe: &Pipeline, form: Form, replicas: Option<(u32, Duration)>, answers: &[&str]) -> UnpackedInfo {
    let packed = pipe.get_packed_pipeline();
    let (skipped, kept) = if pipe.is_transaction() { (pipe.len() + 1, 1) } else { (0, pipe.len()) };
    exchange(&Request::pipeline(&packed, skipped, kept, &Classifier::new()).unwrap(), form, replicas, answers)
}

fn read(answers: &[&str]) -> UnpackedInfo {
    command(&Cmd::get("k"), Form::Within, None, answers)
}

/// The only value, or the error's code.
fn one(opened: &UnpackedInfo) -> String {
    match &opened.reply {
        Reply::One(value) => shown(value),
        Reply::Many { .. } => panic!("{opened:?}"),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::ServerError(error) => error.code().to_owned(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

fn offset(account: Option<&super::InfoEvidence>) -> Option<u64> {
    account?.as_ref().ok().map(|evidence: &Evidence| evidence.position.offset)
}

/// What a server said in place of its account.
fn refusal(opened: &UnpackedInfo) -> Option<&str> {
    match &opened.before {
        Some(Err(NoEvidence { refusal })) => Some(refusal.as_ref().map_or("", |error| error.code())),
        _ => None,
    }
}

#[test]
fn a_request_is_sealed_in_one_piece() {
    let packed = Cmd::set("k", "v").get_packed_command();
    let request = Request::command(&packed, &Classifier::new()).unwrap();
    let wait = b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n1500\r\n";
    let forms: [(Form, &[&[u8]], usize); 4] = [
        (Form::Bare, &[&packed], 1),
        (Form::Within, &[MULTI, INFO, &packed, EXEC], 4),
        (Form::Around, &[INFO, &packed, INFO], 3),
        (Form::Behind, &[&packed, INFO], 2),
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
fn a_read_comes_with_the_account_of_its_moment_in_both_protocols() {
    let both = format!("*2\r\n{}$1\r\nv\r\n", told(70));
    let opened = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &both]);
    assert_eq!((one(&opened), offset(opened.before.as_ref())), ("v".to_owned(), Some(70)));
    let verbatim = format!("*2\r\n={}\r\ntxt:{AT_70}\r\n$1\r\nv\r\n", AT_70.len() + 4);
    let opened = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &verbatim]);
    assert_eq!((one(&opened), offset(opened.before.as_ref())), ("v".to_owned(), Some(70)));
}

#[test]
fn the_error_of_a_read_is_its_reply() {
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let opened = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &format!("*2\r\n{}{wrong}", told(70))]);
    assert_eq!((one(&opened), offset(opened.before.as_ref())), ("WRONGTYPE".to_owned(), Some(70)));
    let arity = "-ERR wrong number of arguments for 'get' command\r\n";
    for error in [arity, LOADING, "-MASTERDOWN Link with MASTER is down\r\n", "-NOPERM no\r\n"] {
        let opened = read(&["+OK\r\n", "+QUEUED\r\n", error, ABORT]);
        assert!(opened.before.is_none() && error.starts_with(&format!("-{} ", one(&opened))), "{error}");
    }
    let opened = read(&["+OK\r\n", NOPERM, arity, ABORT]);
    assert_eq!((one(&opened), opened.before.is_none()), ("ERR".to_owned(), true));
}

#[test]
fn a_server_that_does_not_say_how_far_it_is_proves_nothing() {
    let inner = format!("*2\r\n{NOPERM}$1\r\nv\r\n");
    let no_multi = "-ERR unknown command 'MULTI'\r\n";
    let no_exec = "-ERR EXEC without MULTI\r\n";
    let info = told(70);
    for (answers, says) in [
        (["+OK\r\n", NOPERM, "+QUEUED\r\n", ABORT], "NOPERM"),
        (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &inner], "NOPERM"),
        (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", ABORT], "EXECABORT"),
        (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n$2\r\nhi\r\n$1\r\nv\r\n"], ""),
        (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*-1\r\n"], ""),
        // Without a transaction, they were executed one by one.
        ([no_multi, &info, "$1\r\nv\r\n", no_exec], "ERR"),
        ([no_multi, &info, "-WRONGTYPE x\r\n", no_exec], "ERR"),
    ] {
        assert_eq!(refusal(&read(&answers)), Some(says), "{answers:?}");
    }
}

#[test]
fn a_transaction_that_is_refused_spoils_the_read() {
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let (info, no_exec) = (told(70), "-ERR EXEC without MULTI\r\n");
    for answers in [
        ["+OK\r\n", oom, oom, ABORT],
        ["-ERR unknown command 'MULTI'\r\n", &info, "$1\r\nv\r\n", "-ERR unknown command 'EXEC'\r\n"],
        ["-NOPERM no permissions to run the 'multi' command\r\n", &info, "-WRONGTYPE x\r\n", no_exec],
        ["-NOPERM app has no ACL permissions\r\n", &info, "$1\r\nv\r\n", "-NOPERM app has no ACL permissions\r\n"],
        ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "-NOPERM no permissions to run the 'exec' command\r\n"],
    ] {
        assert!(read(&answers).is_refused_in_this_form, "{answers:?}");
    }
    for answers in
        [[LOADING; 4], ["+OK\r\n", NOPERM, "+QUEUED\r\n", ABORT], ["+OK\r\n", "+QUEUED\r\n", "-ERR arity\r\n", ABORT]]
    {
        assert!(!read(&answers).is_refused_in_this_form, "{answers:?}");
    }
}

#[test]
fn a_server_that_refuses_everything_is_not_merely_silent() {
    for error in [LOADING, "-NOAUTH Authentication required.\r\n", "-BUSY Redis is busy running a script.\r\n"] {
        let opened = read(&[error; 4]);
        assert!(opened.before.is_none() && error.starts_with(&format!("-{} ", one(&opened))), "{error}");
    }
    let abort = "-EXECABORT Transaction discarded because of: READONLY You can't write.\r\n";
    let opened = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", abort]);
    assert_eq!((one(&opened), opened.before.is_none()), ("EXECABORT".to_owned(), true));
}

#[test]
fn a_pipeline_of_reads_stands_between_two_accounts() {
    let reads = redis::pipe().get("a").get("b").to_owned();
    let opened = pipeline(&reads, Form::Around, None, &[&told(70), "$1\r\nv\r\n", "-WRONGTYPE x\r\n", &told(75)]);
    let Reply::Many { kept, not_queued } = &opened.reply else { panic!("{opened:?}") };
    assert_eq!(kept.iter().map(shown).collect::<Vec<_>>(), ["v", "WRONGTYPE"]);
    assert!(not_queued.is_empty());
    assert_eq!((offset(opened.before.as_ref()), offset(opened.after.as_ref())), (Some(70), Some(75)));
    let opened = command(&Cmd::get("k"), Form::Around, None, &[&told(70), "$1\r\nv\r\n", NOPERM]);
    assert_eq!((one(&opened), offset(opened.before.as_ref())), ("v".to_owned(), Some(70)));
    assert!(matches!(&opened.after, Some(Err(NoEvidence { refusal: Some(_) }))));
}

#[test]
fn a_write_comes_with_the_account_after_it_and_who_confirmed() {
    let set = Cmd::set("k", "v");
    let opened = command(&set, Form::Behind, WAIT, &["+OK\r\n", &told(70), ":2\r\n"]);
    assert_eq!((one(&opened), offset(opened.after.as_ref())), ("ok".to_owned(), Some(70)));
    assert_eq!((opened.before.is_none(), opened.confirmed), (true, Some(Ok(2))));
    let opened =
        command(&set, Form::Bare, WAIT, &["-OOM x\r\n", "-ERR WAIT cannot be used with replica instances\r\n"]);
    assert_eq!((one(&opened), opened.after.is_none()), ("OOM".to_owned(), true));
    assert!(matches!(opened.confirmed, Some(Err(_))));
    assert_eq!(command(&set, Form::Bare, WAIT, &["+OK\r\n", ":-1\r\n"]).confirmed, Some(Ok(0)));
}

#[test]
fn a_transaction_keeps_what_was_not_queued() {
    let transaction = redis::pipe().atomic().set("a", 1).incr("b", 1).to_owned();
    let done = "*2\r\n+OK\r\n:1\r\n";
    let answers = ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", done, &told(70), ":1\r\n"];
    let opened = pipeline(&transaction, Form::Behind, WAIT, &answers);
    let Reply::Many { kept, not_queued } = &opened.reply else { panic!("{opened:?}") };
    assert_eq!(kept[..], [Value::Array(vec![Value::Okay, Value::Int(1)])]);
    assert!(not_queued.is_empty());
    assert_eq!((offset(opened.after.as_ref()), opened.confirmed), (Some(70), Some(Ok(1))));
    let answers = ["+OK\r\n", "+QUEUED\r\n", "-OOM x\r\n", ABORT, &told(70)];
    let opened = pipeline(&transaction, Form::Behind, None, &answers);
    let Reply::Many { kept, not_queued } = &opened.reply else { panic!("{opened:?}") };
    assert_eq!(kept.iter().map(shown).collect::<Vec<_>>(), ["EXECABORT"]);
    assert_eq!(not_queued.iter().map(|(at, error)| (*at, error.code())).collect::<Vec<_>>(), [(2, "OOM")]);
}

#[test]
fn missing_values_prove_nothing_and_harm_nobody() {
    let writes = redis::pipe().atomic().set("a", 1).to_owned();
    for form in [Form::Bare, Form::Within, Form::Around, Form::Behind] {
        let opened = command(&Cmd::get("k"), form, WAIT, &[]);
        assert_eq!((one(&opened), offset(opened.before.as_ref())), ("nil".to_owned(), None));
        assert_eq!((offset(opened.after.as_ref()), opened.confirmed), (None, None));
        if form != Form::Within {
            let opened = pipeline(&writes, form, None, &["+OK\r\n"]);
            assert!(matches!(&opened.reply, Reply::Many { kept, .. } if kept.is_empty()), "{opened:?}");
        }
    }
    assert_eq!(refusal(&read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"])), Some(""));
}
