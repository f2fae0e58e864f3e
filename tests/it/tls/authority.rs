//! An authority of our own, and certificates of all kinds, made by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use redis_replicated::redis::{ClientTlsConfig, TlsCertificates};
use redis_replicated::testing::{ReplicaSet, Setup};

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    Now,
    Before,
    Later,
}

/// An authority with its folder.
pub struct Authority {
    folder: tempfile::TempDir,
}

/// A certificate and its key.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

const CONFIGURATION: &str = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nnew_certs_dir = .\nserial = serial\n\
    default_md = sha256\npolicy = any\nunique_subject = no\n[any]\ncommonName = supplied\n\
    [req]\ndistinguished_name = none\n[none]\n";

impl Authority {
    /// `None`, with a printed reason: there is no `openssl`, or the server speaks no TLS.
    pub fn new() -> Option<Self> {
        if !has_openssl() {
            return None;
        }
        let authority = Self::without_server();
        let own = authority.identity("server", "IP:127.0.0.1", Valid::Now);
        match authority.setup(&own).start() {
            Ok(_) => Some(authority),
            Err(error) => {
                println!("left out: the server speaks no TLS: {error}");
                None
            }
        }
    }

    /// The same, without a look at the server.
    pub fn without_server() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("ca.cnf"), CONFIGURATION).unwrap();
        fs::write(path("index.txt"), "").unwrap();
        fs::write(path("serial"), "1000\n").unwrap();
        let authority = Self { folder };
        let subject = ["-subj", "/CN=an authority", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem"];
        let extension = ["-addext", "basicConstraints=critical,CA:TRUE", "-config", "ca.cnf"];
        authority.openssl(&[&["req", "-x509"][..], &KEY, &subject, &extension].concat());
        authority
    }

    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Makes a certificate for these names (`IP:…`, `DNS:…`).
    pub fn identity(&self, name: &str, names: &str, valid: Valid) -> Identity {
        let file = |ending: &str| format!("{name}.{ending}");
        let (request, key, cert, extension) = (file("csr"), file("key"), file("pem"), file("ext"));
        let text = format!(
            "basicConstraints = CA:FALSE\nsubjectAltName = {names}\nextendedKeyUsage = serverAuth, clientAuth\n"
        );
        fs::write(self.path(&extension), text).unwrap();
        let subject = format!("/CN={name}");
        let wanted = ["-subj", &subject, "-keyout", &key, "-out", &request, "-config", "ca.cnf"];
        self.openssl(&[&["req", "-new"][..], &KEY, &wanted].concat());
        let (from, until) = match valid {
            Valid::Now => ("20200101000000Z", "20491231000000Z"),
            Valid::Before => ("20200101000000Z", "20210101000000Z"),
            Valid::Later => ("20480101000000Z", "20491231000000Z"),
        };
        let times = ["-startdate", from, "-enddate", until];
        let files = ["-in", &request, "-out", &cert, "-extfile", &extension];
        let ca = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"];
        self.openssl(&[&ca[..], &times, &files].concat());
        Identity { cert: self.path(&cert), key: self.path(&key) }
    }

    /// A set whose servers show this certificate, and trust this authority.
    pub fn setup(&self, own: &Identity) -> Setup {
        ReplicaSet::setup().tls(self.ca(), &own.cert, &own.key)
    }

    /// What a client needs that trusts this authority, and shows this certificate.
    pub fn certificates(&self, own: Option<&Identity>) -> TlsCertificates {
        let read = |path: &Path| fs::read(path).unwrap();
        let client_tls = own.map(|own| ClientTlsConfig { client_cert: read(&own.cert), client_key: read(&own.key) });
        TlsCertificates { client_tls, root_cert: Some(read(&self.ca())) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, args: &[&str]) {
        let done = Command::new("openssl").args(args).current_dir(self.folder.path()).output().unwrap();
        assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// Returns whether there is `openssl`, to make certificates.
pub fn has_openssl() -> bool {
    let has = Command::new("openssl").arg("version").output().is_ok();
    if !has {
        println!("left out: there is no openssl");
    }
    has
}
