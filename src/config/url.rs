//! A whole configuration in one URL.

use serde::Deserialize;

use self::parts::{Parts, Scheme};
use self::tree::{Flaw, Tree, fields_of};
use self::words::table_of;
use super::Config;
use crate::client::ReplicatedClient;
use crate::error::{Error, Result};

mod parts;
mod tree;
mod words;

/// The tables that a URL fills.
const SENTINEL: &str = "sentinel";
const LOGIN: &str = "login";
const TLS: &str = "tls";

impl Config {
    /// Reads all settings from one URL.
    ///
    /// ```
    /// use redis_replicated::{Config, ReadFrom};
    ///
    /// let config = Config::from_url("redis://app:s%40fe@10.0.0.1,10.0.0.2:6380/2?read_from=any&deadline=2s&pool_size=16")?;
    /// assert_eq!(config.read_from(), Some(ReadFrom::Any));
    /// assert_eq!(config, toml::from_str(r#"
    ///     discover = ["10.0.0.1:6379", "10.0.0.2:6380"]
    ///     login = { username = "app", password = "s@fe", database = 2 }
    ///     read_from = "any"
    ///     deadline = "2s"
    ///     pool_size = 16
    /// "#)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// ```text
    /// redis[s]://[[user]:password@]node[:6379][,node[:6379] …][/database][?setting=value[&setting=value …]]
    /// redis[s]-sentinel://[[user]:password@]sentinel[:26379][,sentinel[:26379] …][/database]?sentinelMasterId=service[&…]
    /// ```
    ///
    /// The first form names any nodes of the set, in any order, and the client finds the master and the other nodes, as
    /// [`discover`](crate::Builder::discover) does. `valkey://` and `valkeys://` mean the same. The second form is that of Lettuce:
    /// it names [Sentinels](crate::Builder::sentinel). An IPv6 address stands in brackets. The words after `?` are the names in
    /// `Config`, in any spelling (`client_name` or `clientName`); the [table](Config#the-two-forms) shows both forms of each
    /// setting.
    ///
    /// The login in front of the nodes is that of the nodes, also where the URL names Sentinels. `sentinel_username` and
    /// `sentinel_password` are the login of the Sentinels; without them, the client does not log in there. The `s` in `rediss` is
    /// TLS for Sentinels and nodes alike.
    ///
    /// In users, passwords and values, special characters are percent-encoded: `%` is `%25`, `@` is `%40`, `#` is `%23`, `/` is
    /// `%2F`, `?` is `%3F`, and `&` is `%26`. A URL with a password is a secret: neither `Debug` of the configuration nor an error
    /// shows the password.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), for a URL of another form, a character that has to be encoded, a node that
    /// is named twice, a setting that is unknown or stands there twice, or a value that cannot be read. Values that can be read but
    /// cannot work are reported by [`Builder::build`](crate::Builder::build).
    pub fn from_url(url: &str) -> Result<Self> {
        let refused = |Flaw(text)| Error::config(format!("URL: {text}"));
        let tree = tree_of(url).map_err(refused)?;
        let mut config = Self::deserialize(tree).map_err(refused)?;
        // `/0` is the same as no database.
        config.login = config.login.filter(|login| *login != Default::default());
        Ok(config)
    }
}

impl ReplicatedClient {
    /// Returns a client with the settings of one URL. See [`Config::from_url`].
    ///
    /// ```
    /// use redis_replicated::ReplicatedClient;
    ///
    /// // Any nodes of the set, in any order:
    /// let client = ReplicatedClient::open("redis://app:secret@10.0.0.1:6379,10.0.0.2:6379/0?read_from=replica_preferred")?;
    /// // Sentinels:
    /// let client = ReplicatedClient::open("redis-sentinel://app:secret@10.0.0.7,10.0.0.8/0?sentinelMasterId=main")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Config::from_url`] and [`Builder::build`](crate::Builder::build).
    pub fn open(url: &str) -> Result<Self> {
        Self::from_config(&Config::from_url(url)?)
    }
}

/// Returns the URL as the tables that a file would have.
fn tree_of(url: &str) -> Result<Tree, Flaw> {
    let Parts { scheme, login, nodes, database, query, fragment } = Parts::of(url)?;
    let mut tree = table_of(query, fields_of::<Config>())?;
    if let Some((username, password)) = login {
        if !username.is_empty() {
            tree.put(LOGIN, "username", "user", username)?;
        }
        tree.put(LOGIN, "password", "password", password)?;
    }
    if let Some(database) = database {
        tree.put(LOGIN, "database", "database", database)?;
    }
    match (fragment, scheme.has_sentinels, scheme.has_tls) {
        (None, _, _) => {}
        // It may be the rest of the password.
        (Some(_), true, _) if tree.has(SENTINEL, "password") => {
            return Err(Flaw::of(
                "\"#\" separates the name of the service: within sentinel_password write %23, and name the service by sentinelMasterId",
            ));
        }
        (Some(service), true, _) => tree.put(SENTINEL, "service", "the service", service)?,
        (Some(fragment), false, true) if fragment == "insecure" => {
            tree.put(TLS, "insecure", "insecure", "true".to_owned())?
        }
        (Some(_), false, _) => {
            return Err(Flaw::of(
                "\"#\" separates the last part, which can only be #insecure with rediss://: within a password or a value write %23",
            ));
        }
    }
    if scheme.has_tls {
        tree.table(TLS);
    } else if tree.contains(TLS) {
        return Err(Flaw::of(
            "ca_file, cert_file, key_file and insecure need TLS: write rediss:// or rediss-sentinel://",
        ));
    }
    with_nodes(tree, nodes, scheme)
}

fn with_nodes(mut tree: Tree, nodes: Vec<String>, scheme: Scheme) -> Result<Tree, Flaw> {
    if !scheme.has_sentinels {
        if tree.contains(SENTINEL) {
            return Err(Flaw::of(
                "sentinelMasterId, sentinel_username and sentinel_password need redis-sentinel:// or rediss-sentinel://",
            ));
        }
        tree.insert("discover", Tree::list(nodes));
        return Ok(tree);
    }
    if !tree.has(SENTINEL, "service") {
        return Err(Flaw::of(
            "no service: add ?sentinelMasterId=… with the name that the Sentinels know, often mymaster",
        ));
    }
    let is_insecure = tree.text(TLS, "insecure") == Some("true");
    let address = |node: String| match (scheme.has_tls, is_insecure) {
        (false, _) => node,
        (true, false) => format!("rediss://{node}"),
        (true, true) => format!("rediss://{node}/#insecure"),
    };
    tree.table(SENTINEL).insert("nodes", Tree::list(nodes.into_iter().map(address)));
    Ok(tree)
}

#[cfg(test)]
mod tests;
