//! What becomes of an attempt: whether its reply goes to the caller, or the request to another node.

use redis::{ServerError, Value};

use super::refusal::{Refusal, stopped_script};
use super::{Fault, Obstacle, Reply, Stage};
use crate::classification::Request;
use crate::node::{Outcome, Role};

/// What the hub does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The reply goes to the caller.
    Answer,
    /// Not executed, or a read: the request may be sent to another candidate.
    Elsewhere,
    /// The node does not prove to contain what the reply has to contain; another one may.
    Unproven,
    /// The connection had died while idle, or what was asked beside the request spoiled it: the request goes to the same
    /// node again.
    SameNode,
    /// Not executed, and for the moment only: the request may be sent to the same node after a pause.
    Later,
    /// An answer, but another replica, or the master, may have a better one: it is asked once.
    Another,
    /// The same, where only the master may have a better one.
    Master,
    /// The replica takes the command at this position for a write: so the whole request is one.
    Write { position: usize },
    /// The caller must know: it may have been executed, or no attempt will go better.
    GiveUp,
}

/// What is known beside the reply.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// What the topology takes the node for.
    pub(crate) place: Role,
    /// Another node was asked already for what the first one would not do.
    pub(crate) is_second: bool,
    /// Returns whether another master took over a short while ago: replicas may be about to attach to it.
    pub(crate) has_new_master: &'a dyn Fn() -> bool,
}

/// Judges an attempt: what to do, and what it says about the node, if anything.
#[inline]
pub(crate) fn judge(
    request: &Request<'_>,
    attempt: &Result<Reply, Fault>,
    setting: Setting<'_>,
) -> (Verdict, Option<Outcome>) {
    match attempt {
        Ok(Reply::One(value)) if !matches!(value, Value::ServerError(_)) => (Verdict::Answer, None),
        _ => judge_closely(request, attempt, setting),
    }
}

fn judge_closely(
    request: &Request<'_>,
    attempt: &Result<Reply, Fault>,
    setting: Setting<'_>,
) -> (Verdict, Option<Outcome>) {
    match attempt {
        Ok(reply) => match refusal(request, reply) {
            Some(refused) if request.is_read() => judge_read(request, refused, setting),
            Some(refused) => judge_write(refused.refusal, setting),
            None => (Verdict::Answer, None),
        },
        Err(fault) => judge_fault(request, fault),
    }
}

fn judge_read(request: &Request<'_>, refused: Refused, setting: Setting<'_>) -> (Verdict, Option<Outcome>) {
    let is_replica = setting.place == Role::Replica;
    match refused.refusal {
        // It says nothing about a node that is known as a replica, but what the command is.
        Refusal::ReadOnly if is_replica && request.is_repeatable() => {
            (Verdict::Write { position: refused.position }, None)
        }
        refusal if refusal.is_not_serving() => (Verdict::Elsewhere, Some(Outcome::NotServing)),
        Refusal::Busy | Refusal::TooManyClients => (Verdict::Elsewhere, Some(Outcome::Failed)),
        // Neither scripts nor rights are replicated.
        Refusal::NoScript if is_replica && !setting.is_second && request.is_repeatable() => (Verdict::Master, None),
        Refusal::NoRights if is_replica && !setting.is_second && request.is_repeatable() => (Verdict::Another, None),
        _ => (Verdict::Answer, None),
    }
}

fn judge_write(refusal: Refusal, setting: Setting<'_>) -> (Verdict, Option<Outcome>) {
    match refusal {
        refusal if refusal.is_not_serving() => (Verdict::Elsewhere, Some(Outcome::NotServing)),
        Refusal::Busy => (Verdict::Later, None),
        Refusal::NoReplicas if (setting.has_new_master)() => (Verdict::Later, None),
        _ => (Verdict::Answer, None),
    }
}

fn judge_fault(request: &Request<'_>, fault: &Fault) -> (Verdict, Option<Outcome>) {
    match fault.stage {
        Stage::Avoided => (Verdict::Elsewhere, None),
        // A busy pool is this process's doing, not the node's.
        Stage::Checkout if request.is_read() => (Verdict::Elsewhere, None),
        Stage::Checkout => (Verdict::GiveUp, None),
        Stage::Idle | Stage::Spoiled => (Verdict::SameNode, None),
        Stage::Connect if fault.is_refusal_by_server() && !request.is_read() => {
            (Verdict::GiveUp, Some(Outcome::Unreachable))
        }
        // What this process lacks says nothing about the node.
        Stage::Connect if fault.obstacle() == Obstacle::Here => (Verdict::Elsewhere, None),
        Stage::Connect => (Verdict::Elsewhere, Some(Outcome::Unreachable)),
        Stage::WrongRole => (Verdict::Elsewhere, Some(Outcome::NotServing)),
        Stage::Withdrawn if request.is_repeatable() => (Verdict::Elsewhere, None),
        Stage::Stale if request.is_repeatable() => (Verdict::SameNode, None),
        Stage::Stale | Stage::Withdrawn => (Verdict::GiveUp, None),
        Stage::Unproven if request.is_repeatable() => (Verdict::Unproven, None),
        Stage::Unproven
        | Stage::Silent
        | Stage::Unfenced
        | Stage::Lost(_)
        | Stage::Unconfirmed
        | Stage::Unacknowledged { .. } => (Verdict::GiveUp, None),
        Stage::Sent if request.is_repeatable() => (Verdict::Elsewhere, Some(Outcome::Failed)),
        Stage::Sent => (Verdict::GiveUp, Some(Outcome::Failed)),
    }
}

/// Returns whether a reply is what the request came to: it is not a refusal, after which there is nothing to prove.
#[inline]
pub(crate) fn is_answer(request: &Request<'_>, reply: &Reply) -> bool {
    refusal(request, reply).is_none()
}

/// Why a node did not execute what it was sent.
#[derive(Clone, Copy, Debug)]
struct Refused {
    refusal: Refusal,
    /// Of a pipeline, which of its commands.
    position: usize,
}

/// Finds out whether *nothing* of the request was executed, and why.
fn refusal(request: &Request<'_>, reply: &Reply) -> Option<Refused> {
    let in_value = |(position, value): (usize, &Value)| match value {
        Value::ServerError(error) => refusal_of(request, error).map(|refusal| Refused { refusal, position }),
        _ => None,
    };
    match reply {
        Reply::One(value) => in_value((0, value)),
        // A read is free of effects: one refusal in a pipeline is enough to ask elsewhere.
        Reply::Many { kept, .. } if request.is_read() => kept.iter().enumerate().find_map(in_value),
        Reply::Many { kept, not_queued } => {
            if kept.is_empty() || not_queued.first().is_some_and(|(position, _)| *position == 0) {
                return None;
            }
            let in_queue = |(position, error): &(usize, ServerError)| {
                refusal_of(request, error).map(|refusal| Refused { refusal, position: *position })
            };
            let aborted =
                matches!(&kept[..], [Value::ServerError(error)] if is_exec_abort(error)) && !not_queued.is_empty();
            if aborted {
                return every(not_queued.iter().map(in_queue));
            }
            every(executed(request, kept).iter().enumerate().map(in_value))
        }
    }
}

/// Returns the replies inside of an executed transaction, where it runs scripts: servers refuse those one by one.
fn executed<'a>(request: &Request<'_>, kept: &'a [Value]) -> &'a [Value] {
    match kept {
        [Value::Array(all)] if request.is_transaction() && request.runs_script && !all.is_empty() => all,
        _ => kept,
    }
}

/// The first refusal, if all are refusals.
fn every(refusals: impl Iterator<Item = Option<Refused>>) -> Option<Refused> {
    refusals.reduce(|all, next| all.and_then(|first| next.map(|_| first))).flatten()
}

fn refusal_of(request: &Request<'_>, error: &ServerError) -> Option<Refusal> {
    let refusal = Refusal::of_request(request, error)?;
    (request.is_read() || executed_nothing_before(request, refusal, error)).then_some(refusal)
}

/// Returns whether a refusal proves that nothing of a write, a script or a function was executed.
fn executed_nothing_before(request: &Request<'_>, refusal: Refusal, error: &ServerError) -> bool {
    match refusal {
        // Of the others, no write of a script can have had another fate. But DEL needs no memory, and some commands are
        // allowed: a script may have caught this and gone on.
        Refusal::OutOfMemory if request.runs_script => {
            !request.may_catch_errors() || stopped_script(error) || is_exec_abort(error)
        }
        Refusal::NoRights => !request.runs_script,
        _ => true,
    }
}

fn is_exec_abort(error: &ServerError) -> bool {
    error.code() == "EXECABORT"
}

/// Returns whether an error reply proves that nothing was executed, also for requests that may fail half-way.
pub(crate) fn executed_nothing(request: &Request<'_>, error: &ServerError) -> bool {
    match Refusal::of_request(request, error) {
        Some(refusal) => executed_nothing_before(request, refusal, error),
        None => is_exec_abort(error) && (!request.runs_script || request.is_transaction()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Setting, Verdict, executed_nothing, judge};
    use crate::classification::{Classification, Classifier, Request};
    use crate::node::{Outcome, Role};
    use crate::routing::{Fault, Reply, Stage};
    use redis::{Cmd, Value, cmd, parse_redis_value};

    const MASTER: Setting<'_> = Setting { place: Role::Master, is_second: false, has_new_master: &|| false };
    const REPLICA: Setting<'_> = Setting { place: Role::Replica, ..MASTER };

    fn error(line: &str) -> Value {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
    }

    fn verdict_on(command: &Cmd, attempt: Result<Reply, Fault>) -> (Verdict, Option<Outcome>) {
        let packed = command.get_packed_command();
        judge(&Request::command(&packed, &Classifier::new()).unwrap(), &attempt, MASTER)
    }

    #[test]
    fn refusals_go_elsewhere_and_application_errors_are_answers() {
        let (get, set) = (Cmd::get("k"), Cmd::set("k", "v"));
        for line in [
            "READONLY You can't",
            "LOADING x",
            "MASTERDOWN x",
            "TRYAGAIN x",
            "CLUSTERDOWN x",
            "UNBLOCKED force unblock x",
        ] {
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
            let attempt = Ok(Reply::Many { kept: vec![error(line)], not_queued: Vec::new() });
            let new = Setting { has_new_master: &|| true, ..MASTER };
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
            let attempt = Ok(Reply::One(error(line)));
            let packed = get.get_packed_command();
            let request = Request::command(&packed, &Classifier::new()).unwrap();
            assert_eq!(judge(&request, &attempt, REPLICA), (verdict, None), "{line}");
            let second = judge(&request, &attempt, Setting { is_second: true, ..REPLICA });
            assert!(second == (Verdict::Answer, None) || line.starts_with("READONLY"), "{line}");
        }
        let packed = redis::pipe().get("a").setbit("b", 1, true).get_packed_pipeline();
        let classifier = Classifier::new().with_override("SETBIT", Classification::Read).unwrap();
        let request = Request::pipeline(&packed, 0, 2, &classifier).unwrap();
        let attempt = Ok(Reply::Many { kept: vec![Value::Nil, error("READONLY x")], not_queued: Vec::new() });
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
        judge(&request, &Ok(Reply::Many { kept, not_queued: Vec::new() }), MASTER).0
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
}
