//! The configuration of rustls: crypto provider, trusted roots, the client's own certificate.

use std::io;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use redis::RedisResult;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::certificates::{Certificates, Pem};
use crate::error::{Error, Result};

/// How to open sessions with one host.
#[derive(Clone)]
pub(crate) struct Session {
    pub(super) config: Arc<ClientConfig>,
    /// The name that the certificate of the server must contain.
    pub(super) name: ServerName<'static>,
    pub(super) shows_certificate: bool,
}

/// The configurations of a client. Each is made when the first address needs it: reading the roots of the system takes
/// some milliseconds.
#[derive(Default)]
pub(crate) struct Configs {
    checking: OnceLock<Result<ClientConfig>>,
    insecure: OnceLock<Result<ClientConfig>>,
}

/// How many sessions with one host are kept to be resumed; rustls keeps eight for each host.
const RESUMED: usize = 8;

impl Configs {
    pub(super) fn session(&self, certificates: &Certificates, host: &str, insecure: bool) -> Result<Option<Session>> {
        let host = host.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| Error::config(format!("TLS: no certificate can bear the name \"{host}\"")))?;
        let made = if insecure { &self.insecure } else { &self.checking };
        let mut config = made.get_or_init(|| config(certificates, insecure)).clone()?;
        // One for each node: several nodes may have one host name, and they must not use each other's tickets.
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(RESUMED)));
        Ok(Some(Session { config: Arc::new(config), name, shows_certificate: certificates.client.is_some() }))
    }
}

impl Certificates {
    /// Returns an error for what cannot be read.
    pub(super) fn check(&self) -> Result<()> {
        self.roots.as_ref().map(trusted).transpose()?;
        self.client.as_ref().map(own).transpose()?;
        Ok(())
    }
}

fn config(certificates: &Certificates, insecure: bool) -> Result<ClientConfig> {
    let unusable = |error: rustls::Error| Error::config(format!("TLS: {error}"));
    let builder = ClientConfig::builder_with_provider(provider()?);
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = if insecure {
        unchecked(builder)?
    } else {
        let roots = certificates.roots.as_ref().map_or_else(usual_roots, trusted)?;
        builder.with_root_certificates(roots)
    };
    let Some(client) = &certificates.client else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = own(client)?;
    let (cert, key_name) = (&client.0.name, &client.1.name);
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        let why = match error {
            rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
            error => error.to_string(),
        };
        Error::config(format!("{cert}, {key_name}: {why}"))
    })
}

/// Returns the provider of the process, or that of a feature. Installs none: that is the application's task.
fn provider() -> Result<Arc<CryptoProvider>> {
    CryptoProvider::get_default().cloned().or_else(of_feature).ok_or_else(|| {
        let text = "TLS by rustls has no crypto provider: switch on the feature tls-rustls-ring (or tls-rustls-aws-lc-rs) of redis-replicated, or have the application install one before build(), by rustls::crypto::CryptoProvider::install_default";
        Error::config(text)
    })
}

/// Returns an error if there is no crypto provider.
pub(crate) fn check_provider() -> Result<()> {
    provider().map(drop)
}

fn of_feature() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "tls-rustls-ring")]
    let provider = Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(all(feature = "tls-rustls-aws-lc-rs", not(feature = "tls-rustls-ring")))]
    let provider = Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(not(any(feature = "tls-rustls-ring", feature = "tls-rustls-aws-lc-rs")))]
    let provider = None;
    provider
}

/// Returns an error if the redis crate would find no crypto provider, because it panics without one. It takes that of
/// the process; if none is installed, rustls installs the one that it was built with. Only a try shows whether there is
/// exactly one. It is made once, as rustls panics if not, and never in a process that a panic would end.
pub(crate) fn check_provider_of_redis() -> RedisResult<()> {
    static HAS_NONE: AtomicBool = AtomicBool::new(cfg!(panic = "abort"));

    if CryptoProvider::get_default().is_some() {
        return Ok(());
    }
    if HAS_NONE.load(Ordering::Relaxed) || catch_unwind(ClientConfig::builder).is_err() {
        HAS_NONE.store(true, Ordering::Relaxed);
        let text = "a connection of the redis crate over TLS needs a crypto provider of the process: have the application install one, by rustls::crypto::CryptoProvider::install_default";
        return Err(io::Error::other(text).into());
    }
    Ok(())
}

/// Reads the roots that were given.
fn trusted(pem: &Pem) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        let unusable = |_| Error::config(format!("{}: not the certificate of an authority", pem.name));
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

#[cfg(feature = "tls-rustls-webpki-roots")]
fn usual_roots() -> Result<RootCertStore> {
    Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
}

#[cfg(not(feature = "tls-rustls-webpki-roots"))]
fn usual_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be read does not matter if there are others.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let text = "TLS: the system has no root certificates (package ca-certificates); give those to trust by tls_certificates(), or switch on the feature tls-rustls-webpki-roots";
        return Err(Error::config(text));
    }
    Ok(roots)
}

fn own((cert, key): &(Pem, Pem)) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let unreadable = |_| Error::config(format!("{}: no private key in PEM form without a passphrase", key.name));
    Ok((chain(cert)?, PrivateKeyDer::from_pem_slice(&key.bytes).map_err(unreadable)?))
}

fn chain(pem: &Pem) -> Result<Vec<CertificateDer<'static>>> {
    let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.bytes).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| Error::config(format!("{}: no certificate in PEM form", pem.name)))
}

type Builder<State> = rustls::ConfigBuilder<ClientConfig, State>;

#[cfg(not(feature = "tls-rustls-insecure"))]
fn unchecked(_: Builder<rustls::WantsVerifier>) -> Result<Builder<rustls::client::WantsClientCert>> {
    // `check_features` refused it before.
    super::certificates::check_features(true).and(Err(Error::config("TLS without checks")))
}

#[cfg(feature = "tls-rustls-insecure")]
fn unchecked(builder: Builder<rustls::WantsVerifier>) -> Result<Builder<rustls::client::WantsClientCert>> {
    let schemes = provider()?.signature_verification_algorithms.supported_schemes();
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(insecure::Unchecked(schemes))))
}

#[cfg(feature = "tls-rustls-insecure")]
mod insecure {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    /// Accepts every certificate.
    #[derive(Debug)]
    pub(super) struct Unchecked(pub(super) Vec<SignatureScheme>);

    impl ServerCertVerifier for Unchecked {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.clone()
        }
    }
}
