//! Configurations in TOML.

use super::Config;
use crate::{ErrorKind, ReadFrom, ReplicatedClient};
use std::time::Duration;

fn read(text: &str) -> Result<Config, toml::de::Error> {
    toml::from_str(text)
}

#[test]
fn everything_set_arrives_in_the_client() {
    let text = r#"
        master = "127.0.0.1:1"
        replicas = ["127.0.0.1:2", { url = "127.0.0.1:3", weight = 3, zone = "b" }]
        strategy = "random"
        strategy_seed = 7
        zone = "b"
        latency_window = "2ms"
        read_from = "any"
        client_name = "me"
        pool_size = 3
        max_connecting = 5
        connect_timeout = "10ms"
        checkout_timeout = "20ms"
        response_timeout = "30ms"
        deadline = "1s 500ms"
        idle_timeout = "1m"
        monitor_interval = "2m"
        fallback_limit = 2
        session_mode = "fence"
        lag_limit = "4s"
        slow_call = "80ms"
        [classify]
        "MY.READ" = "read"
    "#;
    let config = read(text).unwrap();
    for config in [config.clone(), read(&toml::to_string(&config).unwrap()).unwrap()] {
        let client = ReplicatedClient::from_config(&config).unwrap();
        let topology = client.router().store.current();
        let server = &topology.servers()[2];
        let limits = server.pool.limits();
        assert_eq!((server.node.weight(), server.node.zone()), (3, Some("b")));
        assert_eq!(
            (client.options.call.read_from, client.options.call.deadline),
            (ReadFrom::Any, Duration::from_millis(1500))
        );
        let times = [limits.connect, limits.checkout, limits.response, limits.idle];
        assert_eq!(times.map(|time| time.as_millis()), [10, 20, 30, 60_000]);
        assert_eq!((limits.size, limits.connecting), (3, 5));
        assert!(format!("{:?}", client.shared).contains("strategy: ZoneAffinity { zone: \"b\""));
        assert!(format!("{:?}", client.router().store).contains("interval: 120s"));
        assert!(format!("{:?}", client.shared).contains("limit: 3"), "the own zone is saturated with its pools");
        assert_eq!(client.shared.session_mode, crate::SessionMode::Fence);
        assert_eq!(client.router().store.lag_limit(), Some(Duration::from_secs(4)));
        assert!(format!("{:?}", client.router().selector.permits).contains("limit: Some(2)"));
        assert_eq!(client.explain(&redis::cmd("MY.READ")).classification(), crate::Classification::Read);
    }
}

#[test]
fn sets_that_are_found_need_no_master() {
    let sentinel = r#"
        monitor_interval = "0s"
        fallback_limit = "off"
        lag_limit = "off"
        [sentinel]
        service = "main"
        nodes = ["127.0.0.1:1", { url = "redis://:watch@127.0.0.1:2" }]
        [login]
        username = "me"
        password = "secret"
        database = 2
    "#;
    let discover = "discover = ['127.0.0.1:3']\nlogin = { password = 'secret', database = 2 }";
    for (text, said) in [(sentinel, ["main", "127.0.0.1:2"]), (discover, ["Discovery", "127.0.0.1:3"])] {
        let config = read(text).unwrap();
        for config in [config.clone(), read(&toml::to_string(&config).unwrap()).unwrap()] {
            assert_eq!(config.login.as_ref().unwrap().info().db(), 2);
            assert_eq!(config.login.as_ref().unwrap().info().password(), Some("secret"));
            let client = ReplicatedClient::from_config(&config).unwrap();
            let shown = format!("{:?} {:?}", client.router().monitor, client.router().selector.permits);
            assert!(said.iter().all(|said| shown.contains(said)), "{shown}");
            assert_eq!(shown.contains("limit: None"), text == sentinel, "{shown}");
            assert_eq!(client.router().store.is_monitored(), text == discover);
            assert_eq!(client.router().store.lag_limit().is_some(), text == discover);
        }
    }
}

#[test]
fn mistakes_are_named() {
    for (text, said) in [
        ("master = '127.0.0.1:1'\npool_sise = 3", "pool_sise"),
        ("sentinel = { service = 'main' }", "nodes"),
        ("login = { pasword = 'x' }", "pasword"),
        ("tls = { ca = 'x' }", "ca_file"),
        ("fallback_limit = 'none'", "a number, or \"off\""),
        ("fallback_limit = -1", "a number, or \"off\""),
        ("monitor_interval = 1", "monitor_interval"),
        ("deadline = 3", "a time needs a unit: write \"3s\" for seconds, or \"3ms\""),
        ("deadline = '3'", "write \"3s\" for seconds"),
        ("deadline = 0.5", "write \"0.5s\" for seconds"),
        ("lag_limit = 10", "write \"10s\" for seconds"),
        ("master = '127.0.0.1:1'\ndeadline = 'soon'", "deadline"),
        ("lag_limit = 'none'", "or \"off\""),
        ("master = '127.0.0.1:1'\ndeadline = 3", "deadline"),
        ("master = '127.0.0.1:1'\nread_from = 'secondary'", "not a read preference"),
        ("master = { adress = '127.0.0.1:1' }", "table of url, weight and zone"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    }
    for (text, said) in [
        ("master = '127.0.0.1:1'\nstrategy = 'fastest'", "fastest"),
        ("replicas = ['127.0.0.1:1']", "no master"),
        ("", "no master"),
        ("discover = []", "discover: no node"),
        ("sentinel = { service = '', nodes = ['127.0.0.1:1'] }", "service is empty"),
        ("sentinel = { service = 'main', nodes = [] }", "no Sentinel is named"),
        ("master = '127.0.0.1:1'\ndiscover = ['127.0.0.1:1']", "two sources"),
        ("master = '127.0.0.1:1'\nfallback_limit = 0", "fallback_limit is 0"),
        ("master = '127.0.0.1:1'\nmax_connecting = 0", "max_connecting is 0"),
        ("master = '127.0.0.1:1'\nlag_limit = '0s'", "lag_limit is 0"),
        ("master = '127.0.0.1:1'\nslow_call = '0s'", "slow_call is 0"),
        ("master = '127.0.0.1:1'\nmonitor_interval = '1ms'", "monitor_interval is less"),
        ("master = '127.0.0.1:1'\ntls = { ca_file = '/none/ca.pem' }", "tls"),
        ("master = '127.0.0.1:1'\nlogin = { password = 'x' }", "login"),
    ] {
        let error = ReplicatedClient::from_config(&read(text).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(said), "{error} does not say {said:?}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let config = read("master = 'redis://me:secret@127.0.0.1:1'\nreplicas = ['me:secret@nowhere']").unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    assert!(!format!("{:?}", config.builder()).contains("secret"));
    assert!(!format!("{:?}", config.builder().build().unwrap_err()).contains("secret"));
    let login = "login = { username = 'me', password = 'secret' }";
    for found in [
        "discover = ['redis://:secret@127.0.0.1:1']",
        "sentinel = { service = 'main', nodes = ['redis://:secret@127.0.0.1:1'] }",
    ] {
        let config = read(&format!("{found}\n{login}")).unwrap();
        assert!(!format!("{config:?} {:?}", config.builder()).contains("secret"), "{config:?}");
        let client = config.builder().build().unwrap();
        assert!(!format!("{client:?} {:?}", client.shared).contains("secret"));
    }
}
