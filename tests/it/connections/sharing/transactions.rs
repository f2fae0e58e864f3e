//! Transactions on shared connections: in one piece, and closed.

use std::collections::HashMap;

use redis_replicated::ReadFrom;

use super::{Crowd, LONG, MANY, Monitor, assert_none_failed, busiest, fill, read_own, set_with_own_keys};
use crate::support::{as_user, set_with_key};

#[test]
fn transactions_share_and_stay_in_one_piece() {
    let servers = set_with_own_keys(0, MANY);
    let master = servers.master();
    let client = servers.client_builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let (seen, failed, _) = Crowd::run(
        MANY,
        |caller| {
            let (a, b) = (format!("a:{caller}"), format!("b:{caller}"));
            if caller % 2 == 0 {
                client.incr(&a)?;
                return read_own(&client, caller);
            }
            let mut pipeline = redis::pipe();
            let (a, b): (i64, i64) = client.query_pipeline(pipeline.atomic().incr(a, 1).incr(b, 1))?;
            assert_eq!(a, b, "both in each transaction");
            Ok(())
        },
        |crowd| {
            crowd.share(&client, &master.addr());
            let monitor = Monitor::start(master);
            (0..20).for_each(|_| crowd.flow());
            redis::cmd("ECHO").arg("over").exec(&mut master.connection().unwrap()).unwrap();
            monitor.until("over")
        },
    );
    assert_none_failed(&failed);
    let shared = busiest(&seen, "GET");
    assert_eq!(busiest(&seen, "EXEC"), shared, "transactions share");
    let mut open: HashMap<&str, Vec<&[String]>> = HashMap::new();
    let mut transactions = 0;
    for (addr, words) in &seen {
        match (words[0].as_str(), open.get_mut(addr.as_str())) {
            ("MULTI", None) => _ = open.insert(addr, Vec::new()),
            ("MULTI", Some(_)) => panic!("a transaction within another one"),
            ("EXEC", Some(within)) => {
                let caller = within[0][1].strip_prefix("a:").unwrap();
                let expected = [["INCRBY", &format!("a:{caller}"), "1"], ["INCRBY", &format!("b:{caller}"), "1"]];
                assert!(within.iter().copied().eq(expected), "{within:?}");
                transactions += 1;
                open.remove(addr.as_str());
            }
            (_, Some(within)) => within.push(words),
            (_, None) => {}
        }
    }
    assert!(transactions > 20, "{transactions}");
}

/// The server goes on to queue what comes after it on that connection, as long as the connection is open.
#[test]
fn a_user_who_may_not_run_exec_spoils_no_reply_to_others() {
    let servers = set_with_key(1);
    fill(&servers, MANY);
    let master = servers.master().addr();
    let builder = as_user(&servers, &["~*", "&*", "+@all", "-exec"]);
    let client = builder.read_from(ReadFrom::Master).response_timeout(LONG).deadline(LONG).build().unwrap();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| {
            if caller > 1 {
                return read_own(&client, caller);
            }
            let error = client.query_pipeline::<(i64,)>(redis::pipe().atomic().incr("n", 1)).unwrap_err();
            assert!(error.may_have_executed(), "the server refused EXEC, not the commands: {error}");
            let length: usize = client.strlen("k")?;
            assert_eq!(length, 1);
            Ok(())
        },
        |crowd| {
            crowd.share(&client, &master);
            (0..50).for_each(|_| crowd.flow());
        },
    );
    assert_none_failed(&failed);
    let counted: Option<i64> = client.get("n").unwrap();
    assert_eq!(counted, None, "no transaction was executed");
}

/// Nothing of a transaction is executed if one of its commands is refused, and the next ones are not part of it.
#[test]
fn a_transaction_with_a_bad_command_spoils_no_other_call() {
    let servers = set_with_own_keys(0, MANY);
    let client = servers.client_builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| {
            if caller > 3 {
                client.incr(format!("n:{caller}"))?;
                return read_own(&client, caller);
            }
            let mut pipeline = redis::pipe();
            pipeline.atomic().incr("n", 1).cmd("GET").arg("too").arg("many");
            assert!(client.query_pipeline::<(i64, i64)>(&pipeline).is_err());
            Ok(())
        },
        |crowd| {
            crowd.share(&client, &servers.master().addr());
            (0..50).for_each(|_| crowd.flow());
        },
    );
    assert_none_failed(&failed);
    assert_eq!(client.get::<Option<i64>>("n").unwrap(), None);
}

#[test]
fn a_value_that_looks_like_a_command_spoils_no_call() {
    let servers = set_with_own_keys(0, MANY);
    let client = servers.client_builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let session = client.session();
    let client = client.read_from(ReadFrom::Master);
    let (_, failed, _) = Crowd::run(
        MANY,
        |caller| {
            if caller > 0 {
                client.incr(format!("n:{caller}"))?;
                return read_own(&client, caller);
            }
            session.set("x", "MULTI")?;
            let mut pipeline = redis::pipe();
            let (_, x): ((), String) = client.query_pipeline(pipeline.set("x", "MULTI").get("x"))?;
            assert_eq!(x, "MULTI");
            Ok(())
        },
        |crowd| {
            crowd.share(&client, &servers.master().addr());
            (0..10).for_each(|_| crowd.flow());
        },
    );
    assert_none_failed(&failed);
    assert_eq!(client.snapshot().nodes[0].failed, 0);
}
