use super::{Classification, Classifier, GROUPS, INDEX, Learned, MOST, SLOTS, START, hash, row_of, slot_of};
use redis::cmd;

fn rows() -> impl Iterator<Item = super::Row> {
    GROUPS.iter().flat_map(|group| (0..group.names.len()).map(|at| group.row(at)))
}

#[test]
fn names_are_found_in_any_case_with_one_word_or_two() {
    let classifier = Classifier::new();
    for (command, class) in [
        (cmd("get"), Classification::Read),
        (cmd("Set"), Classification::Write),
        (cmd("object").arg("encoding").clone(), Classification::Read),
        (cmd("OBJECT").arg("nosuch").clone(), Classification::Write),
        (cmd("OBJECT ENCODING"), Classification::Write),
        (cmd("SORT").arg("k").clone(), Classification::Write),
        (cmd("SORT_RO").arg("k").clone(), Classification::Read),
        (cmd("client").arg("reply").arg("off").clone(), Classification::Connection),
        (cmd("CLIENT").arg("LIST").clone(), Classification::Master),
        (cmd("PUBLISH").arg("c").arg("m").clone(), Classification::Master),
        (cmd("HSCAN").arg("k").arg(0).clone(), Classification::Cursor),
        (cmd("FT.AGGREGATE").arg("i").arg("*").clone(), Classification::Read),
        (cmd("FT.AGGREGATE").arg("i").arg("*").arg("withcursor").clone(), Classification::Cursor),
        (cmd("CF.COMPACT").arg("k").clone(), Classification::Write),
        (cmd(""), Classification::Write),
    ] {
        assert_eq!(
            classifier.classify(&command),
            class,
            "{:?}",
            String::from_utf8_lossy(&command.get_packed_command())
        );
    }
}

#[test]
fn a_script_is_a_read_only_if_it_says_so() {
    let classifier = Classifier::new();
    let eval = |script: &str| classifier.classify(cmd("EVAL").arg(script).arg(0));
    assert_eq!(eval("#!lua flags=no-writes\nreturn 1"), Classification::Read);
    assert_eq!(eval("return 1"), Classification::Write);
    assert_eq!(classifier.classify(cmd("EVALSHA_RO").arg("sha").arg(0)), Classification::Read);
    assert_eq!(classifier.classify(cmd("FCALL").arg("f").arg(0)), Classification::Write);
}

#[test]
fn overrides_win_with_and_without_a_subcommand() {
    let classifier = Classifier::new()
        .with_override("my.read", Classification::Read)
        .and_then(|c| c.with_override("OBJECT encoding", Classification::Master))
        .and_then(|c| c.with_override("EVAL", Classification::Master))
        .unwrap();
    assert_eq!(classifier.classify(&cmd("MY.READ")), Classification::Read);
    assert_eq!(classifier.classify(cmd("object").arg("ENCODING").arg("k")), Classification::Master);
    assert_eq!(classifier.classify(cmd("OBJECT").arg("FREQ").arg("k")), Classification::Read);
    assert_eq!(classifier.classify(cmd("EVAL").arg("#!lua flags=no-writes\n").arg(0)), Classification::Master);
    for bad in ["", " ", "A B C", "A  B", "ä", "GET\r\n", &"x".repeat(65)] {
        assert!(Classifier::new().with_override(bad, Classification::Read).is_none(), "{bad:?}");
    }
    assert!(Classifier::new().with_override("MY.SCAN", Classification::Cursor).is_none());
}

#[test]
fn a_pipeline_is_as_strict_as_its_strictest_command() {
    let classifier = Classifier::new();
    let class = |pipeline: &redis::Pipeline| classifier.classify_packed(&pipeline.get_packed_pipeline());
    assert_eq!(class(redis::pipe().get("a").get("b")), Classification::Read);
    assert_eq!(class(redis::pipe().get("a").set("b", 1)), Classification::Write);
    assert_eq!(class(redis::pipe().atomic().get("a")), Classification::Master);
    assert_eq!(class(redis::pipe().set("a", 1).cmd("SELECT").arg(1)), Classification::Connection);
    assert_eq!(classifier.classify_packed(b""), Classification::Write);
}

#[test]
fn names_are_remembered_once_and_only_so_many() {
    let learned = Learned::default();
    assert!(learned.is_empty() && !learned.contains(b"GET", None));
    assert!(learned.remember(b"my.get") && !learned.remember(b"MY.GET"));
    assert!(learned.remember(b"MY OBJ"));
    assert!(learned.contains(b"My.Get", Some(b"k")) && learned.contains(b"my", Some(b"obj")));
    assert!(!learned.contains(b"MY", None) && !learned.contains(b"MY", Some(b"K")) && !learned.contains(b"M", None));
    for n in 2..MOST {
        assert!(learned.remember(format!("N{n}").as_bytes()));
    }
    assert!(!learned.remember(b"ONE.TOO.MANY") && !learned.contains(b"ONE.TOO.MANY", None));
    assert!(learned.clone().is_empty());
}

#[test]
fn every_row_is_found_by_its_name() {
    for row in rows() {
        let (name, second) = row.name.split_once(' ').map_or((row.name, None), |(name, second)| (name, Some(second)));
        let lower = name.to_ascii_lowercase();
        let found = row_of(lower.as_bytes(), second.map(str::as_bytes)).unwrap();
        assert_eq!(found.name, row.name);
    }
}

#[test]
fn look_ups_are_short() {
    let steps = |name: &str| {
        let start = slot_of(hash(START, name.as_bytes()));
        (0..SLOTS).position(|step| INDEX[(start + step) % SLOTS].name == name).unwrap()
    };
    let all: Vec<usize> = rows().map(|row| steps(row.name)).collect();
    assert!(all.iter().sum::<usize>() < all.len() / 2, "{}", all.iter().sum::<usize>());
    assert!(all.iter().all(|steps| *steps < 12), "{:?}", all.iter().max());
}

#[test]
fn rows_are_sorted_and_in_upper_case() {
    assert!(GROUPS.iter().all(|group| group.names.is_sorted_by(|one, other| one < other)));
    let names: std::collections::BTreeSet<&str> = rows().map(|row| row.name).collect();
    assert_eq!(names.len(), rows().count(), "each name stands there once");
    assert!(rows().all(|row| !row.name.bytes().any(|byte| byte.is_ascii_lowercase())));
}
