use super::{Setting, Verdict, executed_nothing, judge, judge_fault};
use crate::classification::{Classification, Classifier, Request};
use crate::node::Outcome;
use crate::replication::Role;
use crate::retry::{Fault, Reply, Stage};
use redis::{Cmd, Value, cmd, parse_redis_value};

const MASTER: Setting<'_> = Setting { assigned_role: Role::Master, is_second: false, has_recent_failover: &|| false };
const REPLICA: Setting<'_> = Setting { assigned_role: Role::Replica, ..MASTER };

fn error(line: &str) -> Value {
    parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
}

fn verdict_on(command: &Cmd, attempt: Result<Reply, Fault>) -> (Verdict, Option<Outcome>) {
    let packed = command.get_packed_command();
    let request = Request::command(&packed, &Classifier::new()).unwrap();
    match &attempt {
        Ok(reply) => judge(&request, reply, MASTER),
        Err(fault) => judge_fault(&request, fault),
    }
}

#[test]
fn refusals_go_elsewhere_and_application_errors_are_answers() {
    let (get, set) = (Cmd::get("k"), Cmd::set("k", "v"));
    for line in
        ["READONLY You can't", "LOADING x", "MASTERDOWN x", "TRYAGAIN x", "CLUSTERDOWN x", "UNBLOCKED force unblock x"]
    {
        for command in [&get, &set] {
            let seen = verdict_on(command, Ok(Reply::One(error(line))));
            assert_eq!(seen, (Verdict::Elsewhere, Some(Outcome::NotServing)), "{line}");
        }
    }
    for line in [
        "WRONGTYPE x",
        "ERR x",
        "NOPERM x",
        "NOSCRIPT x",
        "MISCONF x",
        "OOM x",
        "NOREPLICAS x",
        "UNBLOCKED client unblocked via CLIENT UNBLOCK",
    ] {
        for command in [&get, &set] {
            let seen = verdict_on(command, Ok(Reply::One(error(line))));
            assert_eq!(seen, (Verdict::Answer, None), "{line}");
        }
    }
    for line in ["BUSY Redis is busy", "ERR max number of clients reached"] {
        assert_eq!(verdict_on(&get, Ok(Reply::One(error(line)))).0, Verdict::Elsewhere);
    }
    assert_eq!(verdict_on(&set, Ok(Reply::One(error("BUSY x")))), (Verdict::Later, None));
    assert_eq!(verdict_on(&set, Ok(Reply::One(error("ERR max number of clients reached")))).0, Verdict::Answer);
}

#[test]
fn writes_wait_for_the_replicas_of_a_new_master() {
    let pipelines = [redis::pipe().set("a", 1).to_owned(), redis::pipe().atomic().set("a", 1).to_owned()];
    for (pipeline, line) in pipelines.iter().zip([
        "NOREPLICAS x",
        "EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.",
    ]) {
        let packed = pipeline.get_packed_pipeline();
        let skipped = if pipeline.is_transaction() { 2 } else { 0 };
        let request = Request::pipeline(&packed, skipped, 1, &Classifier::new()).unwrap();
        let attempt = Reply::Many { kept: vec![error(line)], not_queued: Vec::new() };
        let new = Setting { has_recent_failover: &|| true, ..MASTER };
        assert_eq!(judge(&request, &attempt, new), (Verdict::Later, None));
        assert_eq!(judge(&request, &attempt, MASTER), (Verdict::Answer, None));
    }
}

#[test]
fn scripts_that_were_refused_inside_a_transaction_are_sent_again_if_all_were() {
    let mut transaction = redis::pipe();
    transaction.atomic().cmd("EVAL").arg("x").arg(0).cmd("EVAL").arg("y").arg(0);
    let refused = || error("READONLY You can't write against a read only replica. script: 00, on @user_script:1.");
    let verdict = |all: Vec<Value>| verdict_on_pipeline(&transaction, vec![Value::Array(all)]);
    assert_eq!(verdict(vec![refused(), refused()]), Verdict::Elsewhere);
    assert_eq!(verdict(vec![refused(), Value::Int(1)]), Verdict::Answer);
    assert_eq!(verdict(vec![error("READONLY x"), error("READONLY x")]), Verdict::Answer);
    assert_eq!(verdict(Vec::new()), Verdict::Answer);
}

#[test]
fn what_a_replica_may_not_or_cannot_do_is_no_fault_of_its() {
    let get = Cmd::get("k");
    for (line, verdict) in [
        ("READONLY You can't", Verdict::Write { position: 0 }),
        ("NOSCRIPT x", Verdict::Master),
        ("ERR Function not found", Verdict::Master),
        ("NOPERM x", Verdict::Another),
    ] {
        let attempt = Reply::One(error(line));
        let packed = get.get_packed_command();
        let mut request = Request::command(&packed, &Classifier::new()).unwrap();
        assert_eq!(judge(&request, &attempt, REPLICA), (verdict, None), "{line}");
        let second = judge(&request, &attempt, Setting { is_second: true, ..REPLICA });
        assert!(second == (Verdict::Answer, None) || line.starts_with("READONLY"), "{line}");
        request.has_script_text = true;
        let with_text = judge(&request, &attempt, REPLICA);
        let expected = if verdict == Verdict::Master { Verdict::Answer } else { verdict };
        assert_eq!(with_text, (expected, None), "{line}");
    }
    let packed = redis::pipe().get("a").setbit("b", 1, true).get_packed_pipeline();
    let classifier = Classifier::new().with_override("SETBIT", Classification::Read).unwrap();
    let request = Request::pipeline(&packed, 0, 2, &classifier).unwrap();
    let attempt = Reply::Many { kept: vec![Value::Nil, error("READONLY x")], not_queued: Vec::new() };
    assert_eq!(judge(&request, &attempt, REPLICA).0, Verdict::Write { position: 1 });
}

#[test]
fn a_refused_script_has_executed_nothing_unless_it_may_have_gone_on() {
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    let raised = format!("{oom} script: 00, on @user_script:1.");
    for (line, script, expected) in [
        ("READONLY You can't write against a read only replica.", "x", true),
        ("NOREPLICAS Not enough good replicas to write.", "x", true),
        (&raised, "x", true),
        (oom, "x", false),
        (oom, "#!lua\nx", true),
        (
            "ERR Error running script (call to 00): @user_script:1: -OOM command not allowed when used memory",
            "x",
            false,
        ),
        ("OOM x", "x", false),
        ("NOPERM this user has no permissions", "x", false),
    ] {
        let packed = cmd("EVAL").arg(script).arg(0).get_packed_command();
        let request = Request::command(&packed, &Classifier::new()).unwrap();
        let Value::ServerError(refused) = error(line) else { panic!("{line}") };
        assert_eq!(executed_nothing(&request, &refused), expected, "{line}");
    }
}

#[test]
fn a_script_cannot_pretend_that_it_was_refused() {
    let eval = cmd("EVAL").arg("x").arg(0).to_owned();
    for (line, verdict) in [
        ("READONLY You can't write against a read only replica.", Verdict::Elsewhere),
        ("LOADING Redis is loading the dataset in memory", Verdict::Elsewhere),
        ("READONLY said the script", Verdict::Answer),
        ("TRYAGAIN later", Verdict::Answer),
        ("UNBLOCKED force unblock", Verdict::Answer),
        (
            "ERR Error running script (call to f_00): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica. ",
            Verdict::Elsewhere,
        ),
        ("ERR Error running script (call to f_00): @user_script:1: user_script:1: READONLY me", Verdict::Answer),
    ] {
        assert_eq!(verdict_on(&eval, Ok(Reply::One(error(line)))).0, verdict, "{line}");
    }
}

#[test]
fn only_reads_are_sent_again_after_a_lost_reply() {
    let scan = |cursor: u64| cmd("SCAN").arg(cursor).clone();
    for (command, stale, sent) in [
        (Cmd::get("k"), Verdict::SameNode, Verdict::Elsewhere),
        (scan(0), Verdict::SameNode, Verdict::Elsewhere),
        (scan(17), Verdict::GiveUp, Verdict::GiveUp),
        (Cmd::set("k", "v"), Verdict::GiveUp, Verdict::GiveUp),
        (cmd("PING"), Verdict::GiveUp, Verdict::GiveUp),
    ] {
        assert_eq!(verdict_on(&command, Err(Fault::new(Stage::Stale, None))), (stale, None));
        assert_eq!(verdict_on(&command, Err(Fault::new(Stage::Sent, None))), (sent, Some(Outcome::Failed)));
        assert_eq!(verdict_on(&command, Err(Fault::new(Stage::Connect, None))).0, Verdict::Elsewhere);
        assert_eq!(verdict_on(&command, Err(Fault::new(Stage::Idle, None))), (Verdict::SameNode, None));
    }
}

fn verdict_on_pipeline(pipeline: &redis::Pipeline, kept: Vec<Value>) -> Verdict {
    let packed = pipeline.get_packed_pipeline();
    let (skipped, count) = if pipeline.is_transaction() { (pipeline.len() + 1, 1) } else { (0, pipeline.len()) };
    let request = Request::pipeline(&packed, skipped, count, &Classifier::new()).unwrap();
    judge(&request, &Reply::Many { kept, not_queued: Vec::new() }, MASTER).0
}

#[test]
fn a_write_pipeline_is_sent_again_only_if_all_of_it_was_refused() {
    let writes = redis::pipe().set("a", 1).set("b", 2).to_owned();
    let refused = || error("READONLY x");
    assert_eq!(verdict_on_pipeline(&writes, vec![refused(), refused()]), Verdict::Elsewhere);
    assert_eq!(verdict_on_pipeline(&writes, vec![Value::Okay, refused()]), Verdict::Answer);
    assert_eq!(verdict_on_pipeline(&writes, vec![refused(), error("ERR x")]), Verdict::Answer);
    let reads = redis::pipe().get("a").get("b").to_owned();
    assert_eq!(verdict_on_pipeline(&reads, vec![Value::Nil, error("LOADING x")]), Verdict::Elsewhere);
    let transaction = redis::pipe().atomic().set("a", 1).to_owned();
    let abort = "EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.";
    assert_eq!(verdict_on_pipeline(&transaction, vec![error(abort)]), Verdict::Elsewhere);
    assert_eq!(
        verdict_on_pipeline(&transaction, vec![error("EXECABORT because of previous errors.")]),
        Verdict::Answer
    );
}
