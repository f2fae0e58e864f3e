//! How to reach a node: address, login, database, protocol, and what is known of it beforehand.

use std::fmt;

use redis::{ConnectionInfo, IntoConnectionInfo};

use crate::addr::NodeAddr;

/// How to reach a node.
///
/// Made from a URL (`redis://user:password@host:6379/db?protocol=resp3`, `rediss://…`, `unix:///path`), from
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
}

/// An address that could not be read, without its password.
#[derive(Clone, Debug)]
pub(crate) struct BadAddress {
    pub(crate) shown: String,
    pub(crate) reason: String,
}

impl Endpoint {
    /// Makes the endpoint of a node of weight 1 in no zone.
    #[must_use]
    pub fn new(node: impl IntoConnectionInfo) -> Self {
        let info = node.into_connection_info();
        let info = info.map_err(|error| BadAddress { shown: String::new(), reason: error.to_string() });
        Self { info, weight: 1, zone: None }
    }

    /// Sets the share of the load that the node should get, compared with the others. Default: 1; zero fails `build`.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the availability zone of the node. Default: none.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    fn from_text(text: &str) -> Self {
        match text.parse::<NodeAddr>() {
            Ok(addr) => Self::new(addr.to_plain()),
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

/// The text without what stands before the last `@`, and cut where it is long.
fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (secret, rest) = rest.rsplit_once('@').map_or((false, rest), |(_, rest)| (true, rest));
    // Query and fragment may hold anything.
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
        Self::new(addr.to_plain())
    }
}

impl From<&NodeAddr> for Endpoint {
    fn from(addr: &NodeAddr) -> Self {
        Self::new(addr.to_plain())
    }
}

impl From<(&str, u16)> for Endpoint {
    fn from(place: (&str, u16)) -> Self {
        Self::new(place)
    }
}

impl From<(String, u16)> for Endpoint {
    fn from(place: (String, u16)) -> Self {
        Self::new(place)
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
