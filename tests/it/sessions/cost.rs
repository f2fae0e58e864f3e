//! What a session read costs: one write to the socket, as a plain one.

use std::io::{Write, copy};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redis_replicated::testing::Server;
use redis_replicated::{ReplicatedClient, SessionMode};

use crate::support::{Fake, read_chunk, set_with_key};

/// No call fails because the machine is slow.
const LONG: Duration = Duration::from_secs(60);

/// A relay before a server that notes what each of its reads brings: a client that waits for its reply wrote it at once.
struct Relay {
    front: Fake,
    chunks: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    fn start(server: &Server) -> Self {
        let port = server.addr().port().unwrap();
        let chunks: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&chunks);
        let front = Fake::raw(move |mut client| {
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            server.set_nodelay(true).unwrap();
            let (mut replies, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            back.set_nodelay(true).unwrap();
            thread::spawn(move || copy(&mut replies, &mut back));
            while let Some(chunk) = read_chunk(&mut client) {
                seen.lock().unwrap().push(String::from_utf8_lossy(&chunk).into_owned());
                if server.write_all(&chunk).is_err() {
                    return;
                }
            }
        });
        Self { front, chunks }
    }

    /// Forgets what was noted.
    fn clear(&self) {
        self.chunks.lock().unwrap().clear();
    }

    /// Checks what was noted since the last time.
    fn assert_took(&self, count: usize, request: &str) {
        let mut chunks = std::mem::take(&mut *self.chunks.lock().unwrap());
        // On a slow machine a connection may have rested for so long that the client asks who is there.
        chunks.retain(|chunk| !chunk.contains("HELLO"));
        assert_eq!(chunks.iter().find(|chunk| *chunk != request), None, "{request:?}");
        assert_eq!(chunks.len(), count, "{request:?}");
    }
}

#[test]
fn a_session_sends_each_call_in_one_piece() {
    let servers = set_with_key(1);
    let (master, replica) = (Relay::start(servers.master()), Relay::start(servers.replica(0)));
    let builder = ReplicatedClient::builder().master(master.front.url()).replica(replica.front.url());
    let builder = builder.shared_connections(0).monitor_interval(Duration::ZERO);
    let client = builder.response_timeout(LONG).deadline(LONG).build().unwrap();
    let session = client.session();
    let value = "x".repeat(4096);
    // Connections are open, and known to lead where they should.
    session.set("k", &value).unwrap();
    servers.wait_until_in_sync().unwrap();
    assert_eq!(session.get::<String>("k").unwrap(), value);
    master.clear();
    replica.clear();

    (0..100).for_each(|_| assert_eq!(session.get::<String>("k").unwrap(), value));
    let (info, get) = ("*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    let sealed = format!("*1\r\n$5\r\nMULTI\r\n{info}{get}*1\r\n$4\r\nEXEC\r\n");
    replica.assert_took(100, &sealed);

    (0..100).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), value));
    replica.assert_took(100, get);

    (0..100).for_each(|_| drop(session.query_pipeline::<(String, String)>(redis::pipe().get("k").get("k")).unwrap()));
    replica.assert_took(100, &format!("{info}{get}{get}{info}"));
    master.assert_took(0, "");

    (0..100).for_each(|_| session.set("k", "v").unwrap());
    let set = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    master.assert_took(100, &format!("{set}{info}"));
}

#[test]
fn a_session_with_fences_sends_each_call_in_one_piece() {
    let servers = set_with_key(1);
    let (master, replica) = (Relay::start(servers.master()), Relay::start(servers.replica(0)));
    let builder = ReplicatedClient::builder().master(master.front.url()).replica(replica.front.url());
    let builder = builder.monitor_interval(Duration::ZERO).response_timeout(LONG).deadline(LONG);
    let session = builder.session_mode(SessionMode::Fence).build().unwrap().session();
    session.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    assert_eq!(session.get::<String>("k").unwrap(), "v");
    master.clear();
    replica.clear();
    (0..100).for_each(|_| assert_eq!(session.get::<String>("k").unwrap(), "v"));
    // On a slow machine a connection may have rested for so long that the client asks who is there.
    let took = |relay: &Relay| -> Vec<String> {
        let chunks = std::mem::take(&mut *relay.chunks.lock().unwrap());
        chunks.into_iter().filter(|chunk| chunk.contains("EXEC") || !chunk.contains("HELLO")).collect()
    };
    let reads = took(&replica);
    assert_eq!((reads.len(), took(&master).len()), (100, 0));
    assert!(
        reads.iter().all(|read| read.starts_with("*1\r\n$5\r\nHELLO") && read.ends_with("EXEC\r\n")),
        "{}",
        reads[0]
    );
    (0..100).for_each(|_| session.set("k", "v").unwrap());
    let writes = took(&master);
    assert_eq!(writes.len(), 100);
    assert!(writes.iter().all(|write| write.contains("INCRBY") && write.ends_with("EXEC\r\n")), "{}", writes[0]);
}
