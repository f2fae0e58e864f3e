//! The list of promises in `tests/it/main.rs`: each promise has a test, and each test that it names exists.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Token, tokens};
use super::sources;

/// The list, and the tests that there are.
struct Promises {
    /// Each promise with the tests that it names.
    list: Vec<(String, Vec<String>)>,
    tests: BTreeSet<String>,
}

impl Promises {
    fn of(list: &str, tests: &BTreeMap<String, String>) -> Self {
        let tests = tests.iter().flat_map(|(path, text)| tests_in(path, &tokens(text))).collect();
        Self { list: promises(list), tests }
    }

    /// Returns what is wrong with the list.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (promise, names) in &self.list {
            if names.is_empty() {
                broken.push(format!("no test: {promise}"));
            }
            let unknown = names.iter().filter(|name| !self.has(name));
            broken.extend(unknown.map(|name| format!("unknown test: {name}, of: {promise}")));
        }
        broken
    }

    fn has(&self, name: &str) -> bool {
        let is_in =
            |module: &str| self.tests.iter().any(|test| test.rsplit_once("::").is_some_and(|(own, _)| own == module));
        name.strip_suffix("::*").map_or_else(|| self.tests.contains(name), is_in)
    }
}

/// Reads the list: a promise begins with an asterisk, and the names of its tests follow on lines of their own.
fn promises(text: &str) -> Vec<(String, Vec<String>)> {
    let mut list: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim) {
        if let Some(promise) = line.strip_prefix("* ") {
            list.push((promise.to_owned(), Vec::new()));
        } else if let Some((_, names)) = list.last_mut().filter(|_| line.starts_with('`')) {
            names.extend(line.split(' ').map(|name| name.trim_matches('`').to_owned()));
        }
    }
    list
}

/// Returns the tests of a file, as the list names them.
fn tests_in(path: &str, tokens: &[Token]) -> Vec<String> {
    let module = path.trim_end_matches(".rs").replace('/', "::");
    let module = match module.strip_prefix("tests::it::") {
        Some(module) => module,
        // Unit tests move with what they test: their own name has to do.
        None if module.starts_with("src::") => "lib",
        None => module.trim_start_matches("tests::"),
    };
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let is_test =
            ["#", "[", "test", "]"].iter().enumerate().all(|(i, text)| tokens.get(at + i).is_some_and(|t| t.is(text)));
        if is_test {
            let name = tokens[at..].windows(2).find(|pair| pair[0].is("fn")).map(|pair| &pair[1].text);
            found.extend(name.map(|name| format!("{module}::{name}")));
        }
    }
    found
}

#[test]
fn each_promise_has_a_test_and_each_test_exists() {
    let tests: BTreeMap<_, _> = sources("tests").into_iter().chain(sources("src")).collect();
    let promises = Promises::of(&tests["tests/it/main.rs"], &tests);
    for rule in 1..=12 {
        let is_listed = promises.list.iter().any(|(promise, _)| promise.starts_with(&format!("{rule}: ")));
        assert!(is_listed, "no test is named for rule {rule}");
    }
    let broken = promises.broken();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_sleep_of_a_test_says_why_time_is_what_is_tested() {
    for (path, text) in sources("tests") {
        assert_eq!(sleeps_without_a_reason(&text), [] as [usize; 0], "lines of {path}");
    }
}

/// Returns the lines on which a thread sleeps and no comment above says why.
fn sleeps_without_a_reason(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let sleeps = |at: &usize| lines[*at].starts_with("thread::sleep(") || lines[*at].starts_with("std::thread::sleep(");
    let is_explained = |at: usize| at > 0 && lines[at - 1].starts_with("//");
    (0..lines.len()).filter(sleeps).filter(|at| !is_explained(*at)).map(|at| at + 1).collect()
}

#[test]
fn promises_without_a_test_and_tests_that_do_not_exist_are_found() {
    let list = "//! Text `a::b`.\n//!\n//! * one `x`\n//!   `calls::one` `calls::*`\n//!   `lib::unit`\n//! * two\n//! * three\n\
                //!   `calls::none` `calls::inner::*` `floors::own`\n\nmod calls;";
    let tests = [
        ("tests/it/calls.rs", "#[test]\nfn one() {}\n#[test] #[ignore] fn two() {} fn none() {}"),
        ("src/a/tests.rs", "mod b { #[test] fn unit() {} }"),
        ("tests/floors.rs", "#[test] fn own() {}"),
    ];
    let tests = tests.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    let expected = ["no test: two", "unknown test: calls::none, of: three", "unknown test: calls::inner::*, of: three"];
    assert_eq!(Promises::of(list, &tests).broken(), expected);
}

#[test]
fn a_sleep_without_a_reason_is_found() {
    let text =
        "// Why.\nthread::sleep(a);\nthread::sleep(b);\n\n    std::thread::sleep(c);\n// Why.\nstd::thread::sleep(d);";
    assert_eq!(sleeps_without_a_reason(text), [3, 5]);
}
