//! Calls of all kinds over TLS.

use redis_replicated::{ReadFrom, ReplicatedClient, SessionMode, Target};

use super::Stage;

#[test]
fn reads_and_writes_go_where_they_should() {
    let Some(stage) = Stage::new(2) else { return };
    let client = stage.client();
    client.set("a", "1").unwrap();
    assert_eq!(client.read_from(ReadFrom::Master).get::<String>("a").unwrap(), "1");
    for _ in 0..20 {
        assert_eq!(client.read_from(ReadFrom::Replica).get::<String>("k").unwrap(), "v");
    }
    assert!(stage.servers.replicas().iter().all(|replica| replica.calls("GET").unwrap() > 0));
    assert!(client.snapshot().nodes.iter().all(|node| node.failed == 0 && !node.ejected), "{}", client.snapshot());
}
