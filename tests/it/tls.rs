//! TLS: what holds for plain connections holds for these, and bad certificates are told.

mod authority;
mod basics;
mod certificates;
mod sentinel;
mod settings;
mod sharing;
mod time;

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{Builder, ReplicatedClient};

use self::authority::{Authority, Identity, Valid, has_openssl};

/// An authority, and a set whose servers show good certificates of it.
struct Stage {
    authority: Authority,
    servers: ReplicaSet,
}

impl Stage {
    /// `None`, with a printed reason: something is not there that is needed.
    fn new(replicas: usize) -> Option<Self> {
        Self::with(replicas, |setup| setup)
    }

    fn with(
        replicas: usize,
        change: impl FnOnce(redis_replicated::testing::Setup) -> redis_replicated::testing::Setup,
    ) -> Option<Self> {
        let authority = Authority::new()?;
        let own = authority.identity("node", "IP:127.0.0.1,DNS:localhost", Valid::Now);
        let servers = change(authority.setup(&own).replicas(replicas)).start().unwrap();
        redis::cmd("SET").arg("k").arg("v").exec(&mut servers.master().connection().unwrap()).unwrap();
        servers.wait_until_in_sync().unwrap();
        Some(Self { authority, servers })
    }

    /// A client of the whole set that trusts the authority.
    fn builder(&self) -> Builder {
        self.servers.client_builder().tls_certificates(self.authority.certificates(None))
    }

    fn client(&self) -> ReplicatedClient {
        self.builder().build().unwrap()
    }
}

/// Has a server show another certificate to whoever connects from now on.
fn show(server: &Server, identity: &Identity) {
    let mut connection = server.connection().unwrap();
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("tls-cert-file").arg(identity.cert.to_str().unwrap());
    set.arg("tls-key-file").arg(identity.key.to_str().unwrap());
    set.exec(&mut connection).unwrap();
}

fn check_that_all_serve(client: &ReplicatedClient) {
    assert!(client.snapshot().nodes.iter().all(|node| node.failed == 0 && !node.ejected), "{}", client.snapshot());
}
