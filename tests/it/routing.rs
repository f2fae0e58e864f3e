//! What goes where, by the servers' own counts.

use redis_replicated::testing::ReplicaSet;

#[test]
fn reads_are_spread_evenly_and_writes_go_to_the_master() {
    let servers = ReplicaSet::start(3).unwrap();
    let client = servers.client_builder().build().unwrap();
    client.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    for _ in 0..30_000 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    for replica in servers.replicas() {
        assert_eq!(replica.calls("GET").unwrap(), 10_000);
        assert_eq!(replica.errors("READONLY").unwrap(), 0);
    }
    assert_eq!(servers.master().calls("GET").unwrap(), 0);
    assert_eq!(servers.master().calls("SET").unwrap(), 1);
}
