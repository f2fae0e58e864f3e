//! Configurations in URLs.

use std::fmt::Write;

use proptest::prelude::*;

use super::super::Config;
use super::tree::fields_of;
use crate::{ErrorKind, ReadFrom, ReplicatedClient};

/// Reads a URL, and checks that it means the same as the file.
fn same(url: &str, file: &str) -> Config {
    let config = Config::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    assert_eq!(config, toml::from_str(file).unwrap(), "{url}");
    config
}

/// Returns the error of a URL.
fn refused(url: &str) -> String {
    let Err(error) = Config::from_url(url) else { panic!("{url} was accepted") };
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

fn check_refusal(url: &str, said: &str) {
    let error = refused(url);
    assert!(error.starts_with("URL: ") && error.contains(said), "{url}: {error:?} does not say {said:?}");
}

/// Percent-encodes all but letters and digits.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02x}").unwrap();
        }
        out
    })
}

#[test]
fn nodes_logins_and_databases_mean_the_same_in_a_file() {
    same("redis://a", "discover = ['a:6379']");
    same("REDIS://A/", "discover = ['a:6379']");
    same("valkey://b:1,a/0", "discover = ['b:1', 'a:6379']");
    same("redis://[::1],[fe80::2]:7000/2", "discover = ['[::1]:6379', '[fe80::2]:7000']\nlogin = { database = 2 }");
    same("redis://:@a?", "discover = ['a:6379']");
    same("redis://:s@a,b/3", "discover = ['a:6379', 'b:6379']\nlogin = { password = 's', database = 3 }");
    same("redis://u:@a", "discover = ['a:6379']\nlogin = { username = 'u', password = '' }");
    same(
        "redis://%C3%BC%40:p%3a%23%2F%3F%25:+é@a",
        "discover = ['a:6379']\nlogin = { username = 'ü@', password = 'p:#/?%:+é' }",
    );
    same("redis://a?db=4&protocol=resp3", "discover = ['a:6379']\nlogin = { database = 4, protocol = 'resp3' }");
}

#[test]
fn sentinels_mean_the_same_in_a_file() {
    let file = "sentinel = { service = 'main', nodes = ['a:26379', '[::1]:5'] }\nlogin = { username = 'u', password = 'p', database = 1 }";
    for service in ["?sentinelMasterId=main", "?master_name=main", "?sentinel_master_id=m%61in", "#main"] {
        let config = same(&format!("redis-sentinel://u:p@a,[::1]:5/1{service}"), file);
        assert_eq!((config.service(), config.username(), config.database()), (Some("main"), Some("u"), Some(1)));
    }
    let own = "sentinel = { service = 'main', nodes = ['a:26379'], username = 'w', password = 'x&#' }";
    same("redis-sentinel://a?sentinelMasterId=main&sentinel_username=w&sentinel_password=x%26%23", own);
    let tls = "tls = {}\nsentinel = { service = 'main', nodes = ['rediss://a:26379'] }";
    same("rediss-sentinel://a/0#main", tls);
    let insecure = "tls = { insecure = true }\nsentinel = { service = 'main', nodes = ['rediss://a:1/#insecure'] }";
    same("rediss-sentinel://a:1?master_name=main&insecure=true", insecure);
}

#[test]
fn every_setting_means_the_same_in_a_file() {
    let url = "rediss://a,b?strategy=RoundRobin&strategy_seed=7&zone=eu-1a&latency_window=15ms&readFrom=replica-preferred&\
               clientName=7&pool_size=16&max_connecting=2&shared_connections=0&connect_timeout=500ms&checkout_timeout=250ms&\
               response_timeout=1s&deadline=1s%20500ms&idle_timeout=10m&monitor_interval=0s&fallback_limit=8&\
               session_mode=fence&lag_limit=off&slow_call=100ms&classify.MY.LOOKUP=read&classify.a%20b=write&\
               ca_file=ca.pem&cert_file=c.pem&key_file=/k%20k.pem";
    let file = r#"
        discover = ["a:6379", "b:6379"]
        strategy = "RoundRobin"
        strategy_seed = 7
        zone = "eu-1a"
        latency_window = "15ms"
        read_from = "replica_preferred"
        client_name = "7"
        pool_size = 16
        max_connecting = 2
        shared_connections = 0
        connect_timeout = "500ms"
        checkout_timeout = "250ms"
        response_timeout = "1s"
        deadline = "1s 500ms"
        idle_timeout = "10m"
        monitor_interval = "0s"
        fallback_limit = 8
        session_mode = "fence"
        lag_limit = "off"
        slow_call = "100ms"
        classify = { "MY.LOOKUP" = "read", "a b" = "write" }
        tls = { ca_file = "ca.pem", cert_file = "c.pem", key_file = "/k k.pem" }
    "#;
    let config = same(url, file);
    assert_eq!((config.strategy(), config.read_from()), (Some("RoundRobin"), Some(ReadFrom::ReplicaPreferred)));
    assert_eq!((config.zone(), config.client_name(), config.pool_size()), (Some("eu-1a"), Some("7"), Some(16)));
    assert_eq!(config.deadline().map(|time| time.as_millis()), Some(1500));
    same(
        "redis://a?fallback_limit=off&lag_limit=3s",
        "discover = ['a:6379']\nfallback_limit = 'off'\nlag_limit = '3s'",
    );
    same("rediss://a#insecure", "discover = ['a:6379']\ntls = { insecure = true }");
    // Whoever adds a setting adds it to the URLs above.
    let not_in_a_url = ["master", "replicas", "discover", "sentinel", "login", "tls"];
    let is_tested = |name: &&&str| not_in_a_url.contains(name) || url.replace("readFrom", "read_from").contains(**name);
    let fields = fields_of::<Config>();
    let missing: Vec<_> = fields.iter().filter(|name| !is_tested(name) && **name != "client_name").collect();
    assert!(fields.len() > 20 && missing.is_empty(), "{missing:?} of {fields:?}");
}

#[test]
fn a_url_of_another_form_is_refused_with_a_remedy() {
    let form = "expected redis://host:6379";
    for (url, said) in [
        ("", form),
        ("a:6379", form),
        ("http://a", form),
        ("redis+sentinel://a/main", "redis-sentinel://host"),
        ("unix:///tmp/s", "sockets"),
        ("redis://", "node 1: no host"),
        ("redis://a,,b", "node 2: no host"),
        ("redis://a,b,a:6379", "node 3: it is named before"),
        ("redis://a:0", "node 1: no address"),
        ("redis://a,b:x", "node 2: no address"),
        ("redis://::1", "brackets"),
        ("redis://[::1", "node 1"),
        ("redis://a/x", "no database"),
        ("redis://a/+1", "no database"),
        ("redis://a/0/1", "no database"),
        ("redis://a/0 ", "a line end"),
        ("redis://a\n", "a line end"),
        ("redis://word@a", "write user:password@, or :password@"),
        ("redis://u:p@a,u:p@b", "one login, in front of the first node"),
        ("redis://u:%zz@a", "write % itself as %25"),
        ("redis://u:%@a", "write % itself as %25"),
        ("redis://u:%ff@a", "not UTF-8"),
        ("redis://a?client_name=x@y", "write ? as %3F, and @ as %40"),
        ("redis://a#main", "only be #insecure with rediss://"),
        ("rediss://a#main", "only be #insecure with rediss://"),
        ("redis-sentinel://a", "no service: add ?sentinelMasterId="),
    ] {
        check_refusal(url, said);
    }
}

#[test]
fn words_and_values_that_cannot_be_read_are_named_with_a_remedy() {
    for (url, said) in [
        ("redis://a?pool_sise=3", "unknown setting \"pool_sise\": did you mean pool_size?"),
        ("redis://a?senntinelMasterId=x", "did you mean sentinelMasterId?"),
        ("redis://a?fastest=true", "unknown setting \"fastest\": the settings are the fields of Config"),
        ("redis://a?pool_size", "pool_size has no value"),
        ("redis://a?pool_size=many", "pool_size: expected a whole number"),
        ("redis://a?pool_size=", "pool_size: expected a whole number"),
        ("redis://a?poolSize=1&pool_size=1", "pool_size is set twice"),
        ("redis://a/1?db=1", "database is set twice"),
        ("redis-sentinel://a?master_name=x&sentinelMasterId=x", "sentinelMasterId is set twice"),
        ("redis-sentinel://a?master_name=x#x", "the service is set twice"),
        ("redis://a?database=-1", "database: expected a whole number"),
        ("redis://a?deadline=3", "deadline: a time needs a unit: write \"3s\""),
        ("redis://a?lag_limit=1.5", "lag_limit: a time needs a unit: write \"1.5s\""),
        ("redis://a?deadline=soon", "deadline: expected number at 0: expected a time such as"),
        ("redis://a?read_from=secondary", "read_from: not a read preference"),
        ("redis://a?session_mode=x", "session_mode: unknown variant"),
        ("redis://a?protocol=4", "protocol: unknown variant"),
        ("redis://a?fallback_limit=none", "fallback_limit: expected a number, or \"off\""),
        ("rediss://a?insecure=yes", "insecure: expected true or false"),
        ("redis://a?insecure=true", "need TLS: write rediss://"),
        ("redis://a?ca_file=x", "need TLS: write rediss://"),
        ("redis://a?classify.X=reed", "classify.X: unknown variant"),
        ("redis://a?classify=read", "classify.NAME=read"),
        ("redis://a?timeout=3s", "response_timeout for one attempt"),
        ("redis://a?password=x", "in front of the nodes: redis://user:password@host"),
        ("redis://a?tls=true", "rediss://"),
        ("redis://a?master=b", "the nodes of a URL stand in front of the path"),
        ("redis://a?sentinelMasterId=main", "need redis-sentinel://"),
    ] {
        check_refusal(url, said);
    }
}

#[test]
fn a_password_in_the_wrong_form_is_refused_with_advice_and_never_shown() {
    for (url, advice) in [
        ("redis://u:sec@ret@a", "within a user, password or value, write @ as %40"),
        ("redis://u:sec#ret@a", "within a user, password or value, write # as %23"),
        ("redis://u:sec/ret@a", "within a user, password or value, write / as %2F"),
        ("redis://u:sec?ret@a", "within a user, password or value, write ? as %3F"),
        ("redis://:sec#@a", "%23"),
        ("redis://secret@a", "no colon"),
        ("redis://u:secret", "a login ends with @"),
        ("redis://u:sec%ret@a", "write % itself as %25"),
        ("secret@a:6379", "expected redis://"),
        ("secret://a", "expected redis://"),
        ("redis-sentinel://a?master_name=m&sentinel_password=x&secret", "write & as %26"),
        ("redis-sentinel://a?master_name=m&sentinel_password=x&secret=1", "write & as %26"),
        ("redis-sentinel://a?sentinel_password=x#secret", "within sentinel_password write %23"),
        ("redis://a?sentinel_password=sec@ret", "@ as %40"),
        ("redis://a?password=secret", "in front of the nodes"),
    ] {
        let error = refused(url);
        assert!(error.contains(advice), "{url}: {error:?} does not say {advice:?}");
        assert!(!error.contains("sec") || error.contains("second"), "{error}");
    }
    for url in ["redis://u:secret@a,b", "redis-sentinel://:secret@a?master_name=m&sentinel_password=secret"] {
        let config = Config::from_url(url).unwrap();
        let client = ReplicatedClient::from_config(&config).unwrap();
        let shown = format!("{config:?} {:?} {client:?} {:?}", config.builder(), client.shared);
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn tls_needs_a_feature_and_a_url_arrives_in_the_client() {
    for url in ["rediss://u:secret@127.0.0.1:1", "rediss-sentinel://127.0.0.1:1#main"] {
        let made = ReplicatedClient::open(url);
        if cfg!(not(any(feature = "tls-rustls", feature = "tls-native-tls"))) {
            let error = made.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("the feature tls-rustls-ring"), "{error}");
        }
    }
    let url = "redis://127.0.0.1:1,127.0.0.1:2/2?read_from=any&strategy=random";
    let client = ReplicatedClient::open(url).unwrap();
    assert_eq!(client.options.call.read_from, ReadFrom::Any);
    let error = ReplicatedClient::open("redis://127.0.0.1:1?strategy=fastest").unwrap_err();
    assert!(error.to_string().contains("unknown strategy \"fastest\""), "{error}");
    let with_own = "sentinel = { service = 'm', password = 'x', nodes = ['a:1', 'redis://:y@b:1', 'redis://z@c:1'] }";
    let config: Config = toml::from_str(with_own).unwrap();
    let passwords = config.sentinel.unwrap().endpoints().into_iter().map(|sentinel| {
        let info = sentinel.place().unwrap().info;
        info.redis_settings().password().map(str::to_owned)
    });
    assert_eq!(passwords.collect::<Vec<_>>(), [Some("x".to_owned()), Some("y".to_owned()), None]);
}

proptest! {
    #[test]
    fn no_text_panics(url in "\\PC{0,60}", tail in "[a-c:@/?#&=%,\\[\\]0-9]{0,40}") {
        for url in [url.clone(), format!("redis://{url}"), format!("redis-sentinel://{tail}"), format!("rediss://a?{tail}")] {
            match Config::from_url(&url) {
                Ok(config) => drop(config.builder()),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Config),
            }
        }
    }

    #[test]
    fn an_encoded_login_arrives_unchanged(user in "\\PC{1,12}", password in ".{0,20}") {
        let url = format!("redis://{}:{}@a,b/1", encoded(&user), encoded(&password));
        let login = Config::from_url(&url).unwrap().login.unwrap().info();
        prop_assert_eq!((login.username(), login.password()), (Some(&*user), Some(&*password)));
    }

    #[test]
    fn an_unencoded_password_is_read_as_it_is_or_refused_unseen(password in "[!-~]{0,6}Secret[!-~]{0,6}", bad in "[a-z]{0,3}") {
        match Config::from_url(&format!("redis://u:{password}@a,b/0?{bad}=1")) {
            Ok(_) => prop_assert!(false, "an unknown setting"),
            Err(error) => prop_assert!(!error.to_string().contains("Secret"), "{}", error),
        }
    }

    #[test]
    fn each_text_of_a_setting_reads_alike_in_both_forms(value in "[ -~]{0,12}") {
        let url = format!("redis://a?deadline={0}&lag_limit={0}&read_from={0}", encoded(&value));
        let literal = toml::Value::String(value).to_string();
        let file = format!("discover = ['a:6379']\ndeadline = {literal}\nlag_limit = {literal}\nread_from = {literal}");
        prop_assert_eq!(Config::from_url(&url).ok(), toml::from_str(&file).ok());
    }
}
