//! Certificates from files and from the builder; what is installed for the process, which is nothing.

use std::fs;

use redis_replicated::testing::{Sentinels, Server};
use redis_replicated::{Config, ErrorKind, ReplicatedClient};

use super::authority::Valid;
use super::{Stage, has_openssl};
use crate::calls::time_limits::signals::{is_alone, run_alone};
use crate::support::{addrs, wait_until_set_is};

#[test]
fn certificates_are_read_from_files() {
    let mutual = |setup: redis_replicated::testing::Setup| setup.setting("tls-auth-clients", "yes");
    let Some(stage) = Stage::with(1, mutual) else { return };
    let own = stage.authority.identity("client", "DNS:client", Valid::Now);
    let (ca, [master, replica]) = (stage.authority.ca(), [0, 1].map(|index| stage.servers.servers()[index].url()));
    let tls =
        |key: &std::path::Path| format!("tls = {{ ca_file = {ca:?}, cert_file = {:?}, key_file = {key:?} }}", own.cert);
    let named = format!("master = '{master}'\nreplicas = ['{replica}']\n{}", tls(&own.key));
    let found = format!("discover = ['{}']\n{}", stage.servers.master().addr(), tls(&own.key));
    for text in [&named, &found] {
        let config: Config = toml::from_str(text).unwrap();
        let client = ReplicatedClient::from_config(&config).unwrap();
        wait_until_set_is(&client, &stage.servers.master().addr(), &addrs(stage.servers.replicas()));
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    let other = stage.authority.identity("other", "DNS:other", Valid::Now);
    let bad = stage.authority.ca().with_file_name("bad.pem");
    fs::write(&bad, "s3cret that is no key").unwrap();
    for (key, said) in [
        (bad.as_path(), "bad.pem"),
        (bad.with_file_name("none.pem").as_path(), "none.pem: cannot be read: no such file"),
        (&other.key, "other.key"),
    ] {
        let config: Config = toml::from_str(&format!("master = '{master}'\n{}", tls(key))).unwrap();
        let error = ReplicatedClient::from_config(&config).unwrap_err();
        println!("{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(said) && !format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

#[test]
fn a_url_switches_tls_on_for_sentinels_and_nodes() {
    let Some(stage) = Stage::new(1) else { return };
    let sentinels = Sentinels::start(&stage.servers, 2).unwrap();
    let places =
        |servers: &[Server]| servers.iter().map(|server| server.addr().to_string()).collect::<Vec<_>>().join(",");
    let (nodes, sentinels) = (places(stage.servers.servers()), places(sentinels.sentinels()));
    let ca = stage.authority.ca().display().to_string().replace('/', "%2F");
    let checked =
        [format!("rediss://{nodes}/0?ca_file={ca}"), format!("rediss-sentinel://{sentinels}/0?ca_file={ca}#main")];
    for url in checked {
        let client = ReplicatedClient::open(&url).unwrap();
        wait_until_set_is(&client, &stage.servers.master().addr(), &addrs(stage.servers.replicas()));
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    // The authority is not known, and needs not be.
    for url in
        [format!("rediss://{nodes}#insecure"), format!("rediss-sentinel://{sentinels}?master_name=main&insecure=true")]
    {
        match ReplicatedClient::open(&url) {
            Ok(client) => assert_eq!(client.get::<String>("k").unwrap(), "v"),
            Err(error) => assert!(error.to_string().contains("tls-rustls-insecure"), "{error}"),
        }
    }
}

#[test]
fn no_crypto_provider_is_installed_for_the_process() {
    if has_openssl() {
        run_alone("tls::settings::no_crypto_provider_is_installed_in_a_process_of_its_own");
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn no_crypto_provider_is_installed_in_a_process_of_its_own() {
    let Some(stage) = Some(()).filter(|()| is_alone()).and_then(|()| Stage::new(1)) else { return };
    let client = stage.client();
    client.set("k", "v").unwrap();
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}

#[test]
fn signals_fail_no_call() {
    if has_openssl() {
        run_alone("tls::settings::signals_fail_no_call_in_a_process_of_its_own");
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn signals_fail_no_call_in_a_process_of_its_own() {
    let Some(stage) = Some(()).filter(|()| is_alone()).and_then(|()| Stage::new(2)) else { return };
    crate::calls::time_limits::signals::check(&stage.servers, stage.builder());
}
