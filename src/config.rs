//! The settings that are data. The builder checks them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::limits::{FallbackData, TimeOrOff};
use self::nodes::{EndpointData, LoginData, SentinelData, TlsData};
use crate::builder::Builder;
use crate::classification::Classification;
use crate::client::ReplicatedClient;
use crate::error::Result;
use crate::selection::ReadFrom;
use crate::session::SessionMode;

mod getters;
mod limits;
mod nodes;
mod url;

/// The settings of a client as data: in any format that serde supports, or in one URL ([`from_url`](Self::from_url)).
///
/// Each field has the name and the default of a method of [`Builder`]. Only the nodes are required: `master` and `replicas`, or
/// `discover`, or `sentinel`. Times are texts such as `"250ms"` or `"1s 500ms"`; a number has no unit and is refused. Strategies
/// have their names in [`strategy`](crate::strategy), in any spelling. An unknown field is an error. `Debug` shows no passwords;
/// `Serialize` writes addresses and passwords as they were given.
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
///     sentinel = { service = "main", password = "watch", nodes = ["10.0.0.7:26379", "10.0.0.8:26379"] }
///     login = { username = "app", password = "secret", database = 0 }
/// "#)?;
/// let client = ReplicatedClient::from_config(&config)?;
/// # Ok(()) }
/// ```
///
/// # The two forms
///
/// | setting | in a file (here TOML) | in a URL |
/// |---|---|---|
/// | nodes, whose roles are found | `discover = ["a:6379", "b:6379"]` | `redis://a,b` |
/// | Sentinels and their service | `sentinel = { service = "main", nodes = ["a:26379", "b:26379"] }` | `redis-sentinel://a,b?sentinelMasterId=main`, or `master_name=main`, or `#main` |
/// | login at the Sentinels | `sentinel = { username = "u", password = "p", … }`, or a URL for each of the `nodes` | `sentinel_username=u&sentinel_password=p` |
/// | login at the nodes | `login = { username = "u", password = "p" }` | `redis://u:p@a,b`, `redis-sentinel://u:p@a,b` |
/// | database | `login = { database = 2 }` | `redis://a,b/2`, or `database=2` |
/// | protocol | `login = { protocol = "resp3" }` (default: `resp2`) | `protocol=resp3` |
/// | TLS | `tls = {}`, and `rediss://` in front of each of the Sentinels | `rediss://a,b`, `rediss-sentinel://a,b` |
/// | certificates | `tls = { ca_file = "ca.pem", cert_file = "client.pem", key_file = "client.key" }` | `ca_file=ca.pem&cert_file=client.pem&key_file=client.key` |
/// | TLS without checks | `tls = { insecure = true }` | `insecure=true`, or `rediss://a,b#insecure` |
/// | classes of commands | `classify = { "MY.LOOKUP" = "read" }` | `classify.MY.LOOKUP=read` |
/// | all other settings | `deadline = "3s"` | `deadline=3s` |
/// | named nodes with roles, weights and zones | `master`, `replicas` | not in a URL |
///
/// Both forms of the same settings make equal values.
///
/// The files of `tls` are in PEM form, and all are optional, but `cert_file` needs `key_file`. They apply to all addresses with
/// `rediss://` and to found nodes. `tls = {}` trusts the authorities of the system. See [`guide::tls`](crate::guide::tls).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
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
        let are_found = self.discover.is_some() || self.sentinel.is_some();
        // Named nodes have it in their address: `build` refuses a mode for them.
        let mode = self.tls.as_ref().filter(|tls| are_found || tls.is_insecure()).map(TlsData::mode);
        builder = set(builder, mode, Builder::tls);
        match &self.sentinel {
            Some(sentinel) => builder.sentinel(&*sentinel.service, sentinel.endpoints()),
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
mod tests;
