//! The settings that are data: read from a file, checked by the builder.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::builder::Builder;
use crate::classification::Classification;
use crate::client::ReplicatedClient;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::routing::ReadFrom;

mod time;

/// The settings of a client that are data, for any format that serde reads.
///
/// Each field is called like the method of [`Builder`] that it stands for, and has its default; only `master` is
/// required. Times are written for people: `"250ms"`, `"1s 500ms"`. Unknown fields are refused. `Debug` shows no
/// passwords; `Serialize` writes addresses as they were given.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use redis_replicated::{Config, ReplicatedClient};
///
/// let config: Config = toml::from_str(r#"
///     master = "redis://app:secret@10.0.0.1:6379/0"
///     replicas = ["redis://app:secret@10.0.0.2:6379/0", { url = "redis://app:secret@10.0.0.3:6379/0", zone = "eu-1a", weight = 2 }]
///     strategy = "least_outstanding"     # round_robin (default), random, least_outstanding
///     read_from = "replica_preferred"    # master, master_preferred, replica, replica_preferred (default), any
///     client_name = "checkout"
///     pool_size = 16
///     connect_timeout = "500ms"
///     checkout_timeout = "250ms"
///     response_timeout = "1s"
///     deadline = "3s"
///     idle_timeout = "10m"
///
///     [classify]                         # commands of your own modules
///     "MY.LOOKUP" = "read"
/// "#)?;
/// let client = ReplicatedClient::from_config(&config)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    master: EndpointData,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replicas: Vec<EndpointData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy_seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_from: Option<ReadFrom>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool_size: Option<u32>,
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    connect_timeout: Option<Duration>,
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    checkout_timeout: Option<Duration>,
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    response_timeout: Option<Duration>,
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    deadline: Option<Duration>,
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    classify: BTreeMap<String, Classification>,
}

/// A node: its address alone, or with what else is known of it.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected an address, or a table of url, weight and zone")]
enum EndpointData {
    Url(String),
    Table(EndpointTable),
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

impl Config {
    /// Returns a builder with these settings, to which a strategy of your own can be added.
    pub fn builder(&self) -> Builder {
        let mut builder = ReplicatedClient::builder().master(self.master.endpoint());
        builder = builder.replicas(self.replicas.iter().map(EndpointData::endpoint));
        if self.strategy.is_some() || self.strategy_seed.is_some() {
            let name = self.strategy.as_deref().unwrap_or("round_robin");
            builder = builder.strategy_named(name, self.strategy_seed);
        }
        builder = set(builder, self.read_from, Builder::read_from);
        builder = set(builder, self.client_name.as_deref(), Builder::client_name);
        builder = set(builder, self.pool_size, Builder::pool_size);
        builder = set(builder, self.connect_timeout, Builder::connect_timeout);
        builder = set(builder, self.checkout_timeout, Builder::checkout_timeout);
        builder = set(builder, self.response_timeout, Builder::response_timeout);
        builder = set(builder, self.deadline, Builder::deadline);
        builder = set(builder, self.idle_timeout, Builder::idle_timeout);
        self.classify.iter().fold(builder, |builder, (command, class)| builder.classify(command, *class))
    }
}

fn set<T>(builder: Builder, value: Option<T>, with: impl FnOnce(Builder, T) -> Builder) -> Builder {
    match value {
        Some(value) => with(builder, value),
        None => builder,
    }
}

impl ReplicatedClient {
    /// Makes a client with the settings of a configuration.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), as [`Builder::build`].
    pub fn from_config(config: &Config) -> Result<Self> {
        config.builder().build()
    }
}

impl EndpointData {
    fn endpoint(&self) -> Endpoint {
        match self {
            Self::Url(url) => Endpoint::from(url),
            Self::Table(EndpointTable { url, weight, zone }) => {
                let endpoint = Endpoint::from(url).weight(weight.unwrap_or(1));
                match zone {
                    Some(zone) => endpoint.zone(zone),
                    None => endpoint,
                }
            }
        }
    }
}

impl fmt::Debug for EndpointData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An endpoint shows its address only.
        fmt::Debug::fmt(&self.endpoint(), f)
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
            read_from = "any"
            client_name = "me"
            pool_size = 3
            connect_timeout = "10ms"
            checkout_timeout = "20ms"
            response_timeout = "30ms"
            deadline = "1s 500ms"
            idle_timeout = "1m"
            [classify]
            "MY.READ" = "read"
        "#;
        let config = read(text).unwrap();
        for config in [config.clone(), read(&toml::to_string(&config).unwrap()).unwrap()] {
            let client = ReplicatedClient::from_config(&config).unwrap();
            let topology = client.shared.keeper.current();
            let member = &topology.members()[2];
            let limits = member.pool.limits();
            assert_eq!((member.node.weight(), member.node.zone()), (3, Some("b")));
            assert_eq!(
                (client.options.read_from, client.options.deadline),
                (ReadFrom::Any, Duration::from_millis(1500))
            );
            let times = [limits.connect, limits.checkout, limits.response, limits.idle];
            assert_eq!(times.map(|time| time.as_millis()), [10, 20, 30, 60_000]);
            assert_eq!(limits.size, 3);
            assert!(format!("{:?}", client.shared).contains("strategy: Random"));
            assert_eq!(client.explain(&redis::cmd("MY.READ")).classification(), crate::Classification::Read);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("master = '127.0.0.1:1'\npool_sise = 3", "pool_sise"),
            ("replicas = []", "master"),
            ("master = '127.0.0.1:1'\ndeadline = 'soon'", "deadline"),
            ("master = '127.0.0.1:1'\ndeadline = 3", "deadline"),
            ("master = '127.0.0.1:1'\nread_from = 'secondary'", "not a read preference"),
            ("master = { adress = '127.0.0.1:1' }", "table of url, weight and zone"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        }
        let config = read("master = '127.0.0.1:1'\nstrategy = 'fastest'").unwrap();
        let error = ReplicatedClient::from_config(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("fastest"));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let config = read("master = 'redis://me:secret@127.0.0.1:1'\nreplicas = ['me:secret@nowhere']").unwrap();
        assert!(!format!("{config:?}").contains("secret"));
        assert!(!format!("{:?}", config.builder()).contains("secret"));
        assert!(!format!("{:?}", config.builder().build().unwrap_err()).contains("secret"));
    }
}
