//! One URL: `ReplicatedClient::open`.

use redis_replicated::testing::{ReplicaSet, Sentinels, Server, free_port};
use redis_replicated::{Config, ErrorKind, ReplicatedClient};

use crate::support::{addrs, set_with_key, wait_until_set_is};

/// A user and a password with every character that has a meaning in a URL.
const USER: &str = "app:@/é";
const PASSWORD: &str = "p%40@#/?&=:[]+,é";

/// Percent-encodes all but letters and digits.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn places(servers: &[&Server]) -> String {
    servers.iter().map(|server| server.addr().to_string()).collect::<Vec<_>>().join(",")
}

fn add_user(server: &Server, user: &str, password: &str) {
    let mut set = redis::cmd("ACL");
    set.arg("SETUSER").arg(user).arg("on").arg(format!(">{password}")).arg("allkeys").arg("allchannels").arg("+@all");
    set.exec(&mut server.connection().unwrap()).unwrap();
}

/// The whole set is found, and serves.
fn check(client: &ReplicatedClient, servers: &ReplicaSet) {
    client.set("k", "v").unwrap();
    wait_until_set_is(client, &servers.master().addr(), &addrs(servers.replicas()));
    servers.wait_until_in_sync().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
}

#[test]
fn any_nodes_in_any_order_find_the_master() {
    let servers = set_with_key(2);
    let [master, one, two] = [servers.master(), servers.replica(0), servers.replica(1)];
    for nodes in [&[master, one, two][..], &[two, one, master], &[one, master], &[two]] {
        let client = ReplicatedClient::open(&format!("redis://{}/0?deadline=10s", places(nodes))).unwrap();
        check(&client, &servers);
    }
    let dead = free_port().unwrap();
    let url = format!("redis://127.0.0.1:{dead},{}?read_from=replica&client_name=shop", places(&[one]));
    let client = ReplicatedClient::open(&url).unwrap();
    check(&client, &servers);
    assert!(one.calls("GET").unwrap() + two.calls("GET").unwrap() > 0);
    let mut clients = redis::cmd("CLIENT");
    let clients: String = clients.arg("LIST").query(&mut master.connection().unwrap()).unwrap();
    assert!(clients.contains("name=shop"), "{clients}");
}

#[test]
fn a_login_with_special_characters_and_a_database_reach_all_nodes() {
    let servers = set_with_key(1);
    servers.servers().iter().for_each(|server| add_user(server, USER, PASSWORD));
    let nodes = places(&[servers.replica(0), servers.master()]);
    let url = format!("redis://{}:{}@{nodes}/2?protocol=resp3", encoded(USER), encoded(PASSWORD));
    let client = ReplicatedClient::open(&url).unwrap();
    check(&client, &servers);
    let names: String = client.query(redis::cmd("ACL").arg("WHOAMI")).unwrap();
    assert_eq!(names, USER);
    let keyspace = servers.master().info("keyspace", "db2").unwrap();
    assert!(keyspace.is_some_and(|keys| keys.starts_with("keys=1")));
    let wrong = ReplicatedClient::open(&format!("redis://{}:wrong-secret@{nodes}?deadline=1s", encoded(USER))).unwrap();
    let error = wrong.set("k", "v").unwrap_err();
    assert!(!error.to_string().contains("wrong-secret"), "{error}");
}

#[test]
fn sentinels_have_a_login_of_their_own() {
    let servers = set_with_key(1);
    let sentinels = Sentinels::start(&servers, 2).unwrap();
    servers.servers().iter().for_each(|server| add_user(server, USER, PASSWORD));
    let login = format!("{}:{}@", encoded(USER), encoded(PASSWORD));
    let all: Vec<&Server> = sentinels.sentinels().iter().collect();
    // At first, the Sentinels ask for no login, and the one of the nodes is not sent to them.
    for service in ["?sentinelMasterId=main", "?master_name=main", "#main"] {
        let client = ReplicatedClient::open(&format!("redis-sentinel://{login}{}/0{service}", places(&all))).unwrap();
        check(&client, &servers);
    }
    for sentinel in &all {
        add_user(sentinel, "watch", "e&e #");
        let mut off = redis::cmd("ACL");
        off.arg("SETUSER").arg("default").arg("off").exec(&mut sentinel.connection().unwrap()).unwrap();
    }
    let url = format!("redis-sentinel://{login}{}/0?sentinelMasterId=main&deadline=2s", places(&all));
    let with_login = format!("{url}&sentinel_username=watch&sentinel_password={}", encoded("e&e #"));
    check(&ReplicatedClient::open(&with_login).unwrap(), &servers);
    let without = ReplicatedClient::open(&url).unwrap();
    assert!(without.set("k", "v").is_err());
}

#[test]
fn the_file_of_the_same_settings_makes_the_same_client() {
    let servers = set_with_key(1);
    servers.servers().iter().for_each(|server| add_user(server, USER, PASSWORD));
    let node = servers.replica(0).addr();
    let url = format!("redis://{}:{}@{node}/1?strategy=random", encoded(USER), encoded(PASSWORD));
    let config = Config::from_url(&url).unwrap();
    let file = format!(
        "discover = ['{node}']\nstrategy = 'random'\nlogin = {{ username = '{USER}', password = '{PASSWORD}', database = 1 }}"
    );
    let from_file: Config = toml::from_str(&file).unwrap();
    assert_eq!(config, from_file);
    assert_eq!(format!("{:?}", config.builder()), format!("{:?}", from_file.builder()));
    check(&ReplicatedClient::from_config(&from_file).unwrap(), &servers);
    let empty = ReplicatedClient::from_config(&Config::default()).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Config);
}
