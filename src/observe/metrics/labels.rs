//! The attributes that all series of a client, of a node or of a pool have in common.

use metrics::{Label, SharedString};

use crate::addr::NodeAddr;

/// This crate and its version, as the specification writes it.
const LIBRARY: &str = concat!("redis-replicated:", env!("CARGO_PKG_VERSION"));

/// Attributes that several series have in common.
#[derive(Clone, Debug)]
pub(super) struct Labels(Vec<Label>);

impl Labels {
    /// The attributes of all series: the kind of database, this crate, and `own` ones.
    pub(super) fn common(own: &[Label]) -> Self {
        let ours = [("db.system.name", "redis"), ("redis.client.library", LIBRARY)];
        Self(ours.map(|(name, value)| Label::from_static_parts(name, value)).into_iter().chain(own.to_vec()).collect())
    }

    /// Adds those of a node. Of a unix socket, the address is the path.
    pub(super) fn at(&self, node: &NodeAddr) -> Self {
        let mut labels = self.0.clone();
        if let Some((host, port)) = node.host().zip(node.port()) {
            labels.push(Label::new("server.address", host.to_owned()));
            labels.push(Label::new("server.port", port.to_string()));
        } else {
            let text = node.to_string();
            labels.push(Label::new("server.address", text.strip_prefix("unix:").unwrap_or(&text).to_owned()));
        }
        Self(labels)
    }

    /// Adds that of the node's pool.
    pub(super) fn of_pool(&self, node: &NodeAddr) -> Self {
        Self(self.with([("db.client.connection.pool.name", node.to_string())]))
    }

    /// Returns these attributes and further ones.
    pub(super) fn with<V: Into<SharedString>>(&self, more: impl IntoIterator<Item = (&'static str, V)>) -> Vec<Label> {
        let more = more.into_iter().map(|(name, value)| Label::new(name, value));
        self.0.iter().cloned().chain(more).collect()
    }

    /// Returns these attributes alone.
    pub(super) fn alone(&self) -> Vec<Label> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{LIBRARY, Labels};
    use metrics::Label;

    fn texts(labels: Labels) -> Vec<(String, String)> {
        labels.alone().into_iter().map(|label| (label.key().to_owned(), label.value().to_owned())).collect()
    }

    #[test]
    fn a_node_is_an_address_and_a_port_or_a_path() {
        let common = Labels::common(&[Label::new("client", "shop")]);
        let of = |text: &str| {
            let labels = texts(common.at(&text.parse().unwrap()));
            let expected = [("db.system.name", "redis"), ("redis.client.library", LIBRARY), ("client", "shop")];
            assert_eq!(labels[..3], expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
            labels[3..].iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("cache:6379"), "server.address=cache server.port=6379");
        assert_eq!(of("[::1]:1"), "server.address=::1 server.port=1");
        assert_eq!(of("unix:/run/redis.sock"), "server.address=/run/redis.sock");
        let pool = texts(common.of_pool(&"[::1]:1".parse().unwrap()));
        assert_eq!(pool[3], ("db.client.connection.pool.name".to_owned(), "[::1]:1".to_owned()));
    }
}
