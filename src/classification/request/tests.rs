use super::{Classification, Classifier, Request};

fn packed(words: &[&str]) -> Vec<u8> {
    redis::cmd(words[0]).arg(&words[1..]).get_packed_command()
}

fn may_share(classifier: &Classifier, words: &[&str]) -> bool {
    let bytes = packed(words);
    let request = Request::command(&bytes, classifier).unwrap();
    request.may_share && !request.blocks()
}

#[test]
fn commands_that_read_or_write_data_may_share_a_connection() {
    let classifier = Classifier::new();
    for words in [
        &["GET", "k"][..],
        &["set", "k", "v"],
        &["HSCAN", "h", "0"],
        &["SORT", "l"],
        &["EVAL", "return 1", "0"],
        &["FCALL", "f", "0"],
        &["OBJECT", "ENCODING", "k"],
        &["JSON.GET", "k"],
        &["XREAD", "STREAMS", "s", "0"],
        &["XREAD", "COUNT", "1", "STREAMS", "block", "0"],
    ] {
        assert!(may_share(&classifier, words), "{words:?}");
    }
}

#[test]
fn what_blocks_or_changes_its_connection_shares_none() {
    let classifier = Classifier::new();
    for words in [
        &["BLPOP", "l", "1"][..],
        // Servers read more forms of a number than this crate does.
        &["BLPOP", "l", "0x2"],
        &["BRPOPLPUSH", "a", "b", "nan"],
        &["XREAD", "BLOCK", "0x10", "STREAMS", "s", "$"],
        &["WAIT", "1", "0"],
        &["WATCH", "k"],
        &["MULTI"],
        &["EXEC"],
        &["SELECT", "1"],
        &["CLIENT", "SETNAME", "x"],
        &["OBJECT", "NO-SUCH"],
        &["NO.SUCH.COMMAND"],
        &["INFO"],
        &["PUBLISH", "c", "m"],
        // Run on a thread of the server.
        &["FT.SEARCH", "i", "*"],
        &["ft.aggregate", "i", "*"],
        &["GRAPH.RO_QUERY", "g", "q"],
        &["VSIM", "v", "ELE", "e"],
    ] {
        assert!(!may_share(&classifier, words), "{words:?}");
    }
}

#[test]
fn no_override_lets_a_command_share_that_changes_its_connection() {
    let classifier = Classifier::new().with_override("SELECT", Classification::Write).unwrap();
    let classifier = classifier.with_override("MY.LOOKUP", Classification::Read).unwrap();
    assert!(!may_share(&classifier, &["SELECT", "1"]));
    assert!(!may_share(&classifier, &["MY.LOOKUP", "k"]), "it may block");
    let classifier = Classifier::new().with_override("GET", Classification::Write).unwrap();
    assert!(may_share(&classifier, &["GET", "k"]));
}

fn pipeline(commands: &[&[&str]]) -> Vec<u8> {
    commands.iter().flat_map(|words| packed(words)).collect()
}

#[test]
fn a_transaction_may_share_if_all_its_commands_may() {
    let classifier = Classifier::new();
    let shares = |queued: &[&str]| {
        let bytes = pipeline(&[&["MULTI"], &["GET", "k"], queued, &["EXEC"]]);
        Request::pipeline(&bytes, 3, 1, &classifier).map(|request| request.may_share)
    };
    assert_eq!(shares(&["INCR", "n"]).ok(), Some(true));
    // Should the server refuse MULTI, it is executed on its own.
    assert_eq!(shares(&["BLPOP", "l", "1"]).ok(), Some(false));
    assert_eq!(shares(&["NO.SUCH.COMMAND"]).ok(), Some(false));
    assert!(shares(&["WATCH", "k"]).is_err(), "a step in it is no transaction");
}

#[test]
fn a_transaction_is_found_by_its_commands_and_not_by_their_arguments() {
    let classifier = Classifier::new();
    let opens = |commands: &[&[&str]]| {
        let bytes = pipeline(commands);
        Request::pipeline(&bytes, 0, commands.len(), &classifier).unwrap().has_multi()
    };
    assert!(opens(&[&["GET", "k"], &["multi"], &["EXEC"]]));
    assert!(!opens(&[&["SET", "x", "MULTI"], &["GET", "MULTI"]]));
    assert!(!opens(&[&["SET", "x", "\r\n$5\r\nMULTI\r\n"]]));
}
