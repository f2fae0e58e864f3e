use super::Builder;
use crate::{Classification, Endpoint, ErrorKind, ReplicatedClient, strategy};
use std::time::Duration;

fn good() -> Builder {
    ReplicatedClient::builder().master("127.0.0.1:1").replica("127.0.0.1:2")
}

fn refusal(builder: Builder) -> String {
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn bad_settings_are_refused_with_their_name() {
    let zero = Duration::ZERO;
    for (builder, said) in [
        (good().pool_size(0), "pool_size"),
        (good().connect_timeout(zero), "connect_timeout"),
        (good().checkout_timeout(zero), "checkout_timeout"),
        (good().response_timeout(zero), "response_timeout"),
        (good().idle_timeout(zero), "idle_timeout"),
        (good().deadline(zero), "deadline"),
        (good().deadline(Duration::MAX), "deadline is longer"),
        (good().response_timeout(Duration::MAX), "response_timeout is longer"),
        (good().pool_size(u32::MAX), "pool_size is 4294967295"),
        (good().client_name("a b"), "client_name"),
        (ReplicatedClient::builder().replica("127.0.0.1:2"), "no master"),
        (good().master("127.0.0.1:3"), "2 masters"),
        (good().replica("127.0.0.1:2"), "127.0.0.1:2: this node is named twice"),
        (good().replica("redis://127.0.0.1:1"), "127.0.0.1:1: this node is named twice"),
        (good().replica("redis://127.0.0.1:3/1"), "another database"),
        (good().replica(Endpoint::from("127.0.0.1:3").weight(0)), "weight 0"),
        (good().replicas((10..80).map(|port| format!("127.0.0.1:{port}"))), "72 nodes"),
        (good().classify("A B C", Classification::Read), "\"A B C\""),
        (good().classify("MY.SCAN", Classification::Cursor), "\"MY.SCAN\""),
        (good().strategy_named("fastest", None), "unknown strategy \"fastest\": expected one of peak_ewma"),
        (
            good().login(redis::RedisConnectionInfo::default().set_password("secret")),
            "login and tls are for nodes that are found",
        ),
        (good().discover(["127.0.0.1:3"]), "two sources"),
        (ReplicatedClient::builder().discover([""; 0]), "discover: no node"),
        (ReplicatedClient::builder().discover(["redis://me:secret@"]), "bad address"),
        (ReplicatedClient::builder().sentinel("", ["127.0.0.1:3"]), "name of the service"),
        (ReplicatedClient::builder().sentinel("main", [""; 0]), "no Sentinel"),
        (ReplicatedClient::builder().sentinel("main", ["redis://me:secret@"]), "bad address"),
        (good().monitor_interval(Duration::from_millis(1)), "monitor_interval"),
        (good().fallback_limit(0), "fallback_limit"),
        (good().lag_limit(zero), "lag_limit is 0"),
        (good().lag_limit(Duration::MAX), "lag_limit is longer"),
        (
            ReplicatedClient::builder().sentinel("main", ["redis://127.0.0.1:3/1"]),
            "127.0.0.1:3: sentinel: a Sentinel has no databases",
        ),
        (
            ReplicatedClient::builder().discover(["redis://127.0.0.1:3/1", "redis://127.0.0.1:4/2"]),
            "127.0.0.1:4: discover: this seed is to use another database",
        ),
        (
            ReplicatedClient::builder()
                .discover(["redis://127.0.0.1:3/1"])
                .login(redis::RedisConnectionInfo::default().set_db(2)),
            "127.0.0.1:3: discover: this seed is to use another database",
        ),
        (good().replica("redis://me:secret@"), "bad address \"redis://***@\""),
    ] {
        let refusal = refusal(builder);
        assert!(refusal.contains(said), "{refusal:?} does not say {said:?}");
        assert!(!refusal.contains("secret"), "{refusal}");
    }
}

#[test]
fn every_strategy_is_known_by_its_name() {
    for name in strategy::names() {
        assert!(good().strategy_named(name, Some(1)).build().is_ok(), "{name}");
    }
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let client = good().build().unwrap();
    let topology = client.router().store.current();
    let limits = topology.servers()[0].pool.limits();
    assert_eq!(client.options.call.read_from, crate::ReadFrom::ReplicaPreferred);
    assert_eq!(client.options.call.deadline, Duration::from_secs(3));
    assert_eq!((limits.size, limits.connect), (10, Duration::from_millis(500)));
    assert_eq!((limits.checkout, limits.response), (Duration::from_millis(250), Duration::from_secs(1)));
    assert_eq!(limits.idle, Duration::from_secs(600));
    assert!(format!("{:?}", client.shared).contains("strategy: PeakEwma"));
    assert_eq!(client.shared.session_mode, crate::SessionMode::Strict);
    assert_eq!(client.router().store.lag_limit(), Some(Duration::from_secs(10)));
    assert!(good().lag_limit(None).build().unwrap().router().store.lag_limit().is_none());
    assert!(client.options.guarantees.is_none());
}

#[cfg(not(any(feature = "tls-rustls", feature = "tls-native-tls")))]
#[test]
fn tls_without_its_feature_is_refused() {
    use redis::TlsMode;

    let found = |url: &str| ReplicatedClient::builder().discover([url]);
    let sentinel = |url: &str| ReplicatedClient::builder().sentinel("main", [url]);
    for builder in [
        good().replica("rediss://127.0.0.1:3"),
        good().replica("rediss://127.0.0.1:3#insecure"),
        found("rediss://127.0.0.1:3"),
        found("127.0.0.1:3").tls(TlsMode::Secure),
        sentinel("rediss://127.0.0.1:3"),
        sentinel("127.0.0.1:3").tls(TlsMode::Secure),
        good().tls_files(crate::builder::TlsFiles { ca: Some("ca.pem".into()), ..Default::default() }),
    ] {
        let refusal = refusal(builder);
        assert!(refusal.contains("tls-rustls-ring") && refusal.contains("tls-native-tls"), "{refusal}");
    }
}

#[cfg(all(feature = "tls-rustls", not(any(feature = "tls-rustls-ring", feature = "tls-rustls-aws-lc-rs"))))]
#[test]
fn tls_without_a_crypto_provider_is_refused() {
    use redis::IntoConnectionInfo;
    use redis::io::tcp::TcpSettings;

    let ours = "rediss://127.0.0.1:3".into_connection_info().unwrap();
    // The redis crate opens this one.
    let lingers = TcpSettings::default().set_linger_time(std::time::Duration::ZERO);
    for info in [ours.clone(), ours.set_tcp_settings(lingers)] {
        let refusal = refusal(good().replica(info));
        assert!(refusal.contains("tls-rustls-ring") && refusal.contains("install_default"), "{refusal}");
    }
}

#[cfg(all(feature = "tls-rustls", not(feature = "tls-rustls-insecure")))]
#[test]
fn tls_that_checks_nothing_needs_its_feature() {
    use redis::TlsMode;

    let found = ReplicatedClient::builder().discover(["127.0.0.1:3"]).tls(TlsMode::Insecure);
    for builder in [good().replica("rediss://127.0.0.1:3#insecure"), found] {
        let refusal = refusal(builder);
        assert!(refusal.contains("tls-rustls-insecure"), "{refusal}");
    }
}

#[cfg(feature = "tls-rustls")]
#[test]
fn certificates_that_cannot_be_read_are_named_and_not_shown() {
    use redis::{ClientTlsConfig, TlsCertificates};

    let secret = || b"s3cret".to_vec();
    let client = ClientTlsConfig { client_cert: secret(), client_key: secret() };
    for (root_cert, client_tls, said) in
        [(Some(secret()), None, "tls_certificates: root_cert"), (None, Some(client), "tls_certificates: client_cert")]
    {
        let builder = good().tls_certificates(TlsCertificates { client_tls, root_cert });
        assert!(!format!("{builder:?}").contains("s3cret"));
        let refusal = refusal(builder);
        assert!(refusal.contains(said) && !refusal.contains("s3cret"), "{refusal}");
    }
}
