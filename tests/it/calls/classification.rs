//! The table against the live `COMMAND` of the installed server, and the frame reader against arbitrary bytes.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use redis::{ConnectionLike, Value};
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Classification, Classifier};

/// A command as the server describes it: its name in one or two words, and its flags.
fn commands(reply: Value, all: &mut Vec<(String, HashSet<String>)>) {
    let Value::Array(entries) = reply else { panic!("COMMAND did not answer with a list") };
    for entry in entries {
        let Value::Array(mut fields) = entry else { panic!("not a command") };
        let subcommands = if fields.len() > 9 { fields.swap_remove(9) } else { Value::Array(Vec::new()) };
        let name: String = redis::from_redis_value(fields.swap_remove(0)).unwrap();
        let flags: HashSet<String> = redis::from_redis_value(fields.swap_remove(2)).unwrap();
        all.push((name.replace('|', " "), flags));
        commands(subcommands, all);
    }
}

#[test]
fn the_table_agrees_with_the_flags_of_the_installed_server() {
    let servers = ReplicaSet::start(0).unwrap();
    let mut all = Vec::new();
    commands(redis::cmd("COMMAND").query(&mut servers.master().connection().unwrap()).unwrap(), &mut all);
    assert!(all.len() > 200);
    let classifier = Classifier::new();
    // READONLY, and yet not for any replica: cursors, and answers of one node that routed handles do not promise.
    let cursors = ["scan", "hscan", "sscan", "zscan"];
    // Containers alone run nothing; servers before 7.0 give them the flags of their subcommands.
    let containers = ["object", "xinfo", "memory", "xgroup"];
    // READONLY, but it steers eviction, which the master does.
    let steers = |name: &str| name == "touch";
    for (name, flags) in all.into_iter().filter(|(name, _)| !containers.contains(&name.as_str())) {
        let mut words = name.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| _ = command.arg(word));
        let class = classifier.classify(&command);
        match class {
            Classification::Read => assert!(flags.contains("readonly"), "{name} is no read: {flags:?}"),
            Classification::Cursor => assert!(cursors.contains(&name.as_str()), "{name} is no scan"),
            Classification::Write => assert!(
                flags.contains("write") || ["eval", "evalsha", "fcall"].contains(&name.as_str()),
                "{name} is no write: {flags:?}"
            ),
            Classification::Master if steers(&name) => {}
            _ => assert!(!flags.contains("write") && !flags.contains("readonly"), "{name} is {class}: {flags:?}"),
        }
        if flags.contains("readonly") && !steers(&name) {
            assert!(
                matches!(class, Classification::Read | Classification::Cursor),
                "{name} could be read from replicas"
            );
        }
    }
}

/// What the servers' sources and answers say of each command, and what follows for a replica.
const ORACLE: &str = include_str!("oracle.tsv");

#[test]
fn the_table_agrees_with_the_oracle() {
    let classifier = Classifier::new();
    let mut rows = 0;
    for line in ORACLE.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, redis, valkey, dragonfly, verdict] = fields[..] else { panic!("{line}") };
        let mut words = name.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| _ = command.arg(word));
        let class = classifier.classify(&command);
        let is_listed = match verdict.split([':', ';']).next().unwrap() {
            // A container alone runs nothing.
            "by-subcommand" => matches!(class, Classification::Master | Classification::Write),
            "any" => class == Classification::Master,
            "conn-state" => class == Classification::Connection,
            "depends" if verdict.contains("script") => class == Classification::Write,
            "depends" => class == Classification::Connection,
            "pin" => class == Classification::Cursor,
            "yes" => class == Classification::Read,
            "no" if verdict.contains("write") || verdict.contains("mutates") => class == Classification::Write,
            "no" if verdict.contains("node-directed") => {
                matches!(class, Classification::Master | Classification::Connection)
            }
            "no" => class == Classification::Master,
            other => panic!("{other}"),
        };
        assert!(is_listed, "{name} is {class}, the oracle says: {verdict}");
        let writes = [redis, valkey, dragonfly].contains(&"write");
        assert!(!writes || class != Classification::Read, "{name} is {class}, a server takes it for a write");
        rows += 1;
    }
    assert!(rows > 600, "{rows}");
}

#[test]
fn what_the_table_calls_a_read_runs_on_a_replica() {
    let servers = ReplicaSet::start(1).unwrap();
    let mut all = Vec::new();
    let mut replica = servers.replica(0).connection().unwrap();
    commands(redis::cmd("COMMAND").query(&mut replica).unwrap(), &mut all);
    let classifier = Classifier::new();
    for (name, _) in all {
        let mut words = name.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| _ = command.arg(word));
        if classifier.classify(&command) == Classification::Read {
            // Without arguments, so that some fail, but none as a write.
            if let Value::ServerError(error) = replica.req_command(&command).unwrap() {
                assert_ne!(error.code(), "READONLY", "{name}");
            }
        }
    }
    assert_eq!(servers.replica(0).errors("READONLY").unwrap(), 0);
}

/// Words that matter to the classifier, and words that do not.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let known = vec![
        "GET",
        "get",
        "OBJECT",
        "ENCODING",
        "EVAL",
        "SCAN",
        "0",
        "17",
        "XREAD",
        "BLOCK",
        "STREAMS",
        "FT.AGGREGATE",
        "WITHCURSOR",
        "SET",
        "MULTI",
        "EXEC",
        "WAIT",
        "BLPOP",
        "FT.CURSOR",
        "READ",
        "#!lua flags=no-writes\n",
    ];
    prop_oneof![
        3 => proptest::sample::select(known).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..12),
    ]
}

fn pack(words: &[Vec<u8>]) -> Vec<u8> {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| _ = command.arg(word));
    command.get_packed_command()
}

/// What a server makes of these bytes: the whole commands in them, or nothing if there is anything else.
fn parse(bytes: &[u8]) -> Option<Vec<Vec<Vec<u8>>>> {
    let mut rest = bytes;
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let value = redis::parse_redis_value(rest).ok()?;
        let words: Vec<Vec<u8>> = match value {
            Value::Array(items) if !items.is_empty() => {
                let word = |item| if let Value::BulkString(word) = item { Some(word) } else { None };
                items.into_iter().map(word).collect::<Option<_>>()?
            }
            _ => return None,
        };
        let canonical = pack(&words);
        rest = rest.strip_prefix(&canonical[..])?;
        commands.push(words);
    }
    Some(commands)
}

proptest! {
    #![proptest_config(Config { cases: 10_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn random_bytes_are_never_a_read(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Classifier::new().classify_packed(&bytes), Classification::Write);
    }

    #[test]
    fn mutated_frames_are_reads_only_if_they_are_whole(
        commands in vec(vec(word(), 1..6), 1..4),
        edits in vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3_u8), 0..4),
    ) {
        let classifier = Classifier::new();
        let mut bytes: Vec<u8> = commands.iter().flat_map(|words| pack(words)).collect();
        for (place, byte, edit) in edits {
            let place = place.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match edit {
                0 if !bytes.is_empty() => bytes[place] = byte,
                1 if !bytes.is_empty() => _ = bytes.remove(place),
                _ => bytes.insert(place, byte),
            }
        }
        let class = classifier.classify_packed(&bytes);
        let read = matches!(class, Classification::Read | Classification::Cursor);
        if let Some(commands) = parse(&bytes) {
            // Whole commands: together they are what the strictest of them is.
            let strictest = commands.iter().map(|words| {
                let mut command = redis::Cmd::new();
                words.iter().for_each(|word| _ = command.arg(word));
                classifier.classify(&command)
            }).max();
            prop_assert_eq!(Some(class), strictest.or(Some(Classification::Write)));
        } else {
            prop_assert!(!read, "{}", bytes.escape_ascii());
        }
    }
}
