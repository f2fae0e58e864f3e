use super::{Block, Frames, Malformed, Words, declares_no_writes};
use std::time::Duration;

#[test]
fn a_pipeline_is_walked_command_by_command() {
    let pipeline = redis::pipe().get("k").cmd("SET").arg("k").arg("v").to_owned();
    let bytes = pipeline.get_packed_pipeline();
    let commands: Vec<Vec<&[u8]>> = Frames::new(&bytes).map(|words| words.unwrap().collect()).collect();
    assert_eq!(commands, [vec![&b"GET"[..], b"k"], vec![b"SET", b"k", b"v"]]);
}

#[test]
fn the_words_of_a_command_are_those_of_its_packed_form() {
    for count in 0..12 {
        let mut cmd = redis::cmd("NAME");
        (0..count).for_each(|n| _ = cmd.arg(n));
        let packed = cmd.get_packed_command();
        let read = Words::only(&packed).unwrap();
        match Words::packed(&cmd, &packed) {
            Some(words) => {
                assert_eq!((words.name(), words.second()), (read.name(), read.second()));
                assert!(words.eq(read));
            }
            None => assert!(count + 1 >= 10),
        }
    }
    let scan = redis::cmd("SCAN").cursor_arg(7).to_owned();
    assert!(Words::packed(&scan, &scan.get_packed_command()).is_none());
    assert!(Words::packed(&redis::Cmd::new(), &[]).is_none());
}

#[test]
fn what_is_cut_off_or_too_long_is_malformed() {
    let whole = redis::cmd("GET").arg("key").get_packed_command();
    assert!(Words::only(&whole).is_ok());
    for end in 0..whole.len() {
        assert_eq!(Words::only(&whole[..end]).err(), Some(Malformed), "cut at {end}");
    }
    let twice = [whole.clone(), whole].concat();
    assert!(Words::only(&twice).is_err());
    for bytes in [
        &b"*0\r\n"[..],
        b"*-1\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"PING\r\n",
        b"*1\n$4\nPING\n",
        b"*01\r\n$4\r\nPING\r\n",
    ] {
        assert!(Words::only(bytes).is_err());
    }
}

#[test]
fn only_a_well_formed_first_line_declares_no_writes() {
    assert!(declares_no_writes(b"#!lua flags=no-writes\nreturn 1"));
    assert!(declares_no_writes(b"#!lua  flags=allow-stale,no-writes\nreturn 1"));
    for script in [
        "return 1",
        "#!lua\nreturn 1",
        "#!lua flags=no-writes",
        "#!lua flags=no-writes,odd\n",
        "#!lua flags=\n",
        "#!lua flags=allow-oom\n",
        "#!js flags=no-writes\n",
        " #!lua flags=no-writes\n",
        "#!lua flags=\"no-writes\"\n",
        "return 1 --\n#!lua flags=no-writes\n",
        "#!lua name=x flags=no-writes\n",
    ] {
        assert!(!declares_no_writes(script.as_bytes()), "{script:?}");
    }
}

#[test]
fn a_block_of_zero_waits_for_ever_and_nonsense_does_not_block() {
    assert_eq!(Block::from_secs(b"0"), Block::Forever);
    assert_eq!(Block::from_secs(b"0.25"), Block::For(Duration::from_millis(250)));
    assert_eq!(Block::from_millis(b"0"), Block::Forever);
    assert_eq!(Block::from_secs(b"1e19"), Block::Forever);
    for nonsense in [&b"-1"[..], b"x", b"", b"nan", b"inf", b"1e300", b"\xff"] {
        assert_eq!(Block::from_secs(nonsense), Block::No);
        assert_eq!(Block::from_millis(nonsense), Block::No);
    }
    let second = Block::For(Duration::from_secs(1));
    assert_eq!(second.then(second).then(Block::No), Block::For(Duration::from_secs(2)));
    assert_eq!(second.then(Block::Forever), Block::Forever);
}
