//! The settings of a client, and their defaults.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisConnectionInfo, TlsMode};

use super::chosen::{Chosen, Narrowing};
use super::source::Source;
use super::tls::{TlsFiles, TlsSource};
use crate::addr::NodeAddr;
use crate::classification::Classification;
use crate::client::ReplicatedClient;
use crate::endpoint::{AddressMap, Endpoint};
use crate::observe::Observer;
use crate::pool::{Limits, Resolver};
use crate::selection::ReadFrom;
use crate::session::SessionMode;
use crate::strategy::{PeakEwma, Strategy};
use crate::topology::TopologyProvider;

/// Sets up a [`ReplicatedClient`].
///
/// ```no_run
/// use std::time::Duration;
/// use redis_replicated::{ReadFrom, ReplicatedClient, strategy::LeastOutstanding};
///
/// let client = ReplicatedClient::builder()
///     .master("redis://10.0.0.1:6379")
///     .replicas(["redis://10.0.0.2:6379", "redis://10.0.0.3:6379"])
///     .strategy(LeastOutstanding::new())
///     .read_from(ReadFrom::ReplicaPreferred)
///     .deadline(Duration::from_secs(2))
///     .build()?;
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before build()"]
pub struct Builder {
    pub(super) source: Source,
    pub(super) tls: TlsSource,
    pub(super) strategy: Chosen,
    pub(super) narrowing: Narrowing,
    pub(super) read_from: ReadFrom,
    pub(super) overrides: Vec<(String, Classification)>,
    pub(super) client_name: Option<String>,
    pub(super) limits: Limits,
    pub(super) deadline: Duration,
    pub(super) monitor_interval: Duration,
    pub(super) fallback_limit: FallbackLimit,
    pub(super) session_mode: SessionMode,
    /// `None`: replicas may lag without limit.
    pub(super) lag_limit: Option<Duration>,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    /// `None`: no call is slow.
    pub(super) slow_call: Option<Duration>,
    /// Resolves the host names of the client.
    pub(crate) resolver: Resolver,
}

/// How many fallback reads may run at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FallbackLimit {
    HalfOfPool,
    Fixed(u32),
    Off,
}

const DEADLINE: Duration = Duration::from_secs(3);
const MONITOR_INTERVAL: Duration = Duration::from_secs(1);
const LAG_LIMIT: Duration = Duration::from_secs(10);

impl ReplicatedClient {
    /// Returns a builder with the documented defaults. Only the nodes are required.
    ///
    /// ```no_run
    /// use redis_replicated::ReplicatedClient;
    ///
    /// let client = ReplicatedClient::builder()
    ///     .discover(["redis://10.0.0.1:6379", "redis://10.0.0.2:6379"])
    ///     .build()?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder {
            source: Source::default(),
            tls: TlsSource::default(),
            strategy: Chosen::Made(Box::new(PeakEwma::new())),
            narrowing: Narrowing::default(),
            read_from: ReadFrom::default(),
            overrides: Vec::new(),
            client_name: None,
            limits: Limits::default(),
            deadline: DEADLINE,
            monitor_interval: MONITOR_INTERVAL,
            fallback_limit: FallbackLimit::HalfOfPool,
            session_mode: SessionMode::default(),
            lag_limit: Some(LAG_LIMIT),
            observers: Vec::new(),
            slow_call: None,
            resolver: Resolver::new(),
        }
    }
}

impl Builder {
    /// Names the master, exactly once. If another named node turns out to be the master, writes go there.
    ///
    /// The nodes of a set are either named, by this and by [`replica`](Self::replica), or found, by one of
    /// [`discover`](Self::discover), [`sentinel`](Self::sentinel) and [`provider`](Self::provider).
    pub fn master(mut self, node: impl Into<Endpoint>) -> Self {
        self.source.masters.push(node.into());
        self
    }

    /// Adds a replica. Default: none. Without replicas, reads go to the master, if the read preference allows it.
    ///
    /// A host name with several addresses, such as that of a headless service, adds a replica for each address. It is resolved
    /// again every 5 s, and after errors.
    pub fn replica(mut self, node: impl Into<Endpoint>) -> Self {
        self.source.replicas.push(node.into());
        self
    }

    /// Adds replicas, as [`replica`](Self::replica) does. Default: none.
    pub fn replicas<E: Into<Endpoint>>(mut self, nodes: impl IntoIterator<Item = E>) -> Self {
        self.source.replicas.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// Finds the set by asking these nodes, and the nodes that they report. Any node of the set can be a seed.
    ///
    /// A host name with several addresses is one seed for each address. Found nodes become seeds as well. All seeds have to use
    /// the same database. The set is checked again every 5 s, and after errors.
    ///
    /// Found nodes use the user, password, database, TLS and protocol of the first seed, unless [`login`](Self::login) or
    /// [`tls`](Self::tls) set others.
    pub fn discover<E: Into<Endpoint>>(mut self, seeds: impl IntoIterator<Item = E>) -> Self {
        self.source.seeds.get_or_insert_default().extend(seeds.into_iter().map(Into::into));
        self
    }

    /// Finds the set by asking Sentinels for the service of this name.
    ///
    /// All Sentinels are asked every second, after errors, and when one of them reports a change. With the monitor switched off,
    /// they are asked after errors only. The answer with the highest config epoch counts, once the node that it names confirms
    /// that it is a master. Each step of a question may take up to [`connect_timeout`](Self::connect_timeout); a Sentinel that
    /// hangs does not delay the others.
    ///
    /// The endpoints of the Sentinels have their own users, passwords and TLS. [`login`](Self::login) sets the user, password,
    /// database and protocol of the nodes, [`tls`](Self::tls) their TLS. A host name with several addresses is one Sentinel for
    /// each address.
    ///
    /// A replica that no Sentinel reaches leaves the set when the client has not reached it for 30 s. It is back as soon as a
    /// Sentinel reaches it.
    pub fn sentinel<E: Into<Endpoint>>(
        mut self,
        service: impl Into<String>,
        sentinels: impl IntoIterator<Item = E>,
    ) -> Self {
        self.source.sentinel = Some((service.into(), sentinels.into_iter().map(Into::into).collect()));
        self
    }

    /// Finds the set by a provider of your own.
    pub fn provider(mut self, provider: impl TopologyProvider) -> Self {
        self.source.provider = Some(Arc::new(provider));
        self
    }

    /// Translates the addresses that servers and Sentinels report into addresses that the client can reach: behind NAT, in
    /// containers, or for the names in TLS certificates. Default: no translation.
    pub fn map_address(mut self, map: impl Fn(&NodeAddr) -> NodeAddr + Send + Sync + 'static) -> Self {
        self.source.map = AddressMap(Arc::new(map));
        self
    }

    /// Sets the user, password, database and protocol for found nodes. Default: those of the first seed of
    /// [`discover`](Self::discover); none for other sources. `build` fails if the nodes are named.
    pub fn login(mut self, login: RedisConnectionInfo) -> Self {
        self.source.manner.login = Some(login);
        self
    }

    /// Sets TLS for found nodes. Default: as for the first seed of [`discover`](Self::discover); no TLS for other sources.
    ///
    /// `build` fails without one of the TLS features, for [`TlsMode::Insecure`] without `tls-rustls-insecure`, and if the nodes
    /// are named.
    pub fn tls(mut self, mode: TlsMode) -> Self {
        self.source.manner.tls = Some(mode);
        self
    }

    /// Sets the trusted authorities, and the client's own certificate and key, in PEM form. Default: the authorities of the
    /// system (or of the feature `tls-rustls-webpki-roots`), and no certificate of the client.
    ///
    /// They apply to all nodes and Sentinels that use TLS, named (`rediss://…`) and found ones. With `root_cert`, only those
    /// authorities are trusted. An endpoint made from a [`redis::ConnectionInfo`] with certificates keeps its own. `build` reads
    /// the certificates once: build a new client to change them. See [`guide::tls`](crate::guide::tls).
    #[cfg(any(feature = "tls-rustls", feature = "tls-native-tls"))]
    pub fn tls_certificates(mut self, certificates: redis::TlsCertificates) -> Self {
        self.tls.given = Some(certificates.into());
        self
    }

    /// Makes `build` read the certificates from files.
    pub(crate) fn tls_files(mut self, files: TlsFiles) -> Self {
        self.tls.files = Some(files);
        self
    }

    /// Sets the time between two questions of the monitor to one node, plus or minus 10 %. Default: 1 s; zero switches the
    /// monitor off, and less than 10 ms fails `build`.
    ///
    /// One thread for each node asks `INFO replication` on a connection outside the pool (`ROLE` or `HELLO` where rights or a
    /// proxy refuse that). The threads start in `build` and end with the last handle. While the master is down, all nodes are
    /// asked every 100 ms, for up to 30 s. The writes of a new client wait until the other nodes have confirmed the master.
    ///
    /// Without the monitor, only calls detect changes: later, and at their own cost. Replicas that lag permanently, or follow
    /// another master, are not detected, and the named master is not verified.
    pub fn monitor_interval(mut self, interval: Duration) -> Self {
        self.monitor_interval = interval;
        self
    }

    /// Sets how many fallback reads the master serves at once. Default: half of the pool size
    /// ([`pool_size`](Self::pool_size)), at least one.
    /// `None`: no limit; zero fails `build`.
    ///
    /// A fallback read is a read of [`ReadFrom::ReplicaPreferred`] that the master serves because no replica can. When exceeded,
    /// a read waits up to [`checkout_timeout`](Self::checkout_timeout), and then fails with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable). So the loss of all replicas does not stop the writes. Sets
    /// without replicas have no such limit.
    pub fn fallback_limit(mut self, limit: impl Into<Option<u32>>) -> Self {
        self.fallback_limit = limit.into().map_or(FallbackLimit::Off, FallbackLimit::Fixed);
        self
    }

    /// Sets how far a replica may lag behind the master. Default: 10 s. `None`: no limit; zero and more than a year fail `build`.
    ///
    /// A replica lags if it has not applied what the master wrote longer ago than this. Reads of
    /// [`ReadFrom::ReplicaPreferred`] go to replicas in sync, then to the master within its
    /// [`fallback_limit`](Self::fallback_limit), then to lagging replicas. While the master is down, no replica lags.
    ///
    /// The limit needs the monitor, which compares offsets at its interval. It guides routing, and does not bound each reply:
    /// for that, use [`max_staleness`](ReplicatedClient::max_staleness).
    pub fn lag_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.lag_limit = limit.into();
        self
    }

    /// Sets how sessions prove what they read. Default: [`SessionMode::Strict`].
    pub fn session_mode(mut self, mode: SessionMode) -> Self {
        self.session_mode = mode;
        self
    }

    /// Sets the strategy that picks one of the candidates of a read. Default: [`PeakEwma`].
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.strategy = Chosen::Made(Box::new(strategy));
        self
    }

    /// Sets the strategy by its name in a configuration.
    pub(crate) fn strategy_named(mut self, name: &str, seed: Option<u64>) -> Self {
        self.strategy = Chosen::Named { name: name.to_owned(), seed };
        self
    }

    /// Narrows the candidates of the strategy: to this zone, and to nodes within this distance of the nearest one.
    pub(crate) fn narrowed(mut self, zone: Option<String>, window: Option<Duration>) -> Self {
        self.narrowing = Narrowing { zone, window };
        self
    }

    /// Sets which roles may serve reads. Default: [`ReadFrom::ReplicaPreferred`].
    pub fn read_from(mut self, read_from: ReadFrom) -> Self {
        self.read_from = read_from;
        self
    }

    /// Declares the class of a command, in place of that in the table: for commands of your own modules. Default: no overrides.
    ///
    /// `command` is a name in any case, with or without a subcommand (`"OBJECT ENCODING"`).
    ///
    /// If a replica refuses a declared [`Read`](Classification::Read) as a write (`READONLY`), the call goes to the master,
    /// whatever the read preference, and so does each later call of that name. The event `command_reclassified` reports it once.
    /// At most 64 names are remembered.
    pub fn classify(mut self, command: &str, class: Classification) -> Self {
        self.overrides.push((command.to_owned(), class));
        self
    }

    /// Sets the name that connections give themselves (`CLIENT SETNAME`). Default: none.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    /// Sets how many connections to each node may be open at once. Default: 10; zero and more than 10 000 fail `build`.
    ///
    /// Blocking commands (`BLPOP`, `XREAD BLOCK` …) use separate connections, at most as many again. So the push that ends a
    /// block always gets a connection. If a server accepts fewer connections, the client uses those.
    pub fn pool_size(mut self, size: u32) -> Self {
        self.limits.size = size;
        self
    }

    /// Sets how many connections to one node may be opened at the same time. Default: 2; zero fails `build`.
    ///
    /// Other callers wait for a connection that is returned or ready. So a failover, after which all connections are opened anew,
    /// does not cause a storm of logins. The monitor's connections count; it waits for its turn for at most 200 ms, so that hanging
    /// handshakes do not keep it from the node. Those of [`dedicated`](ReplicatedClient::dedicated) do not count.
    pub fn max_connecting(mut self, handshakes: u32) -> Self {
        self.limits.connecting = handshakes;
        self
    }

    /// Sets how many connections to each node callers may share. Default: 1; 0: each call takes a connection of its own; more than
    /// 10 000 fail `build`.
    ///
    /// While six or more calls are in flight at a node, they share a connection beside those of the pool: one caller writes for
    /// all that are ready, and one reads. That takes a fraction of the CPU time, and no caller waits for a free connection. After
    /// 200 calls in a row with fewer than three in flight, each takes a connection of its own again.
    ///
    /// These always do: commands that block, writes that wait for replicas, calls of sessions with fences, transactions with
    /// `WATCH`, requests of more than 16 KiB, unknown commands and those of class [`Master`](crate::Classification::Master), and
    /// all calls for a second after a reply of more than 256 KiB.
    ///
    /// Each call keeps its own deadline. If a shared connection is closed, all writes that wait on it are in doubt, and the reads
    /// move on. Connections by native-tls are not shared.
    pub fn shared_connections(mut self, connections: u32) -> Self {
        self.limits.shared = connections;
        self
    }

    /// Sets how long opening a connection may take, login included. Default: 500 ms; zero fails `build`.
    ///
    /// The limit includes the TLS handshake; with native-tls, it applies to each step of the handshake. Host names are resolved
    /// on threads of their own: only the first lookup of a name counts towards this limit.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect = timeout;
        self
    }

    /// Sets how long an attempt waits for a free connection while another node could serve. Default: 250 ms; zero fails `build`.
    ///
    /// Where no other node could serve, as for every write, the call waits until its deadline, and then fails with
    /// [`ErrorKind::Checkout`](crate::ErrorKind::Checkout). A blocking command waits no longer than this, and neither does a read
    /// that waits for a permit of [`fallback_limit`](Self::fallback_limit).
    pub fn checkout_timeout(mut self, timeout: Duration) -> Self {
        self.limits.checkout = timeout;
        self
    }

    /// Sets how long an attempt waits for a reply. Default: 1 s; zero fails `build`.
    ///
    /// Blocking commands extend it by their own argument. It bounds the whole exchange, however slowly a reply arrives. When
    /// exceeded, a read goes to another node, and a write fails with [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.limits.response = timeout;
        self
    }

    /// Sets how long a call may take, including all attempts, waits and pauses. Default: 3 s; 1 ms or less fails `build`.
    ///
    /// Blocking commands extend it by their own argument. [`ReplicatedClient::deadline`] sets it for one handle.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how long a connection may be idle before it is closed. Default: 10 min; zero fails `build`. Checked every 30 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle = timeout;
        self
    }
}
