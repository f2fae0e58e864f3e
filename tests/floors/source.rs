//! The text of one file as tokens, and which of them belong to tests.

/// One token of Rust, as far as the checks need it: comments are gone, a literal has no text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    pub text: String,
    pub kind: Kind,
    /// The first line of the file is 1.
    pub line: usize,
    /// The token belongs to an item under `#[cfg(test)]`.
    pub is_test: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Name,
    /// One character, or `::`.
    Mark,
    Literal,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Literal && self.text == text
    }

    pub fn is_name(&self) -> bool {
        self.kind == Kind::Name
    }
}

/// Returns the tokens of a file.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, found: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    mark_tests(&mut lexer.found);
    lexer.found
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    found: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        let first = rest.chars().next().unwrap();
        if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if rest.starts_with("//") {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.skip(block_comment(rest));
        } else if let Some(length) = literal(rest) {
            self.take(Kind::Literal, length);
        } else if first == '\'' {
            // A lifetime or a label; nothing asks for it.
            self.skip(1 + name_length(&rest[1..]));
        } else if is_of_name(first) {
            let raw = if rest.starts_with("r#") { 2 } else { 0 };
            self.skip(raw);
            self.take(Kind::Name, name_length(&rest[raw..]));
        } else {
            self.take(Kind::Mark, if rest.starts_with("::") { 2 } else { first.len_utf8() });
        }
    }

    fn take(&mut self, kind: Kind, length: usize) {
        let text = if kind == Kind::Literal { String::new() } else { self.rest[..length].to_owned() };
        self.found.push(Token { text, kind, line: self.line, is_test: false });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

fn is_of_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn name_length(text: &str) -> usize {
    text.find(|c| !is_of_name(c)).unwrap_or(text.len())
}

/// Returns the length of a comment that may contain others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Returns the length of the string, the character or the number at the beginning of the text.
fn literal(text: &str) -> Option<usize> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(name_length(text));
    }
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| text.starts_with(prefix)).unwrap_or("");
    for prefix in [prefix, ""] {
        let body = &text[prefix.len()..];
        if prefix.ends_with('r') {
            let hashes = body.len() - body.trim_start_matches('#').len();
            if body[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let length = body[hashes + 1..].find(&end).map_or(body.len(), |at| hashes + 1 + at + end.len());
                return Some(prefix.len() + length);
            }
        } else if body.starts_with('"') {
            return Some(prefix.len() + quoted(body, '"'));
        } else if body.starts_with('\'') && is_character(body) {
            return Some(prefix.len() + quoted(body, '\''));
        }
    }
    None
}

/// Returns whether the quote begins a character, not a lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => true,
        (_, second) => second == Some('\''),
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

const ITEMS: [&str; 14] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "unsafe",
    "use",
];

/// Marks what stands under `#[cfg(test)]`, attribute included.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        let Some((end, is_test)) = attribute(tokens, at) else {
            at += 1;
            continue;
        };
        if is_test {
            let end = item_end(tokens, end);
            tokens[at..end].iter_mut().for_each(|token| token.is_test = true);
            at = end;
        } else {
            at = end;
        }
    }
}

/// Returns the end of the attribute that begins here, and whether it leaves its item to tests.
fn attribute(tokens: &[Token], at: usize) -> Option<(usize, bool)> {
    if !(tokens[at].is("#") && tokens.get(at + 1)?.is("[")) {
        return None;
    }
    let end = closing(tokens, at + 1);
    let inner = &tokens[at + 2..end - 1];
    let has = |name: &str| inner.iter().any(|token| token.is(name));
    Some((end, inner.first().is_some_and(|token| token.is("cfg")) && has("test") && !has("not")))
}

/// Returns the end of the item, field or arm whose attributes end here.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while let Some((end, _)) = tokens.get(at).and_then(|_| attribute(tokens, at)) {
        at = end;
    }
    while at < tokens.len() && tokens[at].is("pub") {
        at += 1;
        if tokens[at].is("(") {
            at = closing(tokens, at);
        }
    }
    let is_use = tokens.get(at).is_some_and(|token| token.is("use"));
    let is_item = tokens.get(at).is_some_and(|token| ITEMS.contains(&token.text.as_str()));
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            _ if tokens[at].kind == Kind::Literal => at += 1,
            "(" | "[" => at = closing(tokens, at),
            "{" if is_use => at = closing(tokens, at),
            "{" => return closing(tokens, at),
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            "}" => return at,
            _ => at += 1,
        }
    }
    at
}

/// Returns the place behind the bracket that closes the one here.
pub fn closing(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if token.kind == Kind::Mark {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return index + 1;
            }
        }
    }
    tokens.len()
}

#[test]
fn comments_strings_characters_and_lifetimes_are_no_names() {
    let text = "// crate::a\n/* crate::b /* crate::c */ crate::d */ \"crate::e \\\" crate::f\" r#\"crate::g\" crate::h\"# b'\\'' 'x' \
                fn f<'long>(a: &'static str) -> r#type { '\\u{7d}' }";
    let names: Vec<_> = tokens(text).into_iter().filter(Token::is_name).map(|token| token.text).collect();
    assert_eq!(names, ["fn", "f", "a", "str", "type"]);
    assert!(tokens(text).iter().all(|token| token.line == 2));
}

#[test]
fn what_stands_under_cfg_test_is_marked() {
    let text = "#[cfg(test)] use a::{b, c}; use d; #[cfg(test)] #[rustfmt::skip] pub(crate) mod e { fn g<A, B>() {} } \
                struct H { #[cfg(test)] i: Vec<u8>, k: u8 } #[cfg(not(test))] mod l; #[cfg(all(unix, test))] mod m; mod n {}";
    let rest: Vec<_> = tokens(text).into_iter().filter(|token| !token.is_test && token.is_name()).collect();
    let rest: Vec<_> = rest.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(rest, ["use", "d", "struct", "H", "k", "u8", "cfg", "not", "test", "mod", "l", "mod", "n"]);
}
