//! Transactions inside the requests of a shared connection: whether one may still be open after the last reply.
//!
//! A request brings its whole transaction along, from `MULTI` to `EXEC`. If the server did not execute the `EXEC`, it would
//! queue the commands of every caller that comes after.

use redis::Value;

use crate::retry::Reply;

/// Returns whether the server may still be in the transaction of a request, after its whole reply.
pub(super) fn may_be_open(reply: &Reply) -> bool {
    let Reply::Many { kept, not_queued } = reply else { return false };
    // Of a transaction of the redis crate, the replies before that to EXEC are not kept.
    let after_multi = if let [exec] = &kept[..] {
        let is_refused = not_queued.first().is_some_and(|(position, _)| *position == 0);
        if is_refused { None } else { Some(std::slice::from_ref(exec)) }
    } else {
        kept.iter().position(|reply| *reply == Value::Okay).map(|multi| &kept[multi + 1..])
    };
    after_multi.is_some_and(|replies| !replies.iter().any(ends))
}

/// Returns whether a reply is that to an `EXEC` which ended the transaction, or found none.
fn ends(reply: &Value) -> bool {
    match reply {
        Value::ServerError(error) => {
            error.code() == "EXECABORT" || error.details().is_some_and(|text| text.contains("without MULTI"))
        }
        // Nil: a watched key had changed.
        Value::Array(_) | Value::Nil => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::may_be_open;
    use crate::retry::Reply;
    use redis::{Value, parse_redis_value};

    fn parse(replies: &[&str]) -> Vec<Value> {
        replies.iter().map(|reply| parse_redis_value(format!("{reply}\r\n").as_bytes()).unwrap()).collect()
    }

    fn many(replies: &[&str]) -> Reply {
        Reply::Many { kept: parse(replies), not_queued: Vec::new() }
    }

    #[test]
    fn a_transaction_that_was_executed_or_discarded_is_over() {
        assert!(!may_be_open(&many(&["+OK", "+QUEUED", "*1\r\n:1"])));
        assert!(!may_be_open(&many(&["+OK", "+QUEUED", "*-1"])));
        assert!(!may_be_open(&many(&["+OK", "-ERR unknown", "-EXECABORT Transaction discarded"])));
        assert!(!may_be_open(&many(&["*1\r\n:1"])), "of the redis crate");
    }

    #[test]
    fn a_transaction_that_was_refused_never_began() {
        assert!(!may_be_open(&many(&["-NOPERM no", ":1", "-ERR EXEC without MULTI"])));
        assert!(!may_be_open(&many(&["-ERR unknown command", ":1", "-ERR unknown command"])));
        let Value::ServerError(refusal) = parse(&["-NOPERM no"]).remove(0) else { panic!("no error") };
        let reply = Reply::Many { kept: parse(&["-ERR unknown command 'EXEC'"]), not_queued: vec![(0, refusal)] };
        assert!(!may_be_open(&reply));
    }

    #[test]
    fn a_transaction_whose_exec_was_refused_may_be_open() {
        assert!(may_be_open(&many(&["+OK", "+QUEUED", "-NOPERM this user has no permissions to run exec"])));
        assert!(may_be_open(&many(&["*2\r\n+role\r\n+slave", "+OK", "+QUEUED", "-NOPERM no"])), "after HELLO");
        assert!(may_be_open(&many(&["-NOPERM this user has no permissions to run exec"])), "of the redis crate");
    }
}
