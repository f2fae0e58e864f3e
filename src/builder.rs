//! How a client is set up. Every setting is checked once, in [`Builder::build`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisConnectionInfo;

use self::check::check;
use self::chosen::{Chosen, Narrowing};
use self::source::Source;
use self::tls::TlsSource;
use crate::addr::NodeAddr;
use crate::call::{CallOptions, Router};
use crate::classification::{Classification, Classifier};
use crate::client::{Options, ReplicatedClient, Shared};
use crate::endpoint::{AddressMap, Endpoint};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, cannot_start};
use crate::pool::{Housekeeping, Limits, Means, Resolver};
use crate::retry::Budget;
use crate::selection::{Permits, ReadFrom, Selector};
use crate::session::SessionMode;
use crate::strategy::{PeakEwma, Strategy};
use crate::topology::{ServerSettings, TopologyProvider, TopologyStore};

mod check;
mod chosen;
mod source;
mod tls;

pub(crate) use self::tls::TlsFiles;

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
    source: Source,
    tls: TlsSource,
    strategy: Chosen,
    narrowing: Narrowing,
    read_from: ReadFrom,
    overrides: Vec<(String, Classification)>,
    client_name: Option<String>,
    limits: Limits,
    deadline: Duration,
    monitor_interval: Duration,
    fallback_limit: FallbackLimit,
    session_mode: SessionMode,
    /// `None`: replicas may lag as far as they like.
    lag_limit: Option<Duration>,
    /// Looks host names up for the client.
    pub(crate) resolver: Resolver,
}

/// How many fallback reads there may be at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FallbackLimit {
    HalfOfPool,
    Fixed(u32),
    Off,
}

/// The deadline of a call, unless another is set.
const DEADLINE: Duration = Duration::from_secs(3);
const MONITOR_INTERVAL: Duration = Duration::from_secs(1);
const LAG_LIMIT: Duration = Duration::from_secs(10);

impl ReplicatedClient {
    /// Starts setting up a client. Without any setting but the nodes, the documented defaults hold.
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
            resolver: Resolver::new(),
        }
    }
}

impl Builder {
    /// Names the master, exactly once. Its role is a first guess: if another of the named nodes turns out to be the master,
    /// writes go there.
    ///
    /// The nodes of a set are either named by this and by [`replica`](Self::replica), or found by one of
    /// [`discover`](Self::discover), [`sentinel`](Self::sentinel) and [`provider`](Self::provider).
    pub fn master(mut self, node: impl Into<Endpoint>) -> Self {
        self.source.masters.push(node.into());
        self
    }

    /// Adds a replica. Default: none; without replicas all reads go to the master, as far as the read preference lets them.
    ///
    /// A host name that stands for several addresses, as that of a headless service, is as many replicas; it is looked up
    /// again every 5 s, and after errors.
    pub fn replica(mut self, node: impl Into<Endpoint>) -> Self {
        self.source.replicas.push(node.into());
        self
    }

    /// Adds replicas.
    pub fn replicas<E: Into<Endpoint>>(mut self, nodes: impl IntoIterator<Item = E>) -> Self {
        self.source.replicas.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// Finds the set by asking these nodes, and those that they name: any node of the set will do.
    ///
    /// A host name that stands for several addresses is as many seeds; nodes that were found are seeds as well. All have to
    /// use one database.
    ///
    /// Found nodes are reached as the first seed is (user, password, database, TLS, protocol), unless
    /// [`login`](Self::login) or [`tls`](Self::tls) say otherwise. The set is looked at again every 5 s, and after errors.
    pub fn discover<E: Into<Endpoint>>(mut self, seeds: impl IntoIterator<Item = E>) -> Self {
        self.source.seeds.get_or_insert_default().extend(seeds.into_iter().map(Into::into));
        self
    }

    /// Finds the set by asking Sentinels for the service of this name.
    ///
    /// All of them are asked every second, after errors and when one of them tells of a change; the answer of the highest
    /// epoch counts, once the node that it names says itself that it is a master. The endpoints of the Sentinels have users,
    /// passwords and TLS of their own; user, password, database and protocol of the nodes are given by
    /// [`login`](Self::login), their TLS by [`tls`](Self::tls). A step of talking to a Sentinel may take as long as
    /// [`connect_timeout`](Self::connect_timeout); one that hangs delays nobody. A host name that stands for several
    /// addresses is as many Sentinels. Replicas that no Sentinel reaches belong to the set only as long as the client reached
    /// them in the last 30 s, and again as soon as a Sentinel does. With the monitor switched off, they are
    /// asked after faults only.
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

    /// Translates the addresses that servers and Sentinels give for each other into those that can be reached from here:
    /// behind NAT, in containers, for the names in TLS certificates. Default: as they are.
    pub fn map_address(mut self, map: impl Fn(&NodeAddr) -> NodeAddr + Send + Sync + 'static) -> Self {
        self.source.map = AddressMap(Arc::new(map));
        self
    }

    /// Sets user, password, database and protocol for nodes that are found rather than named. Default: those of the first
    /// seed of [`discover`](Self::discover); none for other sources.
    pub fn login(mut self, login: RedisConnectionInfo) -> Self {
        self.source.manner.login = Some(login);
        self
    }

    /// Sets how often each node is asked for its state, give or take a tenth. Default: 1 s; zero switches the monitor off.
    ///
    /// One thread for each node asks `INFO replication` (or `ROLE`, or `HELLO`, where rights or a proxy refuse that), on a
    /// connection outside the pool; they start in `build` and end with the last handle. While the master is out, all are
    /// asked every 100 ms, for 30 s at most. Writes of a new client wait until it is known that nobody else is the master.
    ///
    /// Without a monitor, the calls themselves notice what changed, later and at their own cost: replicas that lag behind
    /// for good, or follow somebody else, are not noticed, and the named master is believed.
    pub fn monitor_interval(mut self, interval: Duration) -> Self {
        self.monitor_interval = interval;
        self
    }

    /// Sets how many reads at once the master serves for want of replicas; a further one waits up to
    /// [`checkout_timeout`](Self::checkout_timeout), then fails with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable). `None`: no limit. Default: half of the pool size, at
    /// least one; zero fails `build`.
    ///
    /// It holds for [`ReadFrom::ReplicaPreferred`] in a set that has replicas: so that the loss of all replicas does not
    /// take the writes along.
    pub fn fallback_limit(mut self, limit: impl Into<Option<u32>>) -> Self {
        self.fallback_limit = limit.into().map_or(FallbackLimit::Off, FallbackLimit::Fixed);
        self
    }

    /// Sets how far a replica may lag behind the master before reads go elsewhere: it lags if it has not applied what the
    /// master wrote longer ago than this. `None`: as far as it likes. Default: 10 s; zero and more than a year fail `build`.
    ///
    /// Reads of [`ReadFrom::ReplicaPreferred`] go to replicas in sync, then to the master within its
    /// [`fallback_limit`](Self::fallback_limit), then to lagging replicas. The limit needs the monitor, which compares
    /// offsets at its interval: it is a bound for routing, not for each reply, as
    /// [`max_staleness`](ReplicatedClient::max_staleness) is. While the master is out, nobody lags.
    pub fn lag_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.lag_limit = limit.into();
        self
    }

    /// Sets how sessions prove what they read. Default: [`SessionMode::Strict`].
    pub fn session_mode(mut self, mode: SessionMode) -> Self {
        self.session_mode = mode;
        self
    }

    /// Sets the strategy that chooses among the candidates of a read. Default: [`PeakEwma`].
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.strategy = Chosen::Made(Box::new(strategy));
        self
    }

    /// Sets the strategy by its name in a configuration.
    pub(crate) fn strategy_named(mut self, name: &str, seed: Option<u64>) -> Self {
        self.strategy = Chosen::Named { name: name.to_owned(), seed };
        self
    }

    /// Has the strategy of a configuration choose in this zone, and among nodes that are this much farther than the nearest.
    pub(crate) fn narrowed(mut self, zone: Option<String>, window: Option<Duration>) -> Self {
        self.narrowing = Narrowing { zone, window };
        self
    }

    /// Sets which roles may serve reads. Default: [`ReadFrom::ReplicaPreferred`].
    pub fn read_from(mut self, read_from: ReadFrom) -> Self {
        self.read_from = read_from;
        self
    }

    /// Declares what a command is, whatever the table says: for commands of your own modules.
    ///
    /// `command` is a name in any case, with or without a subcommand (`"OBJECT ENCODING"`). Default: no overrides.
    ///
    /// Where a replica refuses as a write (`READONLY`) what is declared a [`Read`](Classification::Read), the server is
    /// right: that call goes to the master, whatever the read preference, and so does each later call of that name. The event
    /// `command_reclassified` says so once. At most 64 names are remembered.
    pub fn classify(mut self, command: &str, class: Classification) -> Self {
        self.overrides.push((command.to_owned(), class));
        self
    }

    /// Sets the name that connections give themselves (`CLIENT SETNAME`). Default: none.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    /// Sets how many connections to each node may be open at once. Default: 10; zero fails `build`.
    ///
    /// Blocking commands (`BLPOP`, `XREAD BLOCK` …) take connections of their own, at most as many again: so the push that
    /// wakes them always gets one. A server that takes fewer connections than this is used with what it takes.
    pub fn pool_size(mut self, size: u32) -> Self {
        self.limits.size = size;
        self
    }

    /// Sets how many connections to one node may be opened at a time, the monitor's included, those of
    /// [`dedicated`](ReplicatedClient::dedicated) not. Default: 2; zero fails `build`.
    ///
    /// Callers that need a connection meanwhile wait for one that comes back or is ready: so a failover, after which all
    /// connections are opened anew, does not end in a storm of logins.
    pub fn max_connecting(mut self, handshakes: u32) -> Self {
        self.limits.connecting = handshakes;
        self
    }

    /// Sets how long opening a connection may take, login included. Default: 500 ms; zero fails `build`.
    ///
    /// Host names are looked up beside the calls; a name that was never looked up is waited for within this limit. It
    /// bounds a TLS handshake as well, but that of native-tls only step by step.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect = timeout;
        self
    }

    /// Sets how long an attempt waits for a free connection while there is another node to turn to. Default: 250 ms; zero
    /// fails `build`.
    ///
    /// Where there is none, as for every write, the call waits until its deadline, and then fails with
    /// [`ErrorKind::Checkout`](crate::ErrorKind::Checkout). A blocking command waits no longer than this. So does a read that
    /// only the master could serve, while that has enough of such reads ([`fallback_limit`](Self::fallback_limit)).
    pub fn checkout_timeout(mut self, timeout: Duration) -> Self {
        self.limits.checkout = timeout;
        self
    }

    /// Sets how long an attempt waits for a reply. Default: 1 s; zero fails `build`.
    ///
    /// Blocking commands extend it by their own argument. It bounds the whole exchange, however slowly a reply drips in. When
    /// exceeded, a read goes to another node, and a write fails with [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.limits.response = timeout;
        self
    }

    /// Sets when a call returns at the latest, all attempts, waits and pauses included. Default: 3 s; 1 ms or less fails
    /// `build`.
    ///
    /// Blocking commands extend it by their own argument. [`ReplicatedClient::deadline`] sets it for one handle.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets after how long an idle connection is closed. Default: 10 min; zero fails `build`. Looked after every 30 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle = timeout;
        self
    }

    /// Checks the settings and makes the client. Connects to nothing: dead nodes do not make it fail, nor take time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for an address that cannot be read, no master or several, nodes from
    /// two sources, a login or TLS mode for nodes that are named, a node that is named twice, more than 64 nodes, nodes of different databases, a size, limit or weight of
    /// zero, a limit of more than a year, more than 10 000 connections to a node, an unknown strategy, a command name that
    /// cannot be overridden, a client name with spaces, TLS without the feature or the crypto provider that it needs,
    /// certificates that cannot be read, or a system that lets no thread start.
    pub fn build(self) -> Result<ReplicatedClient> {
        check(&self)?;
        let classifier = self.classifier()?;
        let means = Means { resolver: self.resolver, tls: self.tls.read()? };
        let supply = self.source.supply(self.limits, &means)?;
        let strategy = self.narrowing.around(self.strategy.made()?, self.limits.size);
        let server_settings = ServerSettings {
            limits: self.limits,
            client_name: self.client_name,
            means,
            housekeeping: Housekeeping::start().map_err(|cause| cannot_start(&cause))?,
            is_monitored: !self.monitor_interval.is_zero(),
            is_timed: strategy.needs_latency(),
            map: supply.map,
            lag_limit: self.lag_limit,
        };
        let limit = match self.fallback_limit {
            FallbackLimit::HalfOfPool => Some((self.limits.size / 2).max(1)),
            FallbackLimit::Fixed(limit) => Some(limit),
            FallbackLimit::Off => None,
        };
        let store = TopologyStore::new(&supply.first, supply.manner, server_settings, self.monitor_interval)?;
        let store = Arc::new(store);
        let monitor = Monitor::new(Arc::clone(&store), supply.provider);
        monitor.start(supply.asks_provider)?;
        let budget = Budget::new(Instant::now());
        let permits = Permits::new(limit, self.limits.checkout);
        let (session_mode, fixed) = (self.session_mode, supply.fixed);
        let selector = Selector { strategy, permits };
        let shared = Shared { router: Router { store, monitor, classifier, selector, budget }, session_mode, fixed };
        let call = CallOptions { read_from: self.read_from, deadline: self.deadline };
        let options = Options { call, asked: None };
        Ok(ReplicatedClient { shared: Arc::new(shared), options })
    }

    fn classifier(&self) -> Result<Classifier> {
        self.overrides.iter().try_fold(Classifier::new(), |classifier, (command, class)| {
            classifier.with_override(command, *class).ok_or_else(|| {
                let command = command.escape_debug();
                Error::config(format!("classify: \"{command}\" cannot be declared a {class}: it takes one or two words, and a Cursor takes a known scan"))
            })
        })
    }
}

#[cfg(test)]
mod tests;
