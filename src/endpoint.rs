//! The endpoint of a node: address, login, database, protocol, weight and zone.

use std::fmt;
use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsMode};

use crate::addr::NodeAddr;
use crate::error::{Error, Result};

/// The features that TLS needs.
pub(crate) const TLS_FEATURES: &str = "the feature tls-rustls-ring (rustls with a crypto provider), tls-rustls or tls-native-tls of redis-replicated has to be switched on";

/// The endpoint of a node: its address with login, database and protocol, its weight and its zone.
///
/// It is made from a URL (`redis://user:password@host:6379/db?protocol=resp3`, `rediss://…`, `unix:///path`), from
/// `host:port`, or from a [`redis::ConnectionInfo`]. A bad address is reported by
/// [`Builder::build`](crate::Builder::build).
///
/// ```
/// use redis_replicated::Endpoint;
///
/// let near = Endpoint::new("redis://cache-2:6379").weight(2).zone("eu-1a");
/// ```
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) info: Result<ConnectionInfo, BadAddress>,
    pub(crate) weight: u32,
    pub(crate) zone: Option<String>,
    /// Only an address was given. The login comes from another setting.
    is_bare: bool,
}

/// An endpoint whose address could be read.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) addr: NodeAddr,
    pub(crate) info: ConnectionInfo,
    pub(crate) weight: u32,
    pub(crate) zone: Option<String>,
}

/// The login and the TLS of found nodes.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    pub(crate) login: Option<RedisConnectionInfo>,
    pub(crate) tls: Option<TlsMode>,
    /// A named node, whose login and TLS are the defaults for found nodes.
    pub(crate) like: Option<ConnectionInfo>,
}

/// Translates the addresses that servers report into addresses that the client can reach.
#[derive(Clone)]
pub(crate) struct AddressMap(pub(crate) Arc<dyn Fn(&NodeAddr) -> NodeAddr + Send + Sync>);

impl AddressMap {
    pub(crate) fn reachable(&self, addr: &NodeAddr) -> NodeAddr {
        (self.0)(addr)
    }
}

impl Default for AddressMap {
    fn default() -> Self {
        Self(Arc::new(NodeAddr::clone))
    }
}

impl fmt::Debug for AddressMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressMap")
    }
}

/// An address that could not be read, without its password.
#[derive(Clone, Debug)]
pub(crate) struct BadAddress {
    pub(crate) shown: String,
    pub(crate) reason: String,
}

impl Endpoint {
    /// Makes the endpoint of a node. Its weight is 1, and it has no zone.
    #[must_use]
    pub fn new(node: impl IntoConnectionInfo) -> Self {
        let info = node.into_connection_info();
        let info = info.map_err(|error| BadAddress { shown: String::new(), reason: error.to_string() });
        Self { info, weight: 1, zone: None, is_bare: false }
    }

    /// Makes the endpoint of a node whose address was read already.
    pub(crate) fn of_place(place: Place) -> Self {
        Self { info: Ok(place.info), weight: place.weight, zone: place.zone, is_bare: false }
    }

    fn bare(addr: &NodeAddr) -> Self {
        Self { is_bare: true, ..Self::new(addr.to_plain()) }
    }

    /// Reads the address.
    pub(crate) fn place(&self) -> Result<Place> {
        let lacks_tls = cfg!(not(any(feature = "tls-rustls", feature = "tls-native-tls")));
        let bad = |bad: &BadAddress| {
            // The redis crate does not name the feature.
            let reason = if lacks_tls && bad.shown.starts_with("rediss:") { TLS_FEATURES } else { &bad.reason };
            Error::config(format!("bad address \"{}\": {reason}", bad.shown))
        };
        let info = self.info.clone().map_err(|reason| bad(&reason))?;
        let addr = NodeAddr::of(info.addr());
        if self.weight == 0 {
            return Err(Error::config("this node has the weight 0: leave it out instead").on(&addr));
        }
        Ok(Place { addr, info, weight: self.weight, zone: self.zone.clone() })
    }

    /// Reads the address of a found node. A bare address gets the login and the TLS of `manner`.
    pub(crate) fn found_place(&self, manner: &Manner) -> Result<Place> {
        let mut place = self.place()?;
        if self.is_bare {
            place.info = manner.info_for(place.info);
        }
        Ok(place)
    }

    /// Sets the share of the load that the node should get, compared with the others. Default: 1; zero fails `build`. All
    /// strategies but `RoundRobin` and `Random` use it.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the availability zone of the node. Default: the zone that the server reports (`availability_zone`, Valkey), or none.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    fn from_text(text: &str) -> Self {
        match text.parse::<NodeAddr>() {
            Ok(addr) => Self::bare(&addr),
            Err(_) => {
                let mut endpoint = Self::new(text);
                if let Err(bad) = &mut endpoint.info {
                    bad.shown = redacted(text);
                }
                endpoint
            }
        }
    }
}

impl Place {
    pub(crate) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// Returns whether the other place has another database, another transport or another zone.
    pub(crate) fn is_elsewhere(&self, other: &Self) -> bool {
        let transport = |place: &Self| match place.info.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => Some(*insecure),
            _ => None,
        };
        self.database() != other.database() || transport(self) != transport(other) || self.zone != other.zone
    }

    /// Returns whether the other place has another user, password or protocol.
    pub(crate) fn logs_in_otherwise(&self, other: &Self) -> bool {
        let login = |place: &Self| {
            let settings = place.info.redis_settings();
            let text = |text: Option<&str>| text.map(str::to_owned);
            (text(settings.username()), text(settings.password()), settings.protocol())
        };
        login(self) != login(other)
    }

    /// Returns the same node with one of the addresses of its name.
    pub(crate) fn at(&self, addr: NodeAddr) -> Self {
        let info = self.info.clone().set_addr(addr.to_plain());
        Self { addr, info, ..self.clone() }
    }
}

impl Manner {
    /// Completes the bare address of a found node.
    fn info_for(&self, found: ConnectionInfo) -> ConnectionInfo {
        let like = self.like.as_ref().map(|like| like.addr());
        let addr = match (found.addr(), self.tls, like) {
            (ConnectionAddr::Tcp(host, port), None, Some(ConnectionAddr::TcpTls { insecure, tls_params, .. })) => {
                let (host, tls_params) = (host.clone(), tls_params.clone());
                ConnectionAddr::TcpTls { host, port: *port, insecure: *insecure, tls_params }
            }
            (ConnectionAddr::Tcp(host, port), Some(mode), like) => {
                let tls_params = match like {
                    Some(ConnectionAddr::TcpTls { tls_params, .. }) => tls_params.clone(),
                    _ => None,
                };
                let insecure = mode == TlsMode::Insecure;
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure, tls_params }
            }
            (addr, _, _) => addr.clone(),
        };
        let login = self.login.clone().or_else(|| self.like.as_ref().map(|like| like.redis_settings().clone()));
        let info = found.set_addr(addr);
        match login {
            Some(login) => info.set_redis_settings(login),
            None => info,
        }
    }
}

impl fmt::Debug for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing secret.
        f.debug_struct("Manner").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("addr", &self.addr).field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// Returns the text without the part before the last `@`, cut to 100 characters.
fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (secret, rest) = rest.rsplit_once('@').map_or((false, rest), |(_, rest)| (true, rest));
    // Query and fragment may contain secrets.
    let place: String = rest.chars().take_while(|letter| !matches!(letter, '?' | '#')).take(100).collect();
    let colon = if scheme.is_empty() { "" } else { "://" };
    let hidden = if secret { "***@" } else { "" };
    format!("{scheme}{colon}{hidden}{place}")
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        Self::from_text(text)
    }
}

impl From<String> for Endpoint {
    fn from(text: String) -> Self {
        Self::from_text(&text)
    }
}

impl From<&String> for Endpoint {
    fn from(text: &String) -> Self {
        Self::from_text(text)
    }
}

impl From<ConnectionInfo> for Endpoint {
    fn from(info: ConnectionInfo) -> Self {
        Self::new(info)
    }
}

impl From<NodeAddr> for Endpoint {
    fn from(addr: NodeAddr) -> Self {
        Self::bare(&addr)
    }
}

impl From<&NodeAddr> for Endpoint {
    fn from(addr: &NodeAddr) -> Self {
        Self::bare(addr)
    }
}

impl From<(&str, u16)> for Endpoint {
    fn from((host, port): (&str, u16)) -> Self {
        Self::bare(&NodeAddr::tcp(host, port))
    }
}

impl From<(String, u16)> for Endpoint {
    fn from((host, port): (String, u16)) -> Self {
        Self::bare(&NodeAddr::tcp(&host, port))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Endpoint");
        match &self.info {
            Ok(info) => out.field("addr", &NodeAddr::of(info.addr())),
            Err(bad) => out.field("bad", &bad.shown),
        };
        out.field("weight", &self.weight).field("zone", &self.zone).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, redacted};

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(redacted("redis://me:se@cret@host:1/0?x=secret"), "redis://***@host:1/0");
        assert_eq!(redacted("me:secret@host"), "***@host");
        for url in ["redis://me:secret@host:6379", "redis://me:secret@host:port", "me:secret@host"] {
            assert!(!format!("{:?}", Endpoint::from(url)).contains("secret"), "{url}");
        }
    }

    #[test]
    fn urls_and_plain_addresses_are_understood() {
        for text in ["127.0.0.1:6379", "[::1]:6379", "unix:/tmp/s", "redis://h", "unix:///tmp/s", "valkey://h:1/2"] {
            assert!(Endpoint::from(text).info.is_ok(), "{text}");
        }
        for text in ["", "nonsense", "http://host:1", "redis://", "host:port"] {
            assert!(Endpoint::from(text).info.is_err(), "{text}");
        }
    }
}
