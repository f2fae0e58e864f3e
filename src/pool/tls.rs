//! How TLS is spoken with the nodes and Sentinels of one client: certificates, roots, and what the features allow.
//!
//! With rustls, connections are ours: a [`TlsStream`] on the transport of plain sockets, so that one end bounds connecting,
//! handshake and login. With native-tls, and for connections that are handed to users, the redis crate opens them.

use std::fmt;
use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, TlsMode};

use super::socket::is_settable;
use crate::endpoint::TLS_FEATURES;
use crate::error::{Error, Result};

#[cfg(feature = "tls-rustls")]
mod config;
#[cfg(not(feature = "tls-rustls"))]
mod none;
#[cfg(feature = "tls-rustls")]
mod stream;
#[cfg(feature = "tls-rustls")]
mod words;

#[cfg(feature = "tls-rustls")]
pub(super) use self::config::{Configs, Session, check_provider, check_provider_of_redis};
#[cfg(not(feature = "tls-rustls"))]
pub(super) use self::none::{Configs, Session, check_provider, check_provider_of_redis, explained_to_redis};
#[cfg(feature = "tls-rustls")]
pub(super) use self::stream::TlsStream;
#[cfg(feature = "tls-rustls")]
pub(super) use self::words::explained_to_redis;

/// Certificates that were given, in PEM form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificates {
    /// The authorities that are trusted; without, those of the system, or of the feature.
    pub(crate) roots: Option<Pem>,
    /// The client's own certificate, and its key.
    pub(crate) client: Option<(Pem, Pem)>,
}

/// Some text in PEM form, and what errors call it.
#[derive(Clone)]
pub(crate) struct Pem {
    pub(crate) name: String,
    #[cfg_attr(not(any(feature = "tls-rustls", feature = "tls-native-tls")), allow(dead_code, reason = "TLS is off"))]
    pub(crate) bytes: Vec<u8>,
}

/// How TLS is spoken. Cloning is cheap.
#[derive(Clone, Default)]
pub(crate) struct Tls(Arc<Settings>);

#[derive(Default)]
struct Settings {
    certificates: Certificates,
    /// The certificates as the redis crate takes them.
    for_redis: Option<ConnectionAddr>,
    configs: Configs,
}

impl Tls {
    /// Takes certificates, and refuses those that cannot be read.
    pub(crate) fn new(certificates: Certificates) -> Result<Self> {
        // First, for it says what is wrong.
        certificates.check()?;
        let for_redis = for_redis(&certificates)?;
        Ok(Self(Arc::new(Settings { certificates, for_redis, ..Settings::default() })))
    }

    /// Refuses an address that needs what is not there: a feature, a crypto provider, roots.
    pub(crate) fn check(&self, info: &ConnectionInfo) -> Result<()> {
        self.session(info).map(drop)
    }

    /// Refuses TLS as far as it needs what is not there, whatever the host.
    pub(crate) fn check_mode(&self, mode: TlsMode) -> Result<()> {
        let insecure = mode == TlsMode::Insecure;
        check_features(insecure)?;
        self.0.configs.session(&self.0.certificates, "localhost", insecure).map(drop)
    }

    /// Returns how to open TLS sessions at an address. `None`: it needs none, or the redis crate opens them, as it does with
    /// the certificates that an address brought along.
    pub(super) fn session(&self, info: &ConnectionInfo) -> Result<Option<Session>> {
        let ConnectionAddr::TcpTls { host, insecure, tls_params, .. } = info.addr() else { return Ok(None) };
        check_features(*insecure)?;
        let is_ours = tls_params.is_none() && is_settable(info.tcp_settings());
        if !is_ours {
            return check_provider().map(|()| None);
        }
        self.0.configs.session(&self.0.certificates, host, *insecure)
    }

    /// Adds the certificates to an address of the redis crate, unless it has some of its own.
    pub(super) fn certified(&self, info: ConnectionInfo) -> ConnectionInfo {
        let (ConnectionAddr::TcpTls { host, port, insecure, tls_params: None }, Some(certified)) =
            (info.addr(), &self.0.for_redis)
        else {
            return info;
        };
        let ConnectionAddr::TcpTls { tls_params, .. } = certified else { return info };
        let (host, tls_params) = (host.clone(), tls_params.clone());
        let addr = ConnectionAddr::TcpTls { host, port: *port, insecure: *insecure, tls_params };
        info.set_addr(addr)
    }
}

/// Refuses TLS, or TLS that checks nothing, where the feature for it is not switched on.
pub(crate) fn check_features(insecure: bool) -> Result<()> {
    if cfg!(not(any(feature = "tls-rustls", feature = "tls-native-tls"))) {
        return Err(Error::config(format!("TLS (rediss://, tls(), certificates): {TLS_FEATURES}")));
    }
    if insecure && cfg!(all(feature = "tls-rustls", not(feature = "tls-rustls-insecure"))) {
        let text = "TLS without checks (#insecure, TlsMode::Insecure): the feature tls-rustls-insecure of redis-replicated has to be switched on";
        return Err(Error::config(text));
    }
    Ok(())
}

#[cfg(any(feature = "tls-rustls", feature = "tls-native-tls"))]
fn for_redis(certificates: &Certificates) -> Result<Option<ConnectionAddr>> {
    let read = |names: String, roots: Option<&Pem>, client: Option<&(Pem, Pem)>| {
        let client_tls = client.map(|(cert, key)| redis::ClientTlsConfig {
            client_cert: cert.bytes.clone(),
            client_key: key.bytes.clone(),
        });
        let certificates = redis::TlsCertificates { client_tls, root_cert: roots.map(|roots| roots.bytes.clone()) };
        // The redis crate may repeat what it could not read.
        let client = redis::Client::build_with_tls("rediss://localhost", certificates);
        client.map_err(|_| Error::config(format!("{names}: not readable as certificates or keys in PEM form")))
    };
    let Certificates { roots, client } = certificates;
    if let Some(roots) = roots {
        read(roots.name.clone(), Some(roots), None)?;
    }
    if let Some(client) = client {
        read(format!("{}, {}", client.0.name, client.1.name), None, Some(client))?;
    }
    if roots.is_none() && client.is_none() {
        return Ok(None);
    }
    let both = read("certificates".to_owned(), roots.as_ref(), client.as_ref())?;
    Ok(Some(both.get_connection_info().addr().clone()))
}

#[cfg(not(any(feature = "tls-rustls", feature = "tls-native-tls")))]
fn for_redis(certificates: &Certificates) -> Result<Option<ConnectionAddr>> {
    let Certificates { roots, client } = certificates;
    if roots.is_some() || client.is_some() { check_features(false).map(|()| None) } else { Ok(None) }
}

#[cfg(any(feature = "tls-rustls", feature = "tls-native-tls"))]
impl From<redis::TlsCertificates> for Certificates {
    fn from(given: redis::TlsCertificates) -> Self {
        let redis::TlsCertificates { client_tls, root_cert } = given;
        let pem = |name: &str, bytes| Pem { name: format!("tls_certificates: {name}"), bytes };
        let client =
            client_tls.map(|client| (pem("client_cert", client.client_cert), pem("client_key", client.client_key)));
        Self { roots: root_cert.map(|bytes| pem("root_cert", bytes)), client }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the content.
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.certificates).finish()
    }
}
