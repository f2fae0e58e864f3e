//! How a client is set up. Every setting is checked once, in [`Builder::build`].

use std::sync::Arc;
use std::time::Duration;

use crate::addr::NodeAddr;
use crate::classification::{Classification, Classifier};
use crate::client::{Options, ReplicatedClient, Shared};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::node::{Node, Role};
use crate::pool::{Housekeeping, Limits, Login, Pool};
use crate::routing::ReadFrom;
use crate::strategy::{self, RoundRobin, Strategy};
use crate::topology::{Member, Topology};

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
    masters: Vec<Endpoint>,
    replicas: Vec<Endpoint>,
    strategy: Chosen,
    read_from: ReadFrom,
    overrides: Vec<(String, Classification)>,
    client_name: Option<String>,
    limits: Limits,
    deadline: Duration,
}

/// A strategy, or the name of one that [`Builder::build`] has to know.
#[derive(Debug)]
enum Chosen {
    Made(Box<dyn Strategy>),
    Named { name: String, seed: Option<u64> },
}

const LONGEST_TIME: Duration = Duration::from_secs(366 * 86_400);
/// A server takes 10 000 clients, unless it is told otherwise.
const LARGEST_POOL: u32 = 10_000;
/// The deadline of a call, unless another is set.
const DEADLINE: Duration = Duration::from_secs(3);

impl ReplicatedClient {
    /// Starts setting up a client. Without any setting but the nodes, the documented defaults hold.
    pub fn builder() -> Builder {
        Builder {
            masters: Vec::new(),
            replicas: Vec::new(),
            strategy: Chosen::Made(Box::new(RoundRobin::new())),
            read_from: ReadFrom::default(),
            overrides: Vec::new(),
            client_name: None,
            limits: Limits::default(),
            deadline: DEADLINE,
        }
    }
}

impl Builder {
    /// Names the master. Required, exactly once.
    pub fn master(mut self, node: impl Into<Endpoint>) -> Self {
        self.masters.push(node.into());
        self
    }

    /// Adds a replica. Default: none; without replicas all reads go to the master, as far as the read preference lets them.
    pub fn replica(mut self, node: impl Into<Endpoint>) -> Self {
        self.replicas.push(node.into());
        self
    }

    /// Adds replicas.
    pub fn replicas<E: Into<Endpoint>>(mut self, nodes: impl IntoIterator<Item = E>) -> Self {
        self.replicas.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// Sets the strategy that chooses among the candidates of a read. Default: [`RoundRobin`].
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.strategy = Chosen::Made(Box::new(strategy));
        self
    }

    /// Sets the strategy by its name in a configuration.
    pub(crate) fn strategy_named(mut self, name: &str, seed: Option<u64>) -> Self {
        self.strategy = Chosen::Named { name: name.to_owned(), seed };
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
    pub fn pool_size(mut self, size: u32) -> Self {
        self.limits.size = size;
        self
    }

    /// Sets how long opening a connection may take, login included. Default: 500 ms; zero fails `build`.
    ///
    /// The limit does not cover the system's name resolution, nor the handshake of native-tls.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect = timeout;
        self
    }

    /// Sets how long an attempt waits for a free connection of a pool. Default: 250 ms; zero fails `build`.
    ///
    /// Past it, a read goes to another node, and a write fails with [`ErrorKind::Checkout`](crate::ErrorKind::Checkout).
    pub fn checkout_timeout(mut self, timeout: Duration) -> Self {
        self.limits.checkout = timeout;
        self
    }

    /// Sets how long an attempt waits for a reply. Default: 1 s; zero fails `build`.
    ///
    /// Blocking commands extend it by their own argument. The system's timers may fire up to an eighth late. Past it, a
    /// read goes to another node, and a write fails with [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
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

    /// Checks the settings and makes the client. Connects to nothing: dead nodes do not make it fail.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for an address that cannot be read, no master or several, a node
    /// that is named twice, more than 64 nodes, nodes of different databases, a size, limit or weight of zero, a limit of more than a year, more than 10 000 connections to a node, an unknown
    /// strategy, a command name that cannot be overridden, or a client name with spaces.
    pub fn build(self) -> Result<ReplicatedClient> {
        self.check_limits()?;
        let classifier = self.classifier()?;
        let endpoints = self.endpoints()?;
        let strategy = match self.strategy {
            Chosen::Made(strategy) => strategy,
            Chosen::Named { name, seed } => named(&name, seed)?,
        };
        let housekeeping = Housekeeping::new();
        let member = |(place, endpoint): (Role, Place)| -> Result<Member> {
            let mut node = Node::new(endpoint.addr.clone()).with_role(place).with_weight(endpoint.weight);
            if let Some(zone) = endpoint.zone {
                node = node.with_zone(zone);
            }
            let login = Login { info: endpoint.info, client_name: self.client_name.clone() };
            let pool = Pool::new(login, self.limits, &housekeeping).map_err(|error| error.on(&endpoint.addr))?;
            Ok(Member { node, pool, place })
        };
        let members = endpoints.into_iter().map(member).collect::<Result<Vec<_>>>()?;
        let shared = Shared::new(Topology::new(members), classifier, strategy, housekeeping);
        let options = Options { read_from: self.read_from, deadline: self.deadline };
        Ok(ReplicatedClient { shared: Arc::new(shared), options })
    }

    fn check_limits(&self) -> Result<()> {
        let Limits { size, connect, checkout, response, idle } = self.limits;
        if size == 0 {
            return Err(Error::config("pool_size is 0: no call could ever get a connection"));
        }
        let times = [
            ("connect_timeout", connect),
            ("checkout_timeout", checkout),
            ("response_timeout", response),
            ("idle_timeout", idle),
        ];
        if let Some((name, _)) =
            times.iter().chain(&[("deadline", self.deadline)]).find(|(_, time)| *time > LONGEST_TIME)
        {
            return Err(Error::config(format!("{name} is longer than a year")));
        }
        if size > LARGEST_POOL {
            return Err(Error::config(format!("pool_size is {size}: at most {LARGEST_POOL} make sense")));
        }
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(Error::config(format!("{name} is 0: it has to be longer")));
        }
        if self.deadline <= Duration::from_millis(1) {
            return Err(Error::config("deadline is 1 ms or less: no call could ever succeed"));
        }
        if self
            .client_name
            .as_deref()
            .is_some_and(|name| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Error::config("client_name is empty, or has spaces or special characters: Redis refuses that"));
        }
        Ok(())
    }

    fn classifier(&self) -> Result<Classifier> {
        self.overrides.iter().try_fold(Classifier::new(), |classifier, (command, class)| {
            classifier.with_override(command, *class).ok_or_else(|| {
                let command = command.escape_debug();
                Error::config(format!("classify: \"{command}\" cannot be declared a {class}: it takes one or two words, and a Cursor takes a known scan"))
            })
        })
    }

    /// The endpoints with their roles, the master first, all of them usable together.
    fn endpoints(&self) -> Result<Vec<(Role, Place)>> {
        match self.masters.len() {
            1 => {}
            0 => return Err(Error::config("no master: name it by master()")),
            count => return Err(Error::config(format!("{count} masters: a set has one"))),
        }
        let count = 1 + self.replicas.len();
        if count > strategy::MOST_NODES {
            return Err(Error::config(format!("{count} nodes: a set has at most {}", strategy::MOST_NODES)));
        }
        let roles = std::iter::once(Role::Master).chain(std::iter::repeat(Role::Replica));
        let mut places: Vec<(Role, Place)> = Vec::with_capacity(count);
        for (role, endpoint) in roles.zip(self.masters.iter().chain(&self.replicas)) {
            let place = Place::of(endpoint)?;
            if places.iter().any(|(_, other)| other.addr == place.addr) {
                return Err(Error::config("this node is named twice").on(&place.addr));
            }
            if places.iter().any(|(_, other)| other.database() != place.database()) {
                return Err(Error::config("this node is to use another database than the master").on(&place.addr));
            }
            places.push((role, place));
        }
        Ok(places)
    }
}

/// An endpoint whose address could be read.
struct Place {
    addr: NodeAddr,
    info: redis::ConnectionInfo,
    weight: u32,
    zone: Option<String>,
}

impl Place {
    fn of(endpoint: &Endpoint) -> Result<Self> {
        let info = endpoint
            .info
            .clone()
            .map_err(|bad| Error::config(format!("bad address \"{}\": {}", bad.shown, bad.reason)))?;
        let addr = NodeAddr::of(info.addr());
        if endpoint.weight == 0 {
            return Err(Error::config("this node has the weight 0: leave it out instead").on(&addr));
        }
        Ok(Self { addr, info, weight: endpoint.weight, zone: endpoint.zone.clone() })
    }

    fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }
}

fn named(name: &str, seed: Option<u64>) -> Result<Box<dyn Strategy>> {
    strategy::by_name(name, seed).ok_or_else(|| {
        let (name, known) = (name.escape_debug(), strategy::NAMES.join(", "));
        Error::config(format!("unknown strategy \"{name}\": expected one of {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::Builder;
    use crate::{Classification, Endpoint, ErrorKind, ReplicatedClient, strategy};
    use std::time::Duration;

    fn good() -> Builder {
        ReplicatedClient::builder().master("127.0.0.1:1").replica("127.0.0.1:2")
    }

    fn refusal(builder: Builder) -> String {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    #[test]
    fn bad_settings_are_refused_with_their_name() {
        let zero = Duration::ZERO;
        for (builder, said) in [
            (good().pool_size(0), "pool_size"),
            (good().connect_timeout(zero), "connect_timeout"),
            (good().checkout_timeout(zero), "checkout_timeout"),
            (good().response_timeout(zero), "response_timeout"),
            (good().idle_timeout(zero), "idle_timeout"),
            (good().deadline(zero), "deadline"),
            (good().deadline(Duration::MAX), "deadline is longer"),
            (good().response_timeout(Duration::MAX), "response_timeout is longer"),
            (good().pool_size(u32::MAX), "pool_size is 4294967295"),
            (good().client_name("a b"), "client_name"),
            (ReplicatedClient::builder().replica("127.0.0.1:2"), "no master"),
            (good().master("127.0.0.1:3"), "2 masters"),
            (good().replica("127.0.0.1:2"), "127.0.0.1:2: this node is named twice"),
            (good().replica("redis://127.0.0.1:1"), "127.0.0.1:1: this node is named twice"),
            (good().replica("redis://127.0.0.1:3/1"), "another database"),
            (good().replica(Endpoint::from("127.0.0.1:3").weight(0)), "weight 0"),
            (good().replicas((10..80).map(|port| format!("127.0.0.1:{port}"))), "72 nodes"),
            (good().classify("A B C", Classification::Read), "\"A B C\""),
            (good().classify("MY.SCAN", Classification::Cursor), "\"MY.SCAN\""),
            (good().strategy_named("fastest", None), "unknown strategy \"fastest\": expected one of round_robin"),
            (good().replica("redis://me:secret@"), "bad address \"redis://***@\""),
        ] {
            let refusal = refusal(builder);
            assert!(refusal.contains(said), "{refusal:?} does not say {said:?}");
            assert!(!refusal.contains("secret"), "{refusal}");
        }
    }

    #[test]
    fn every_strategy_is_known_by_its_name() {
        for name in strategy::NAMES {
            assert!(good().strategy_named(name, Some(1)).build().is_ok(), "{name}");
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let client = good().build().unwrap();
        let topology = client.shared.current();
        let limits = topology.members()[0].pool.limits();
        assert_eq!(client.options.read_from, crate::ReadFrom::ReplicaPreferred);
        assert_eq!(client.options.deadline, Duration::from_secs(3));
        assert_eq!((limits.size, limits.connect), (10, Duration::from_millis(500)));
        assert_eq!((limits.checkout, limits.response), (Duration::from_millis(250), Duration::from_secs(1)));
        assert_eq!(limits.idle, Duration::from_secs(600));
        assert!(format!("{:?}", client.shared).contains("strategy: RoundRobin"));
    }
}
