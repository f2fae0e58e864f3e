//! What one file declares and names: its modules, what it imports, and every path that begins in this crate.

use std::collections::BTreeSet;

use super::source::{Token, closing};

/// A path as it is written, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Path {
    pub line: usize,
    /// The inline modules of the file around it.
    pub scope: Vec<String>,
    pub segments: Vec<String>,
    /// What a `use` makes of it; `None` for a path in a body.
    pub import: Option<Import>,
}

/// What a `use` adds to its module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Import {
    /// The name under which the rest of the module knows it; `*` for all.
    pub name: String,
    /// It is public in some measure, and nothing in the file itself uses the name.
    pub is_only_passed_on: bool,
    /// It stands at the level of the module, so that others may get at it.
    pub is_of_module: bool,
}

/// A module that the file declares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Declared {
    pub scope: Vec<String>,
    pub name: String,
    pub is_test: bool,
}

/// What one file declares and names.
#[derive(Debug, Default)]
pub struct Contents {
    pub modules: Vec<Declared>,
    pub paths: Vec<Path>,
}

/// Reads a file; paths of tests are left out.
pub fn read(tokens: &[Token]) -> Contents {
    let mut reader = Reader { tokens, scope: Vec::new(), ends: Vec::new(), depth: 0, contents: Contents::default() };
    reader.modules();
    let mut at = 0;
    while at < tokens.len() {
        at = reader.step(at);
    }
    let mut contents = reader.contents;
    mark_passed_on(tokens, &mut contents.paths);
    contents
}

struct Reader<'a> {
    tokens: &'a [Token],
    scope: Vec<String>,
    /// The depth outside each inline module.
    ends: Vec<usize>,
    depth: usize,
    contents: Contents,
}

impl Reader<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// Finds the modules first: a path may begin with one that is declared further down.
    fn modules(&mut self) {
        for at in 0..self.tokens.len() {
            self.enter(at);
            if self.tokens[at].is("mod") && [";", "{"].contains(&self.text(at + 2)) {
                let (scope, name) = (self.scope.clone(), self.text(at + 1).to_owned());
                self.contents.modules.push(Declared { scope, name, is_test: self.tokens[at].is_test });
            }
        }
    }

    /// Follows the braces, and opens and closes inline modules.
    fn enter(&mut self, at: usize) {
        let token = &self.tokens[at];
        if token.is("{") {
            if at >= 2 && self.tokens[at - 2].is("mod") {
                self.scope.push(self.text(at - 1).to_owned());
                self.ends.push(self.depth);
            }
            self.depth += 1;
        } else if token.is("}") {
            self.depth -= 1;
            if self.ends.last() == Some(&self.depth) {
                self.ends.pop();
                self.scope.pop();
            }
        }
    }

    /// Looks at one token; returns the place of the next.
    fn step(&mut self, at: usize) -> usize {
        let token = &self.tokens[at];
        if token.is_test {
            self.enter(at);
            return at + 1;
        }
        if token.is("pub") && self.text(at + 1) == "(" && ["in", "super", "self", "crate"].contains(&self.text(at + 2))
        {
            return closing(self.tokens, at + 1);
        }
        // Not the `use<..>` that says what a return type captures.
        if token.is("use") && self.text(at + 1) != "<" {
            let is_public = at > 0 && [")", "pub"].contains(&self.text(at - 1));
            let is_of_module = self.depth == self.ends.last().map_or(0, |depth| depth + 1);
            let import = Import { name: String::new(), is_only_passed_on: is_public, is_of_module };
            return self.tree(at + 1, &[], &import) + 1;
        }
        if self.begins_path(at) {
            return self.body_path(at);
        }
        self.enter(at);
        at + 1
    }

    /// Reads a tree of imports; returns the place behind it.
    fn tree(&mut self, mut at: usize, before: &[String], import: &Import) -> usize {
        let mut segments = before.to_vec();
        let line = self.tokens[at].line;
        loop {
            match self.text(at) {
                "::" => at += 1,
                "{" => {
                    let end = closing(self.tokens, at);
                    at += 1;
                    while at < end - 1 {
                        at = self.tree(at, &segments, import);
                        at += usize::from(self.text(at) == ",");
                    }
                    return end;
                }
                "as" => {
                    self.import(line, segments, Some(self.text(at + 1).to_owned()), import);
                    return at + 2;
                }
                "self" if !segments.is_empty() => at += 1,
                text if self.tokens.get(at).is_some_and(Token::is_name) || text == "*" => {
                    segments.push(text.to_owned());
                    at += 1;
                }
                _ => {
                    self.import(line, segments, None, import);
                    return at;
                }
            }
        }
    }

    fn import(&mut self, line: usize, segments: Vec<String>, name: Option<String>, import: &Import) {
        let name = name.or_else(|| segments.last().cloned()).unwrap_or_default();
        let import = Some(Import { name, ..import.clone() });
        self.contents.paths.push(Path { line, scope: self.scope.clone(), segments, import });
    }

    /// Returns whether a path into this crate begins here.
    fn begins_path(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let is_first = at == 0 || !["::", "."].contains(&self.text(at - 1));
        let begins = ["crate", "self", "super"].contains(&token.text.as_str())
            || self.contents.modules.iter().any(|module| module.scope == self.scope && module.name == token.text);
        token.is_name() && is_first && self.text(at + 1) == "::" && begins
    }

    fn body_path(&mut self, at: usize) -> usize {
        let line = self.tokens[at].line;
        let mut segments = vec![self.text(at).to_owned()];
        let mut end = at + 1;
        while self.text(end) == "::" && self.tokens.get(end + 1).is_some_and(Token::is_name) {
            segments.push(self.text(end + 1).to_owned());
            end += 2;
        }
        self.contents.paths.push(Path { line, scope: self.scope.clone(), segments, import: None });
        end
    }
}

/// A public import whose name the file itself uses, is more than passed on.
fn mark_passed_on(tokens: &[Token], paths: &mut [Path]) {
    let mut used = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].is("use") {
            at += tokens[at..].iter().position(|token| token.is(";")).unwrap_or(0);
        } else if tokens[at].is_name() && !tokens[at].is_test {
            used.insert(tokens[at].text.as_str());
        }
        at += 1;
    }
    for import in paths.iter_mut().filter_map(|path| path.import.as_mut()) {
        import.is_only_passed_on &= !used.contains(import.name.as_str());
    }
}

fn found(text: &str) -> Vec<String> {
    let contents = read(&super::source::tokens(text));
    let written = |path: &Path| format!("{}:{}", path.line, path.segments.join("::"));
    contents.paths.iter().map(written).collect()
}

#[test]
fn groups_renames_and_paths_in_bodies_are_read() {
    let text = "use crate::a::{self, b::{C, D as E}, F};\nuse super::G as H;\npub(crate) use self::i::*;\n\
                fn j() -> crate::K { let l = super::super::m::N::<u8>::new(); self.o(); std::mem::take(l); crate::p!() }\n\
                pub(in crate::q) fn r() {}";
    let expected = [
        "1:crate::a",
        "1:crate::a::b::C",
        "1:crate::a::b::D",
        "1:crate::a::F",
        "2:super::G",
        "3:self::i::*",
        "4:crate::K",
        "4:super::super::m::N",
        "4:crate::p",
    ];
    assert_eq!(found(text), expected);
}

#[test]
fn paths_through_a_declared_module_are_read_and_tests_are_not() {
    let text = "fn a() { b::c(); d::e(); x.b::<u8>() }\nmod b;\n#[cfg(test)]\nmod tests { use super::f; }\n\
                mod g { use super::h; }\n#[cfg(test)]\nuse crate::i;\nuse crate::k;";
    assert_eq!(found(text), ["1:b::c", "5:super::h", "8:crate::k"]);
    assert_eq!(read(&super::source::tokens(text)).paths[1].scope, ["g"]);
}

#[test]
fn an_import_is_only_passed_on_if_the_file_does_not_use_it() {
    let text = "pub use self::a::{A, B};\npub(crate) use self::a::C as D;\nuse self::a::E;\nfn f(_: B) -> C {}";
    let contents = read(&super::source::tokens(text));
    let passed_on: Vec<_> = contents.paths.iter().filter_map(|path| path.import.as_ref()).collect();
    let passed_on: Vec<_> =
        passed_on.iter().filter(|import| import.is_only_passed_on).map(|import| &import.name).collect();
    assert_eq!(passed_on, ["A", "D"]);
}
