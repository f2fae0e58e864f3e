//! Certificates in PEM form, and the features that TLS needs.

use std::fmt;

use redis::ConnectionAddr;

use crate::endpoint::TLS_FEATURES;
use crate::error::{Error, Result};

/// The certificates that the application gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificates {
    /// The authorities that are trusted. `None`: those of the system, or of the feature.
    pub(crate) roots: Option<Pem>,
    /// The client's own certificate, and its key.
    pub(crate) client: Option<(Pem, Pem)>,
}

/// Some text in PEM form, and its name in errors.
#[derive(Clone)]
pub(crate) struct Pem {
    pub(crate) name: String,
    #[cfg_attr(not(any(feature = "tls-rustls", feature = "tls-native-tls")), allow(dead_code, reason = "TLS is off"))]
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the content.
        f.write_str(&self.name)
    }
}

/// Returns an error if the feature for TLS, or for TLS without checks, is not switched on.
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

/// Returns an address that carries the certificates as the redis crate takes them, if there are any.
#[cfg(any(feature = "tls-rustls", feature = "tls-native-tls"))]
pub(super) fn for_redis(certificates: &Certificates) -> Result<Option<ConnectionAddr>> {
    let read = |names: String, roots: Option<&Pem>, client: Option<&(Pem, Pem)>| {
        let client_tls = client.map(|(cert, key)| redis::ClientTlsConfig {
            client_cert: cert.bytes.clone(),
            client_key: key.bytes.clone(),
        });
        let certificates = redis::TlsCertificates { client_tls, root_cert: roots.map(|roots| roots.bytes.clone()) };
        // The error of the redis crate may repeat what it could not read.
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
pub(super) fn for_redis(certificates: &Certificates) -> Result<Option<ConnectionAddr>> {
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
