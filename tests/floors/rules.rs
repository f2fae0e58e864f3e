//! The rules, each as a function that returns what breaks it, one line each.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Edge, Graph, Module, circles};
use super::source::{Token, closing};
use super::{FLOORS, LONG_FILE, LONGEST_CALL, LONGEST_FILE, LONGEST_FUNCTION, WITHIN};

/// Returns everything that breaks a rule, sorted.
pub fn broken(graph: &Graph) -> Vec<String> {
    let mut all = graph.lost.iter().map(|line| format!("path: {line}")).collect::<Vec<_>>();
    let rules = [
        unknown_folders,
        upward_imports,
        session_imports,
        folder_circles,
        inner_circles,
        long_files,
        long_functions,
        long_call,
    ];
    all.extend(rules.iter().flat_map(|rule| rule(graph)));
    all.sort();
    all.dedup();
    all
}

/// Returns the floor of a folder; a higher number stands above.
fn floor(folder: &str) -> Option<usize> {
    FLOORS.iter().rev().position(|(_, folders)| folders.contains(&folder))
}

fn name_of_floor(number: usize) -> &'static str {
    FLOORS[FLOORS.len() - 1 - number].0
}

/// Imports between folders.
fn outer(graph: &Graph) -> impl Iterator<Item = (&str, &str, &Edge)> {
    let ends = |edge: &'_ Edge| edge.from[0] != edge.to[0];
    graph.edges.iter().filter(move |edge| ends(edge)).map(|edge| (edge.from[0].as_str(), edge.to[0].as_str(), edge))
}

pub fn unknown_folders(graph: &Graph) -> Vec<String> {
    let folders: BTreeSet<&String> = graph.files.keys().filter_map(|module| module.first()).collect();
    let unknown = folders.into_iter().filter(|folder| floor(folder).is_none());
    unknown.map(|folder| format!("floor: {folder} stands on no floor of tests/floors.rs")).collect()
}

pub fn upward_imports(graph: &Graph) -> Vec<String> {
    let mut broken = Vec::new();
    for (from, to, edge) in outer(graph) {
        let (Some(lower), Some(upper)) = (floor(from), floor(to)) else { continue };
        let at = graph.describe(&[edge]);
        if upper > lower {
            let (lower, upper) = (name_of_floor(lower), name_of_floor(upper));
            broken.push(format!("up: {from} ({lower}) imports {to} ({upper}): {at}"));
        } else if upper == lower && !WITHIN.contains(&(from, to)) {
            broken.push(format!("beside: {from} imports {to}, of the same floor ({}): {at}", name_of_floor(lower)));
        }
    }
    broken
}

pub fn session_imports(graph: &Graph) -> Vec<String> {
    let is_below = |from: &str| floor(from).is_some_and(|number| Some(number) <= floor("call"));
    let found = outer(graph).filter(|(from, to, _)| *to == "session" && is_below(from));
    found
        .map(|(_, _, edge)| format!("session: no floor up to call may know of sessions: {}", graph.describe(&[edge])))
        .collect()
}

pub fn folder_circles(graph: &Graph) -> Vec<String> {
    let edges: Vec<_> = outer(graph).map(|(from, to, edge)| (from.to_owned(), to.to_owned(), edge.clone())).collect();
    told("src", graph, &edges)
}

/// Looks for circles in each folder: among its files, its root and its folders, each of these taken as a whole.
pub fn inner_circles(graph: &Graph) -> Vec<String> {
    let folders: BTreeSet<&[String]> =
        graph.files.keys().filter(|module| module.len() > 1).map(|module| &module[..module.len() - 1]).collect();
    let mut broken = Vec::new();
    for folder in folders {
        let unit = |module: &Module| module.get(folder.len()).map_or_else(|| "its root".to_owned(), Clone::clone);
        let is_inside = |edge: &&Edge| edge.from.starts_with(folder) && edge.to.starts_with(folder);
        let edges: Vec<_> =
            graph.edges.iter().filter(is_inside).map(|e| (unit(&e.from), unit(&e.to), e.clone())).collect();
        let edges: Vec<_> = edges.into_iter().filter(|(from, to, _)| from != to).collect();
        broken.extend(told(&format!("src/{}", folder.join("/")), graph, &edges));
    }
    broken
}

/// Tells each circle: who is in it, and what each of its files imports of the others.
fn told(folder: &str, graph: &Graph, edges: &[(String, String, Edge)]) -> Vec<String> {
    let tell = |(units, inside): (BTreeSet<String>, Vec<&Edge>)| {
        let mut imports: BTreeMap<(&Module, &Module), Vec<&Edge>> = BTreeMap::new();
        for edge in inside {
            imports.entry((&edge.from, &edge.to)).or_default().push(edge);
        }
        let units = units.into_iter().collect::<Vec<_>>().join(", ");
        let lines = imports.values().map(|edges| format!("\n    {}", graph.describe(edges))).collect::<String>();
        format!("circle: in {folder}: {units}{lines}")
    };
    circles(edges).into_iter().map(tell).collect()
}

pub fn long_files(graph: &Graph) -> Vec<String> {
    let long = graph.files.values().filter(|file| file.lines > LONGEST_FILE && file.path != LONG_FILE);
    long.map(|file| format!("file: {} has {} lines, more than {LONGEST_FILE}", file.path, file.lines)).collect()
}

pub fn long_functions(graph: &Graph) -> Vec<String> {
    let mut broken = Vec::new();
    for file in graph.files.values() {
        for (name, line, lines) in functions(&file.tokens).filter(|(_, _, lines)| *lines > LONGEST_FUNCTION) {
            let at = format!("{}:{line}", file.path);
            broken.push(format!("function: {at}: {name} has {lines} lines, more than {LONGEST_FUNCTION}"));
        }
    }
    broken
}

/// Returns each function with a body: its name, its first line, and how many lines it has.
fn functions(tokens: &[Token]) -> impl Iterator<Item = (&str, usize, usize)> {
    tokens.iter().enumerate().filter_map(|(at, token)| {
        let name = tokens.get(at + 1).filter(|name| token.is("fn") && name.is_name())?;
        let mut body = at + 2;
        while !tokens.get(body)?.is("{") {
            match tokens[body].text.as_str() {
                "(" | "[" => body = closing(tokens, body),
                ";" => return None,
                _ => body += 1,
            }
        }
        let last = tokens[closing(tokens, body) - 1].line;
        Some((name.text.as_str(), token.line, last + 1 - token.line))
    })
}

pub fn long_call(graph: &Graph) -> Vec<String> {
    let mut counts = BTreeMap::new();
    for (module, file) in
        graph.files.iter().filter(|(module, file)| module.first().is_some_and(|f| f == "call") && !file.is_test)
    {
        // The lines of tests at the end of a file, and of attributes and items in between.
        let mut tests = BTreeSet::new();
        let mut at = 0;
        while at < file.tokens.len() {
            let end = at + file.tokens[at..].iter().take_while(|token| token.is_test).count();
            if end > at {
                tests.extend(file.tokens[at].line..=file.tokens[end - 1].line);
            }
            at = end + 1;
        }
        counts.insert(module, file.lines - tests.len());
    }
    let sum: usize = counts.values().sum();
    if sum > LONGEST_CALL {
        vec![format!("call: call has {sum} lines without tests, more than {LONGEST_CALL}")]
    } else {
        Vec::new()
    }
}

fn found(rule: fn(&Graph) -> Vec<String>, files: &[(&str, &str)]) -> Vec<String> {
    rule(&Graph::of(&super::graph::made_up(files)))
}

#[test]
fn an_unknown_folder_is_found() {
    let files = [("src/lib.rs", "mod node; mod seat;"), ("src/node.rs", ""), ("src/seat.rs", "")];
    assert_eq!(found(unknown_folders, &files), ["floor: seat stands on no floor of tests/floors.rs"]);
}

#[test]
fn an_import_that_points_up_is_found() {
    let files = [
        ("src/lib.rs", "mod node; mod pool;"),
        ("src/node.rs", "fn f() { crate::pool::Pool::open() }"),
        ("src/pool.rs", "use crate::node::Node; pub(crate) struct Pool;"),
    ];
    let expected =
        "up: node (0b: node) imports pool (1: pool): src/node.rs:1 names crate::pool::Pool::open, of src/pool.rs";
    assert_eq!(found(upward_imports, &files), [expected]);
}

#[test]
fn an_import_on_the_same_floor_is_found_unless_it_is_listed() {
    let files = [
        ("src/lib.rs", "mod selection; mod strategy;"),
        ("src/selection.rs", "use crate::strategy::Strategy; pub struct Selector;"),
        ("src/strategy.rs", "use crate::selection::Selector; pub trait Strategy {}"),
    ];
    let found = found(upward_imports, &files);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("beside: strategy imports selection, of the same floor (0c: decisions)"), "{found:?}");
}

#[test]
fn an_import_of_sessions_is_found_up_to_the_floor_of_call() {
    let files = [
        ("src/lib.rs", "mod call; mod client; mod session;"),
        ("src/call.rs", "use crate::session::Session;"),
        ("src/client.rs", "use crate::session::Session;"),
        ("src/session.rs", "mod state; pub use self::state::Session;"),
        ("src/session/state.rs", "pub struct Session;"),
    ];
    let found = found(session_imports, &files);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("src/call.rs:1 names crate::session::Session, of src/session/state.rs"), "{found:?}");
}

#[test]
fn a_circle_of_folders_is_found() {
    let files = [
        ("src/lib.rs", "mod addr; mod error; mod hash; mod node;"),
        ("src/addr.rs", "use crate::error::Error; pub struct NodeAddr;"),
        ("src/error.rs", "mod inner; use crate::hash::Fnv; pub struct Error;"),
        ("src/hash.rs", "fn f() -> crate::addr::NodeAddr {} pub struct Fnv;"),
        ("src/node.rs", "use crate::addr::NodeAddr;"),
    ];
    let found = found(folder_circles, &files);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("circle: in src: addr, error, hash\n"), "{found:?}");
    assert_eq!(found[0].lines().count(), 4);
}

#[test]
fn a_circle_inside_a_folder_is_found_between_files_roots_and_inner_folders() {
    let files = [
        ("src/lib.rs", "mod node; mod pool; mod call;"),
        // The root defines what its file imports, and uses that file.
        ("src/node.rs", "mod health; use self::health::Health; pub struct Node(Health);"),
        ("src/node/health.rs", "use super::Node; pub struct Health;"),
        // Two files, one of them in a folder of its own, through the root.
        ("src/pool.rs", "mod lease; mod wire; pub use self::lease::Lease; pub use self::wire::Wire;"),
        ("src/pool/lease.rs", "use super::Wire; pub struct Lease;"),
        ("src/pool/wire.rs", "mod frame; pub use self::frame::Wire;"),
        ("src/pool/wire/frame.rs", "use crate::pool::Lease; pub struct Wire;"),
        // No circle: the root does not use its file.
        ("src/call.rs", "mod attempt; pub use self::attempt::Attempt; pub struct Call;"),
        ("src/call/attempt.rs", "use super::Call; pub struct Attempt;"),
    ];
    let found = found(inner_circles, &files);
    let heads: Vec<_> = found.iter().filter_map(|circle| circle.lines().next()).collect();
    assert_eq!(heads, ["circle: in src/node: health, its root", "circle: in src/pool: lease, wire"]);
}

#[test]
fn a_long_file_is_found_unless_it_is_the_table() {
    let text = "\n".repeat(LONGEST_FILE + 1);
    let exact = "\n".repeat(LONGEST_FILE);
    let files = [("src/lib.rs", ""), ("src/pool.rs", &*text), ("src/node.rs", &*exact), (LONG_FILE, &*text)];
    assert_eq!(found(long_files, &files), ["file: src/pool.rs has 401 lines, more than 400"]);
}

#[test]
fn a_long_function_is_found_also_in_tests() {
    let body = |lines: usize| format!("{{{}}}", "\n".repeat(lines - 1));
    let text = format!(
        "trait T {{ fn none(&self) -> [u8; 2]; }}\nfn exact<A, B>(a: fn(A) -> B) -> [u8; 2] {}\nimpl T {{ fn long(&self)\n\
         where Self: Sized {} }}\n#[cfg(test)] mod tests {{ #[test] fn tested() {} }}",
        body(60),
        body(60),
        body(61)
    );
    let expected = [
        "function: src/node.rs:62: long has 61 lines, more than 60",
        "function: src/node.rs:123: tested has 61 lines, more than 60",
    ];
    assert_eq!(found(long_functions, &[("src/lib.rs", ""), ("src/node.rs", &text)]), expected);
}

#[test]
fn a_call_that_has_grown_is_found_and_its_tests_do_not_count() {
    let tests = format!("#[cfg(test)]\nmod tests {{{}}}\n", "\n".repeat(500));
    let root = format!("{}#[cfg(test)]\nmod machine_tests;\nmod machine;\n{tests}", "\n".repeat(400));
    let other = "\n".repeat(1000);
    let mut files = vec![("src/lib.rs", "mod call; mod pool;"), ("src/call.rs", &*root), ("src/pool.rs", &*other)];
    files.push(("src/call/machine_tests.rs", &*other));
    let (fitting, grown) = ("\n".repeat(499), "\n".repeat(500));
    files.push(("src/call/machine.rs", &*fitting));
    assert_eq!(found(long_call, &files), [] as [&str; 0]);
    files.last_mut().unwrap().1 = &*grown;
    assert_eq!(found(long_call, &files), ["call: call has 901 lines without tests, more than 900"]);
}

#[test]
fn everything_that_is_broken_is_told_at_once() {
    let long = "\n".repeat(LONGEST_FILE + 1);
    let text = format!("use crate::session::Session; use crate::gone::X;{long}");
    let files =
        [("src/lib.rs", "mod call; mod session;"), ("src/call.rs", &*text), ("src/session.rs", "pub struct Session;")];
    let found = found(broken, &files);
    let kinds: Vec<_> = found.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(kinds, ["file", "path", "session", "up"]);
}
