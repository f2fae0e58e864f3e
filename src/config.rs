//! The settings that are data. The builder checks them.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::TlsMode;
use serde::{Deserialize, Serialize};

use self::limits::{FallbackData, TimeOrOff};
use self::nodes::{EndpointData, LoginData, SentinelData, TlsData};
use crate::builder::Builder;
use crate::classification::Classification;
use crate::client::ReplicatedClient;
use crate::error::Result;
use crate::selection::ReadFrom;
use crate::session::SessionMode;

mod limits;
mod nodes;

/// The settings of a client as data, in any format that serde supports.
///
/// Each field has the name and the default of a method of [`Builder`]. Only the nodes are required: `master` and `replicas`, or
/// `discover`, or `sentinel`. Times are texts such as `"250ms"` or `"1s 500ms"`. Strategies have their names in
/// [`strategy`](crate::strategy), in any spelling. An unknown field is an error. `Debug` shows no passwords; `Serialize` writes
/// addresses and passwords as they were given.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use redis_replicated::{Config, ReplicatedClient};
///
/// let config: Config = toml::from_str(r#"
///     master = "redis://app:secret@10.0.0.1:6379/0"
///     replicas = ["redis://app:secret@10.0.0.2:6379/0", { url = "redis://app:secret@10.0.0.3:6379/0", zone = "eu-1a", weight = 2 }]
///     strategy = "round_robin"           # peak_ewma (default), random, least_outstanding, weighted_round_robin, …
///     zone = "eu-1a"                     # this zone first (ZoneAffinity); default: none
///     latency_window = "15ms"            # near nodes first (LatencyWindow); default: none
///     read_from = "replica_preferred"    # master, master_preferred, replica, replica_preferred (default), any
///     client_name = "checkout"           # default: none
///     pool_size = 16                     # default: 10
///     max_connecting = 2                 # connections to one node that are opened at the same time
///     shared_connections = 1             # per node, for many callers at a time; 0: none
///     connect_timeout = "500ms"
///     checkout_timeout = "250ms"
///     response_timeout = "1s"
///     deadline = "3s"
///     idle_timeout = "10m"
///     monitor_interval = "1s"            # "0s" switches the monitor off
///     fallback_limit = 8                 # or "off"; half of pool_size (default)
///     session_mode = "strict"            # strict (default), fence
///     lag_limit = "10s"                  # or "off"
///     slow_call = "100ms"                # calls that take longer are logged; default: none
///
///     [classify]                         # commands of your own modules
///     "MY.LOOKUP" = "read"
/// "#)?;
/// let client = ReplicatedClient::from_config(&config)?;
/// # Ok(()) }
/// ```
///
/// The nodes of a found set use `login`. Without Sentinels, `discover = ["10.0.0.1:6379"]` finds the set:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use redis_replicated::{Config, ReplicatedClient};
/// let config: Config = toml::from_str(r#"
///     sentinel = { service = "main", nodes = ["redis://:watch@10.0.0.7:26379", "redis://:watch@10.0.0.8:26379"] }
///     login = { username = "app", password = "secret", database = 0 }
/// "#)?;
/// let client = ReplicatedClient::from_config(&config)?;
/// # Ok(()) }
/// ```
///
/// `tls = { ca_file = "ca.pem", cert_file = "client.pem", key_file = "client.key" }` sets the trusted authorities and the
/// client's own certificate, for all addresses with `rediss://`. Found nodes then use TLS. All three are optional, but
/// `cert_file` needs `key_file`. `tls = {}` trusts the authorities of the system. See [`guide::tls`](crate::guide::tls).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<EndpointData>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replicas: Vec<EndpointData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    discover: Option<Vec<EndpointData>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sentinel: Option<SentinelData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login: Option<LoginData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<TlsData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy_seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, with = "limits", skip_serializing_if = "Option::is_none")]
    latency_window: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_from: Option<ReadFrom>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool_size: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_connecting: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared_connections: Option<u32>,
    #[serde(default, with = "limits", skip_serializing_if = "Option::is_none")]
    connect_timeout: Option<Duration>,
    #[serde(default, with = "limits", skip_serializing_if = "Option::is_none")]
    checkout_timeout: Option<Duration>,
    #[serde(default, with = "limits", skip_serializing_if = "Option::is_none")]
    response_timeout: Option<Duration>,
    #[serde(default, with = "limits", skip_serializing_if = "Option::is_none")]
    deadline: Option<Duration>,
    #[serde(default, with = "limits", skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<Duration>,
    #[serde(default, with = "limits", skip_serializing_if = "Option::is_none")]
    monitor_interval: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fallback_limit: Option<FallbackData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_mode: Option<SessionMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lag_limit: Option<TimeOrOff>,
    #[serde(default, with = "limits", skip_serializing_if = "Option::is_none")]
    slow_call: Option<Duration>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    classify: BTreeMap<String, Classification>,
}

impl Config {
    /// Returns a builder with these settings. A strategy or a provider of your own can be added to it.
    pub fn builder(&self) -> Builder {
        let mut builder = self.nodes();
        if self.strategy.is_some() || self.strategy_seed.is_some() {
            let name = self.strategy.as_deref().unwrap_or("peak_ewma");
            builder = builder.strategy_named(name, self.strategy_seed);
        }
        builder = builder.narrowed(self.zone.clone(), self.latency_window);
        builder = set(builder, self.read_from, Builder::read_from);
        builder = set(builder, self.client_name.as_deref(), Builder::client_name);
        builder = set(builder, self.pool_size, Builder::pool_size);
        builder = set(builder, self.max_connecting, Builder::max_connecting);
        builder = set(builder, self.shared_connections, Builder::shared_connections);
        builder = set(builder, self.connect_timeout, Builder::connect_timeout);
        builder = set(builder, self.checkout_timeout, Builder::checkout_timeout);
        builder = set(builder, self.response_timeout, Builder::response_timeout);
        builder = set(builder, self.deadline, Builder::deadline);
        builder = set(builder, self.idle_timeout, Builder::idle_timeout);
        builder = set(builder, self.monitor_interval, Builder::monitor_interval);
        builder = set(builder, self.fallback_limit, |builder, limit| builder.fallback_limit(limit.reads()));
        builder = set(builder, self.session_mode, Builder::session_mode);
        builder = set(builder, self.lag_limit, |builder, limit| builder.lag_limit(limit.0));
        builder = set(builder, self.slow_call, Builder::slow_call);
        self.classify.iter().fold(builder, |builder, (command, class)| builder.classify(command, *class))
    }

    /// Returns a builder with the settings about the nodes.
    fn nodes(&self) -> Builder {
        let all = |nodes: &[EndpointData]| nodes.iter().map(EndpointData::endpoint).collect::<Vec<_>>();
        let mut builder = ReplicatedClient::builder().replicas(all(&self.replicas));
        builder = set(builder, self.master.as_ref().map(EndpointData::endpoint), Builder::master);
        builder = set(builder, self.discover.as_deref().map(all), Builder::discover);
        builder = set(builder, self.login.as_ref().map(LoginData::info), Builder::login);
        builder = set(builder, self.tls.as_ref().map(TlsData::files), Builder::tls_files);
        if self.tls.is_some() && (self.discover.is_some() || self.sentinel.is_some()) {
            builder = builder.tls(TlsMode::Secure);
        }
        match &self.sentinel {
            Some(sentinel) => builder.sentinel(&*sentinel.service, all(&sentinel.nodes)),
            None => builder,
        }
    }
}

fn set<T>(builder: Builder, value: Option<T>, with: impl FnOnce(Builder, T) -> Builder) -> Builder {
    match value {
        Some(value) => with(builder, value),
        None => builder,
    }
}

impl ReplicatedClient {
    /// Returns a client with the settings of a configuration, which any format of serde can hold.
    ///
    /// ```
    /// use redis_replicated::{Config, ReplicatedClient};
    ///
    /// let text = r#"
    ///     master = "redis://10.0.0.1:6379"
    ///     replicas = ["redis://10.0.0.2:6379"]
    /// "#;
    /// let config: Config = toml::from_str(text)?;
    /// let client = ReplicatedClient::from_config(&config)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Builder::build`].
    pub fn from_config(config: &Config) -> Result<Self> {
        config.builder().build()
    }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use crate::{ErrorKind, ReadFrom, ReplicatedClient};
    use std::time::Duration;

    fn read(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn everything_set_arrives_in_the_client() {
        let text = r#"
            master = "127.0.0.1:1"
            replicas = ["127.0.0.1:2", { url = "127.0.0.1:3", weight = 3, zone = "b" }]
            strategy = "random"
            strategy_seed = 7
            zone = "b"
            latency_window = "2ms"
            read_from = "any"
            client_name = "me"
            pool_size = 3
            max_connecting = 5
            connect_timeout = "10ms"
            checkout_timeout = "20ms"
            response_timeout = "30ms"
            deadline = "1s 500ms"
            idle_timeout = "1m"
            monitor_interval = "2m"
            fallback_limit = 2
            session_mode = "fence"
            lag_limit = "4s"
            slow_call = "80ms"
            [classify]
            "MY.READ" = "read"
        "#;
        let config = read(text).unwrap();
        for config in [config.clone(), read(&toml::to_string(&config).unwrap()).unwrap()] {
            let client = ReplicatedClient::from_config(&config).unwrap();
            let topology = client.router().store.current();
            let server = &topology.servers()[2];
            let limits = server.pool.limits();
            assert_eq!((server.node.weight(), server.node.zone()), (3, Some("b")));
            assert_eq!(
                (client.options.call.read_from, client.options.call.deadline),
                (ReadFrom::Any, Duration::from_millis(1500))
            );
            let times = [limits.connect, limits.checkout, limits.response, limits.idle];
            assert_eq!(times.map(|time| time.as_millis()), [10, 20, 30, 60_000]);
            assert_eq!((limits.size, limits.connecting), (3, 5));
            assert!(format!("{:?}", client.shared).contains("strategy: ZoneAffinity { zone: \"b\""));
            assert!(format!("{:?}", client.router().store).contains("interval: 120s"));
            assert!(format!("{:?}", client.shared).contains("limit: 3"), "the own zone is saturated with its pools");
            assert_eq!(client.shared.session_mode, crate::SessionMode::Fence);
            assert_eq!(client.router().store.lag_limit(), Some(Duration::from_secs(4)));
            assert!(format!("{:?}", client.router().selector.permits).contains("limit: Some(2)"));
            assert_eq!(client.explain(&redis::cmd("MY.READ")).classification(), crate::Classification::Read);
        }
    }

    #[test]
    fn sets_that_are_found_need_no_master() {
        let sentinel = r#"
            monitor_interval = "0s"
            fallback_limit = "off"
            lag_limit = "off"
            [sentinel]
            service = "main"
            nodes = ["127.0.0.1:1", { url = "redis://:watch@127.0.0.1:2" }]
            [login]
            username = "me"
            password = "secret"
            database = 2
        "#;
        let discover = "discover = ['127.0.0.1:3']\nlogin = { password = 'secret', database = 2 }";
        for (text, said) in [(sentinel, ["main", "127.0.0.1:2"]), (discover, ["Discovery", "127.0.0.1:3"])] {
            let config = read(text).unwrap();
            for config in [config.clone(), read(&toml::to_string(&config).unwrap()).unwrap()] {
                assert_eq!(config.login.as_ref().unwrap().info().db(), 2);
                assert_eq!(config.login.as_ref().unwrap().info().password(), Some("secret"));
                let client = ReplicatedClient::from_config(&config).unwrap();
                let shown = format!("{:?} {:?}", client.router().monitor, client.router().selector.permits);
                assert!(said.iter().all(|said| shown.contains(said)), "{shown}");
                assert_eq!(shown.contains("limit: None"), text == sentinel, "{shown}");
                assert_eq!(client.router().store.is_monitored(), text == discover);
                assert_eq!(client.router().store.lag_limit().is_some(), text == discover);
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("master = '127.0.0.1:1'\npool_sise = 3", "pool_sise"),
            ("sentinel = { service = 'main' }", "nodes"),
            ("login = { pasword = 'x' }", "pasword"),
            ("tls = { ca = 'x' }", "ca_file"),
            ("fallback_limit = 'none'", "a number, or \"off\""),
            ("fallback_limit = -1", "a number, or \"off\""),
            ("monitor_interval = 1", "monitor_interval"),
            ("master = '127.0.0.1:1'\ndeadline = 'soon'", "deadline"),
            ("lag_limit = 'none'", "or \"off\""),
            ("master = '127.0.0.1:1'\ndeadline = 3", "deadline"),
            ("master = '127.0.0.1:1'\nread_from = 'secondary'", "not a read preference"),
            ("master = { adress = '127.0.0.1:1' }", "table of url, weight and zone"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        }
        for (text, said) in [
            ("master = '127.0.0.1:1'\nstrategy = 'fastest'", "fastest"),
            ("replicas = ['127.0.0.1:1']", "no master"),
            ("", "no master"),
            ("discover = []", "discover: no node"),
            ("sentinel = { service = '', nodes = ['127.0.0.1:1'] }", "service is empty"),
            ("sentinel = { service = 'main', nodes = [] }", "no Sentinel is named"),
            ("master = '127.0.0.1:1'\ndiscover = ['127.0.0.1:1']", "two sources"),
            ("master = '127.0.0.1:1'\nfallback_limit = 0", "fallback_limit is 0"),
            ("master = '127.0.0.1:1'\nmax_connecting = 0", "max_connecting is 0"),
            ("master = '127.0.0.1:1'\nlag_limit = '0s'", "lag_limit is 0"),
            ("master = '127.0.0.1:1'\nslow_call = '0s'", "slow_call is 0"),
            ("master = '127.0.0.1:1'\nmonitor_interval = '1ms'", "monitor_interval is less"),
            ("master = '127.0.0.1:1'\ntls = { ca_file = '/none/ca.pem' }", "tls"),
            ("master = '127.0.0.1:1'\nlogin = { password = 'x' }", "login"),
        ] {
            let error = ReplicatedClient::from_config(&read(text).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(said), "{error} does not say {said:?}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let config = read("master = 'redis://me:secret@127.0.0.1:1'\nreplicas = ['me:secret@nowhere']").unwrap();
        assert!(!format!("{config:?}").contains("secret"));
        assert!(!format!("{:?}", config.builder()).contains("secret"));
        assert!(!format!("{:?}", config.builder().build().unwrap_err()).contains("secret"));
        let login = "login = { username = 'me', password = 'secret' }";
        for found in [
            "discover = ['redis://:secret@127.0.0.1:1']",
            "sentinel = { service = 'main', nodes = ['redis://:secret@127.0.0.1:1'] }",
        ] {
            let config = read(&format!("{found}\n{login}")).unwrap();
            assert!(!format!("{config:?} {:?}", config.builder()).contains("secret"), "{config:?}");
            let client = config.builder().build().unwrap();
            assert!(!format!("{client:?} {:?}", client.shared).contains("secret"));
        }
    }
}
