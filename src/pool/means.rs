//! What connections are opened by, beside an address and a login.

use super::resolver::Resolver;
use super::tls::Tls;

/// Who looks host names up, and how TLS is spoken: the same for all connections of a client.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) resolver: Resolver,
    pub(crate) tls: Tls,
}

impl From<Resolver> for Means {
    /// Without certificates of its own.
    fn from(resolver: Resolver) -> Self {
        Self { resolver, tls: Tls::default() }
    }
}
