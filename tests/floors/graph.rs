//! Which file imports which: every path is followed, through re-exports, to the file that defines what it names.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Contents, Path, read};
use super::source::{Token, tokens};

/// The path of a module, from the crate's root.
pub type Module = Vec<String>;

/// One file under `src`.
#[derive(Debug)]
pub struct File {
    /// The path from the package's folder.
    pub path: String,
    pub tokens: Vec<Token>,
    pub lines: usize,
    /// The whole file belongs to tests.
    pub is_test: bool,
}

/// One file names what another one defines.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Edge {
    pub from: Module,
    pub to: Module,
    pub line: usize,
    /// The path as it is written.
    pub text: String,
}

/// All files, by module, and their imports of each other.
#[derive(Debug, Default)]
pub struct Graph {
    pub files: BTreeMap<Module, File>,
    pub edges: Vec<Edge>,
    /// Paths that lead to no file that is known.
    pub lost: Vec<String>,
}

impl Graph {
    /// Reads sources, which are given by path: `src/lib.rs`, `src/pool.rs`, `src/pool/lease.rs`.
    pub fn of(sources: &BTreeMap<String, String>) -> Self {
        let (mut files, mut contents) = (BTreeMap::new(), BTreeMap::new());
        for (path, text) in sources {
            let tokens = tokens(text);
            contents.insert(module_of(path), read(&tokens));
            let file = File { path: path.clone(), tokens, lines: text.lines().count(), is_test: false };
            files.insert(module_of(path), file);
        }
        mark_test_files(&mut files, &contents);
        let names = Names::of(&files, &contents);
        let mut graph = Self { files, ..Self::default() };
        for (module, contents) in &contents {
            graph.read(module, contents, &names);
        }
        graph.edges.sort();
        graph
    }

    fn read(&mut self, from: &Module, contents: &Contents, names: &Names) {
        if self.files[from].is_test || from.is_empty() {
            return; // The crate's root only re-exports, for all outside.
        }
        for path in &contents.paths {
            let scope = [from.as_slice(), &path.scope].concat();
            let text = path.segments.join("::");
            let Found::File(to) = names.find(&scope, &path.segments, 0) else { continue };
            // An item that the file hands on from below, and does not use, is no import of its own.
            let is_handed_on =
                path.import.as_ref().is_some_and(|import| import.is_only_passed_on) && to.starts_with(from);
            if to.is_empty() {
                self.lost.push(format!("{}:{}: {text} leads to no file", self.files[from].path, path.line));
            } else if to != *from && !is_handed_on && !self.files[&to].is_test {
                self.edges.push(Edge { from: from.clone(), to, line: path.line, text });
            }
        }
    }

    /// Describes what one file imports of another: where it stands, and what it names.
    pub fn describe(&self, edges: &[&Edge]) -> String {
        let names: Vec<&str> = edges.iter().map(|edge| edge.text.as_str()).collect();
        let (from, to) = (&self.files[&edges[0].from].path, &self.files[&edges[0].to].path);
        format!("{from}:{} names {}, of {to}", edges[0].line, names.join(", "))
    }
}

fn module_of(path: &str) -> Module {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    if inner == "lib" { Vec::new() } else { inner.split('/').map(str::to_owned).collect() }
}

/// A file that is declared under `#[cfg(test)]` belongs to tests, and so does what it declares.
fn mark_test_files(files: &mut BTreeMap<Module, File>, contents: &BTreeMap<Module, Contents>) {
    for (module, contents) in contents {
        for declared in contents.modules.iter().filter(|declared| declared.is_test) {
            let root = [module.as_slice(), &declared.scope, std::slice::from_ref(&declared.name)].concat();
            files.iter_mut().filter(|(module, _)| module.starts_with(&root)).for_each(|(_, file)| file.is_test = true);
        }
    }
}

/// Where a path leads.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Found {
    File(Module),
    /// Into another crate.
    Outside,
    /// Nowhere: the module has no such import.
    Nothing,
}

/// What each module declares and imports.
struct Names<'a> {
    /// Files and inline modules, each with the file it stands in.
    modules: BTreeMap<Module, Module>,
    imports: BTreeMap<Module, Vec<&'a Path>>,
}

/// Longer chains of re-exports are circles.
const LONGEST_CHAIN: usize = 16;

impl<'a> Names<'a> {
    fn of(files: &BTreeMap<Module, File>, contents: &'a BTreeMap<Module, Contents>) -> Self {
        let mut names = Self { modules: BTreeMap::new(), imports: BTreeMap::new() };
        for module in files.keys() {
            names.modules.insert(module.clone(), module.clone());
        }
        for (module, contents) in contents {
            for declared in &contents.modules {
                let inner = [module.as_slice(), &declared.scope, std::slice::from_ref(&declared.name)].concat();
                names.modules.entry(inner).or_insert_with(|| module.clone());
            }
            let is_of_module = |path: &&Path| path.import.as_ref().is_some_and(|import| import.is_of_module);
            for path in contents.paths.iter().filter(is_of_module) {
                names.imports.entry([module.as_slice(), &path.scope].concat()).or_default().push(path);
            }
        }
        names
    }

    /// Follows a path that is written in this module.
    fn find(&self, scope: &Module, segments: &[String], depth: usize) -> Found {
        let mut module = scope.clone();
        let mut rest = segments;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => module.clear(),
                "super" => drop(module.pop()),
                "self" => {}
                _ => break,
            }
            rest = others;
        }
        let is_anchored = rest.len() < segments.len();
        match self.descend(&module, rest, depth) {
            // A bare name that is neither a module nor an import is another crate.
            Found::Nothing if !is_anchored => Found::Outside,
            Found::Nothing => Found::File(self.modules.get(&module).cloned().unwrap_or_default()),
            found => found,
        }
    }

    fn descend(&self, module: &Module, rest: &[String], depth: usize) -> Found {
        let Some((first, others)) = rest.split_first() else {
            return self.modules.get(module).map_or(Found::Nothing, |file| Found::File(file.clone()));
        };
        let child = [module.as_slice(), std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return match self.descend(&child, others, depth) {
                Found::Nothing => Found::File(self.modules[&child].clone()),
                found => found,
            };
        }
        if depth > LONGEST_CHAIN {
            return Found::Nothing;
        }
        let imports = self.imports.get(module).map_or(&[][..], Vec::as_slice);
        let named = imports.iter().filter_map(|path| Some((path, &path.import.as_ref()?.name)));
        // Not the import that is being followed itself: `use redis;` names another crate.
        let found = named.clone().find(|(path, name)| *name == first && path.segments != [first.clone()]);
        if let Some((path, _)) = found {
            return self.find(module, &[path.segments.as_slice(), others].concat(), depth + 1);
        }
        for (path, _) in named.filter(|(_, name)| *name == "*") {
            let target = [&path.segments[..path.segments.len() - 1], rest].concat();
            if let found @ Found::File(_) = self.find_exported(module, &target, depth + 1) {
                return found;
            }
        }
        Found::Nothing
    }

    /// Like `find`, for a guess: the module has to know the name.
    fn find_exported(&self, scope: &Module, segments: &[String], depth: usize) -> Found {
        let found = self.find(scope, segments, depth);
        let parent = self.find(scope, &segments[..segments.len() - 1], depth);
        if found == parent { Found::Nothing } else { found }
    }
}

/// Returns the groups of units that import each other in a circle, with the imports among them.
pub fn circles(edges: &[(String, String, Edge)]) -> Vec<(BTreeSet<String>, Vec<&Edge>)> {
    let units: BTreeSet<&String> = edges.iter().flat_map(|(from, to, _)| [from, to]).collect();
    let reached: BTreeMap<&String, BTreeSet<&String>> = units.iter().map(|unit| (*unit, reach(unit, edges))).collect();
    let mut groups: Vec<(BTreeSet<String>, Vec<&Edge>)> = Vec::new();
    for unit in units {
        let is_mutual = |other: &&&String| reached[unit].contains(**other) && reached[**other].contains(unit);
        let group: BTreeSet<String> = reached.keys().filter(is_mutual).map(|unit| (*unit).clone()).collect();
        if group.first() == Some(unit) && group.len() > 1 {
            let is_inside = |(from, to, _): &&(String, String, Edge)| group.contains(from) && group.contains(to);
            let inside = edges.iter().filter(is_inside).map(|(_, _, edge)| edge).collect();
            groups.push((group, inside));
        }
    }
    groups
}

fn reach<'a>(from: &'a String, edges: &'a [(String, String, Edge)]) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(unit) = open.pop() {
        for (_, to, _) in edges.iter().filter(|(from, _, _)| from == unit) {
            if reached.insert(to) {
                open.push(to);
            }
        }
    }
    reached
}

pub fn made_up(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let graph = Graph::of(&made_up(files));
    let arrow = |edge: &Edge| format!("{}>{}", edge.from.join("/"), edge.to.join("/"));
    graph.edges.iter().map(arrow).chain(graph.lost.iter().cloned()).collect()
}

#[test]
fn a_path_through_a_root_counts_for_the_file_that_defines_the_item() {
    let files = [
        ("src/lib.rs", "mod a; mod b; pub use self::a::Inner as Outer;"),
        ("src/a.rs", "mod c; mod e; pub(crate) use self::c::{Inner, deep as flat}; pub(crate) struct Own;"),
        ("src/a/c.rs", "use super::Own; pub(crate) struct Inner; pub(crate) fn deep() {}"),
        ("src/a/e.rs", "use super::Inner; use crate::Outer; fn f() { super::super::a::flat() }"),
        ("src/b.rs", "use crate::a; fn g() { a::flat(); crate::a::c::deep(); crate::a::Own::new() }"),
    ];
    assert_eq!(arrows(&files), ["a/c>a", "a/e>a/c", "a/e>a/c", "a/e>a/c", "b>a", "b>a", "b>a/c"]);
}

#[test]
fn an_import_is_an_import_also_where_it_is_handed_on_if_it_is_used_or_of_another_folder() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "mod c; pub(crate) use self::c::D; pub(crate) use crate::b::E;"),
        ("src/a/c.rs", "pub(crate) struct D;"),
        ("src/b.rs", "mod f; pub(crate) use self::f::E; fn g(_: E) {}"),
        ("src/b/f.rs", "pub(crate) struct E;"),
    ];
    assert_eq!(arrows(&files), ["a>b/f", "b>b/f"]);
}

#[test]
fn tests_and_other_crates_do_not_count_and_unknown_modules_are_told() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a.rs",
            "use std::fmt; use redis::Value; #[cfg(test)] mod tests; use crate::gone::C; use self::fmt::Debug;",
        ),
        ("src/a/tests.rs", "use crate::b::B;"),
        ("src/b.rs", "#[cfg(test)] mod tests { use crate::a::X; }"),
    ];
    assert_eq!(arrows(&files), ["src/a.rs:1: crate::gone::C leads to no file"]);
}

#[test]
fn globs_and_inline_modules_are_followed() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "mod c; pub(crate) use self::c::*; pub(crate) mod d { pub(crate) struct D; }"),
        ("src/a/c.rs", "mod e; pub(crate) use self::e::E;"),
        ("src/a/c/e.rs", "pub(crate) struct E; mod f { use super::super::super::d::D; }"),
        ("src/b.rs", "use crate::a::{E, d::D};"),
    ];
    assert_eq!(arrows(&files), ["a/c/e>a", "b>a", "b>a/c/e"]);
}
