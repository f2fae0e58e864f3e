//! The address of a node.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use redis::ConnectionAddr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The address of a node: `host:port`, `[v6]:port` or `unix:path`.
///
/// Two addresses are equal if their texts are equal. Host names are compared without case and never resolved. Cloning is
/// cheap.
///
/// ```
/// use redis_replicated::NodeAddr;
///
/// let addr: NodeAddr = "cache-1.example:6379".parse()?;
/// assert_eq!(addr.to_string(), "cache-1.example:6379");
/// # Ok::<(), redis_replicated::ParseNodeAddrError>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeAddr(Place);

#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Place {
    Tcp { host: Arc<str>, port: u16 },
    Unix { path: Arc<str> },
}

/// The error for a text that is not the address of a node.
///
/// ```
/// use redis_replicated::{NodeAddr, ParseNodeAddrError};
///
/// let parsed: Result<NodeAddr, ParseNodeAddrError> = "no address".parse();
/// assert!(parsed.is_err());
/// ```
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an address of the form host:port, [v6]:port or unix:path")]
pub struct ParseNodeAddrError(());

impl NodeAddr {
    /// Makes the address of a TCP port. An IPv6 `host` has no brackets.
    #[must_use]
    pub fn tcp(host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase().into();
        Self(Place::Tcp { host, port })
    }

    /// Makes the address of a unix socket.
    #[must_use]
    pub fn unix(path: &str) -> Self {
        Self(Place::Unix { path: path.into() })
    }

    /// Returns the host, or `None` for a unix socket.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.0 {
            Place::Tcp { host, .. } => Some(host),
            Place::Unix { .. } => None,
        }
    }

    /// Returns the port, or `None` for a unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.0 {
            Place::Tcp { port, .. } => Some(*port),
            Place::Unix { .. } => None,
        }
    }

    pub(crate) fn of(addr: &ConnectionAddr) -> Self {
        match addr {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Self::tcp(host.trim_matches(['[', ']']), *port)
            }
            ConnectionAddr::Unix(path) => Self::unix(&path.to_string_lossy()),
            // The enum may grow. Its `Display` is an address as well.
            other => Self::unix(&other.to_string()),
        }
    }

    /// Returns the address as the redis crate has it, without TLS.
    pub(crate) fn to_plain(&self) -> ConnectionAddr {
        match &self.0 {
            Place::Tcp { host, port } => ConnectionAddr::Tcp(host.to_string(), *port),
            Place::Unix { path } => ConnectionAddr::Unix(path.as_ref().into()),
        }
    }
}

impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Unix { path } => write!(f, "unix:{path}"),
        }
    }
}

impl fmt::Debug for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeAddr {
    type Err = ParseNodeAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let valid = !path.is_empty() && !path.starts_with("//");
            return valid.then(|| Self::unix(path)).ok_or(ParseNodeAddrError(()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(ParseNodeAddrError(()))?;
        let port: u16 = port.parse().map_err(|_| ParseNodeAddrError(()))?;
        let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match v6 {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                !host.is_empty() && host.bytes().all(name)
            }
        };
        let known = valid && port != 0;
        known.then(|| Self::tcp(v6.unwrap_or(host), port)).ok_or(ParseNodeAddrError(()))
    }
}

impl Serialize for NodeAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::NodeAddr;

    #[test]
    fn addresses_survive_being_written_and_read() {
        for text in ["127.0.0.1:6379", "cache.example:1", "[::1]:6379", "unix:/tmp/a b.sock", "unix:rel"] {
            assert_eq!(text.parse::<NodeAddr>().unwrap().to_string(), text);
        }
        assert_eq!("HOST:1".parse::<NodeAddr>(), "host:1".parse());
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            ":1",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "::1:6379",
            "[nope]:1",
            "a/b:1",
            "unix:",
            "redis://h:1",
            "unix:///tmp/x",
        ] {
            assert!(text.parse::<NodeAddr>().is_err(), "{text:?} was taken for an address");
        }
    }
}
