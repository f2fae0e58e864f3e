//! What becomes of an attempt: whether its reply goes to the caller, or the request to another node.

use redis::{ServerError, ServerErrorKind, Value};

use super::{Fault, Obstacle, Reply, Stage};
use crate::classification::Request;
use crate::node::Outcome;

/// What the hub does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The reply goes to the caller.
    Answer,
    /// Not executed, or a read: the request may be sent to another candidate.
    Elsewhere,
    /// The node does not prove to contain what the reply has to contain; another one may.
    Unproven,
    /// The connection had died while idle: the request goes to the same node on a fresh one.
    SameNode,
    /// The caller must know: it may have been executed, or no attempt will go better.
    GiveUp,
}

/// Judges an attempt: what to do, and what it says about the node, if anything.
#[inline]
pub(crate) fn judge(request: &Request<'_>, attempt: &Result<Reply, Fault>) -> (Verdict, Option<Outcome>) {
    match attempt {
        Ok(Reply::One(value)) if !matches!(value, Value::ServerError(_)) => (Verdict::Answer, None),
        _ => judge_closely(request, attempt),
    }
}

fn judge_closely(request: &Request<'_>, attempt: &Result<Reply, Fault>) -> (Verdict, Option<Outcome>) {
    match attempt {
        Ok(reply) => match refusal(request, reply) {
            None => (Verdict::Answer, None),
            Some(Refusal::NotServing) => (Verdict::Elsewhere, Some(Outcome::NotServing)),
            Some(Refusal::Busy) => (Verdict::Elsewhere, Some(Outcome::Failed)),
        },
        Err(fault) => judge_fault(request, fault),
    }
}

fn judge_fault(request: &Request<'_>, fault: &Fault) -> (Verdict, Option<Outcome>) {
    match fault.stage {
        Stage::Avoided => (Verdict::Elsewhere, None),
        // A busy pool is this process's doing, not the node's.
        Stage::Checkout if request.is_read() => (Verdict::Elsewhere, None),
        Stage::Checkout => (Verdict::GiveUp, None),
        Stage::Idle => (Verdict::SameNode, None),
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
        Stage::Unproven | Stage::Silent | Stage::Unfenced | Stage::Lost(_) | Stage::Unacknowledged { .. } => {
            (Verdict::GiveUp, None)
        }
        Stage::Sent if request.is_repeatable() => (Verdict::Elsewhere, Some(Outcome::Failed)),
        Stage::Sent => (Verdict::GiveUp, Some(Outcome::Failed)),
    }
}

/// Tells whether a reply goes to the caller: it is not a refusal that another node, or a later attempt, may not give.
#[inline]
pub(crate) fn is_answer(request: &Request<'_>, reply: &Reply) -> bool {
    refusal(request, reply).is_none()
}

/// Why a node did not execute what it was sent, where another one might.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    NotServing,
    Busy,
}

/// Finds out whether *nothing* of the request was executed and another node, or a later attempt, may do better.
fn refusal(request: &Request<'_>, reply: &Reply) -> Option<Refusal> {
    match reply {
        Reply::One(value) => refusal_in(request, value),
        // A read is free of effects: one refusal in a pipeline is enough to ask elsewhere.
        Reply::Many { kept, .. } if request.is_read() => kept.iter().find_map(|value| refusal_in(request, value)),
        Reply::Many { kept, not_queued } => {
            if kept.is_empty() || not_queued.first().is_some_and(|(position, _)| *position == 0) {
                return None;
            }
            let queue = not_queued.iter().map(|(_, error)| refusal_of(request, error));
            let aborted =
                matches!(&kept[..], [Value::ServerError(error)] if is_exec_abort(error)) && !not_queued.is_empty();
            if aborted { every(queue) } else { every(kept.iter().map(|value| refusal_in(request, value))) }
        }
    }
}

/// The first refusal, if all are refusals.
fn every(refusals: impl Iterator<Item = Option<Refusal>>) -> Option<Refusal> {
    refusals.reduce(|all, next| all.and_then(|first| next.map(|_| first))).flatten()
}

fn refusal_in(request: &Request<'_>, value: &Value) -> Option<Refusal> {
    match value {
        Value::ServerError(error) => refusal_of(request, error),
        _ => None,
    }
}

fn refusal_of(request: &Request<'_>, error: &ServerError) -> Option<Refusal> {
    if request.runs_script && !is_servers_own(error) {
        // A script may return any error that it likes, also after a write.
        return None;
    }
    if is_not_serving(error) {
        return Some(Refusal::NotServing);
    }
    // For a write these are answers; a read may well be served by another node.
    let overloaded = error.code() == "BUSY" || is_too_many_clients(error);
    (overloaded && request.is_read()).then_some(Refusal::Busy)
}

/// Tells whether a node refused because it is not ready, or not the master: nothing was executed.
pub(crate) fn is_not_serving(error: &ServerError) -> bool {
    let says = |text| error.details().is_some_and(|details| details.contains(text));
    match error.kind() {
        Some(
            ServerErrorKind::ReadOnly
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown,
        ) => true,
        // `EXECABORT Transaction discarded because of: READONLY …`: demoted between MULTI and EXEC.
        Some(ServerErrorKind::ExecAbort) => says("because of: READONLY"),
        // A blocked client of a demoted master, not one that CLIENT UNBLOCK freed.
        None => error.code() == "UNBLOCKED" && says("force unblock"),
        Some(_) => false,
    }
}

/// Tells whether the wording is the server's, given before a script begins or instead of its first write.
fn is_servers_own(error: &ServerError) -> bool {
    let wording: &[&str] = match error.code() {
        "READONLY" => &["read only replica", "readonly replica"],
        "LOADING" => &["is loading the dataset"],
        "MASTERDOWN" => &["Link with MASTER is down"],
        "BUSY" => &["is busy running"],
        "NOSCRIPT" => &["No matching script"],
        "OOM" => &["command not allowed when used memory"],
        "NOREPLICAS" => &["Not enough good replicas"],
        "MISCONF" => &["is configured to save RDB snapshots", "Errors writing to the AOF file"],
        "NOAUTH" => &["Authentication required"],
        _ => &[],
    };
    error.details().is_some_and(|details| wording.iter().any(|wording| details.contains(wording)))
}

fn is_exec_abort(error: &ServerError) -> bool {
    error.kind() == Some(ServerErrorKind::ExecAbort)
}

fn is_too_many_clients(error: &ServerError) -> bool {
    error.details().is_some_and(|text| text.starts_with("max number of clients"))
}

/// Tells whether an error reply proves that nothing was executed, also for requests that may fail half-way.
pub(crate) fn executed_nothing(request: &Request<'_>, error: &ServerError) -> bool {
    if request.runs_script {
        return is_servers_own(error) || (request.is_transaction() && is_exec_abort(error));
    }
    is_not_serving(error)
        || is_exec_abort(error)
        || is_too_many_clients(error)
        || matches!(error.code(), "MISCONF" | "NOREPLICAS" | "OOM" | "BUSY" | "NOAUTH")
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};
    use crate::classification::{Classifier, Request};
    use crate::node::Outcome;
    use crate::routing::{Fault, Reply, Stage};
    use redis::{Cmd, Value, cmd, parse_redis_value};

    fn error(line: &str) -> Value {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
    }

    fn verdict_on(command: &Cmd, attempt: Result<Reply, Fault>) -> (Verdict, Option<Outcome>) {
        let packed = command.get_packed_command();
        judge(&Request::command(&packed, &Classifier::new()).unwrap(), &attempt)
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
            assert_eq!(verdict_on(&set, Ok(Reply::One(error(line)))).0, Verdict::Answer);
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
        judge(&request, &Ok(Reply::Many { kept, not_queued: Vec::new() })).0
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
