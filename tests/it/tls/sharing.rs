//! Shared connections over TLS.

use redis_replicated::ReadFrom;

use super::Stage;
use crate::connections::sharing::{Crowd, LONG, MANY, assert_none_failed, fill, in_use, kill, read_own, shared};
use crate::support::wait_until;

#[test]
fn callers_share_a_connection_that_is_killed_now_and_then() {
    let Some(stage) = Stage::new(1) else { return };
    fill(&stage.servers, 2 * MANY);
    let client = stage.builder().read_from(ReadFrom::Any).response_timeout(LONG).deadline(LONG).build().unwrap();
    let servers = stage.servers.servers();
    let ((), failed, latest) = Crowd::run(
        2 * MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            servers.iter().for_each(|server| crowd.share(&client, &server.addr()));
            for _ in 0..10 {
                crowd.flow();
                servers.iter().for_each(|server| kill(server, &in_use(server, &["get"])));
            }
            servers.iter().for_each(|server| crowd.share(&client, &server.addr()));
        },
    );
    println!("the latest read took {latest:?}");
    assert_none_failed(&failed);
}

#[test]
fn values_of_all_sizes_come_whole_beside_each_other() {
    let Some(stage) = Stage::new(0) else { return };
    let client = stage.builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let master = stage.servers.master().addr();
    let sizes = [0, 100, 10_000, 16_000, 16_384, 16_385, 40_000, 200_000];
    let value = |caller: usize| -> String {
        let letter = char::from(b'a' + caller as u8);
        letter.to_string().repeat(sizes[caller % sizes.len()])
    };
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| {
            let key = format!("sized:{caller}");
            client.set(&key, value(caller))?;
            let read: String = client.get(&key)?;
            assert!(read == value(caller), "caller {caller}: {} bytes", read.len());
            Ok(())
        },
        |crowd| {
            crowd.share(&client, &master);
            (0..20).for_each(|_| crowd.flow());
        },
    );
    assert_none_failed(&failed);
}

#[test]
fn callers_go_on_after_a_large_reply() {
    let Some(stage) = Stage::new(0) else { return };
    fill(&stage.servers, MANY);
    let client = stage.builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let master = stage.servers.master().addr();
    client.set("large", "x".repeat(5 << 20)).unwrap();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            crowd.share(&client, &master);
            assert_eq!(client.get::<String>("large").unwrap().len(), 5 << 20);
            crowd.flow();
            wait_until("calls share again", || shared(&client, &master) == 1);
            crowd.flow();
        },
    );
    assert_none_failed(&failed);
}
