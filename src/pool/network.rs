//! What all connections of a client share, beside address and login.

use super::resolver::Resolver;
use super::tls::Tls;

/// Name resolution and TLS: the same for all connections of a client.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) resolver: Resolver,
    pub(crate) tls: Tls,
}

impl From<Resolver> for Network {
    /// Without certificates of its own.
    fn from(resolver: Resolver) -> Self {
        Self { resolver, tls: Tls::default() }
    }
}
