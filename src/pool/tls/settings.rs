//! The TLS settings of a client.

use std::fmt;
use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, TlsMode};

use super::certificates::{Certificates, check_features, for_redis};
#[cfg(feature = "tls-rustls")]
use super::config::{Configs, Session, check_provider};
#[cfg(not(feature = "tls-rustls"))]
use super::without_rustls::{Configs, Session, check_provider};
use crate::error::Result;
use crate::pool::socket::is_settable;

/// The TLS settings of a client. Cloning is cheap.
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
    /// Makes the settings. Fails for certificates that cannot be read.
    pub(crate) fn new(certificates: Certificates) -> Result<Self> {
        // First, because its errors say more.
        certificates.check()?;
        let for_redis = for_redis(&certificates)?;
        Ok(Self(Arc::new(Settings { certificates, for_redis, ..Settings::default() })))
    }

    /// Returns an error for an address that needs what is missing: a feature, a crypto provider, roots.
    pub(crate) fn check(&self, info: &ConnectionInfo) -> Result<()> {
        self.session(info).map(drop)
    }

    /// Returns an error if TLS needs what is missing, whatever the host.
    pub(crate) fn check_mode(&self, mode: TlsMode) -> Result<()> {
        let insecure = mode == TlsMode::Insecure;
        check_features(insecure)?;
        self.0.configs.session(&self.0.certificates, "localhost", insecure).map(drop)
    }

    /// Returns how to open TLS sessions at an address. `None`: the address needs none, or the redis crate opens them,
    /// which it does for an address with certificates of its own.
    pub(in crate::pool) fn session(&self, info: &ConnectionInfo) -> Result<Option<Session>> {
        let ConnectionAddr::TcpTls { host, insecure, tls_params, .. } = info.addr() else { return Ok(None) };
        check_features(*insecure)?;
        let is_ours = tls_params.is_none() && is_settable(info.tcp_settings());
        if !is_ours {
            return check_provider().map(|()| None);
        }
        self.0.configs.session(&self.0.certificates, host, *insecure)
    }

    /// Adds the certificates to an address of the redis crate, unless it has its own.
    pub(in crate::pool) fn certified(&self, info: ConnectionInfo) -> ConnectionInfo {
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

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.certificates).finish()
    }
}
