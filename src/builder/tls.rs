//! The certificates of the client: given, or read from files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::pool::{Certificates, Pem, Tls, check_features};

/// The settings about certificates.
#[derive(Debug, Default)]
pub(super) struct TlsSource {
    pub(super) given: Option<Certificates>,
    pub(super) files: Option<TlsFiles>,
}

/// Files in PEM form.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl TlsSource {
    /// Reads the certificates. Given ones count before files.
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
