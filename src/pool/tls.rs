//! TLS with the nodes and Sentinels of one client: certificates, roots, and what the features allow.
//!
//! With rustls, this crate opens the connections: a [`TlsStream`] on the transport of plain sockets, so that one end
//! bounds connecting, handshake and login. With native-tls, and for connections that are handed to users, the redis
//! crate opens them.

mod certificates;
#[cfg(feature = "tls-rustls")]
mod config;
#[cfg(feature = "tls-rustls")]
mod halves;
#[cfg(feature = "tls-rustls")]
mod messages;
mod settings;
#[cfg(feature = "tls-rustls")]
mod stream;
#[cfg(not(feature = "tls-rustls"))]
mod without_rustls;

pub(crate) use self::certificates::{Certificates, Pem, check_features};
#[cfg(feature = "tls-rustls")]
pub(super) use self::config::{Session, check_provider_of_redis};
#[cfg(feature = "tls-rustls")]
pub(super) use self::halves::{TlsReceiver, TlsSender};
#[cfg(feature = "tls-rustls")]
pub(super) use self::messages::with_message;
pub(crate) use self::settings::Tls;
#[cfg(feature = "tls-rustls")]
pub(super) use self::stream::TlsStream;
#[cfg(not(feature = "tls-rustls"))]
pub(super) use self::without_rustls::{
    Session, TlsReceiver, TlsSender, TlsStream, check_provider_of_redis, with_message,
};
