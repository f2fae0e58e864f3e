//! TLS: how found nodes are reached, and which certificates are shown and trusted.

use std::fs;
use std::path::{Path, PathBuf};

use redis::TlsMode;

use super::Builder;
use crate::error::{Error, Result};
use crate::pool::{Certificates, Pem, Tls, check_features};

/// What the builder was told about certificates.
#[derive(Debug, Default)]
pub(super) struct TlsSource {
    given: Option<Certificates>,
    files: Option<TlsFiles>,
}

/// Files in PEM form.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Builder {
    /// Connects by TLS to nodes that are found rather than named. Default: as the first seed of
    /// [`discover`](Self::discover) is reached; without TLS for other sources. Needs one of the TLS features; without, and for
    /// [`TlsMode::Insecure`] without `tls-rustls-insecure`, `build` fails.
    pub fn tls(mut self, mode: TlsMode) -> Self {
        self.source.manner.tls = Some(mode);
        self
    }

    /// Sets the authorities to trust and the client's own certificate and key, in PEM form, for all nodes and Sentinels that
    /// are reached by TLS: named ones (`rediss://…`) and found ones. Default: the authorities of the system (or of the feature
    /// `tls-rustls-webpki-roots`), and no certificate of the client.
    ///
    /// They are read once, in `build`: to change them, build the client anew. Without `root_cert`, the usual authorities are
    /// trusted; with it, only those. An endpoint that was made from a [`redis::ConnectionInfo`] with certificates keeps those.
    /// More is said in [`guide::tls`](crate::guide::tls).
    #[cfg(any(feature = "tls-rustls", feature = "tls-native-tls"))]
    pub fn tls_certificates(mut self, certificates: redis::TlsCertificates) -> Self {
        self.tls.given = Some(certificates.into());
        self
    }

    /// Reads the certificates from files, in `build`.
    pub(crate) fn tls_files(mut self, files: TlsFiles) -> Self {
        self.tls.files = Some(files);
        self
    }
}

impl TlsSource {
    /// Reads the certificates. Those that were given count before files.
    pub(super) fn read(self) -> Result<Tls> {
        match (self.given, self.files) {
            (Some(given), _) => Tls::new(given),
            (None, Some(files)) => Tls::new(files.read()?),
            (None, None) => Ok(Tls::default()),
        }
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Certificates> {
        check_features(false)?;
        let client = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((pem(cert)?, pem(key)?)),
            (None, None) => None,
            (Some(_), None) => return Err(Error::config("tls: cert_file needs a key_file")),
            (None, Some(_)) => return Err(Error::config("tls: key_file needs a cert_file")),
        };
        Ok(Certificates { roots: self.ca.as_deref().map(pem).transpose()?, client })
    }
}

fn pem(path: &Path) -> Result<Pem> {
    let name = format!("tls: {}", path.display());
    let unreadable = |error: std::io::Error| {
        Error::config(format!("{name}: cannot be read")).because(redis::RedisError::from(error))
    };
    Ok(Pem { bytes: fs::read(path).map_err(unreadable)?, name })
}
