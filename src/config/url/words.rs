//! The words after `?`: which setting each of them means.

use super::parts::decoded;
use super::tree::{Flaw, Tree};
use crate::spelling::alike;

/// Words for the fields of tables: the word, the table and the field.
const IN_TABLES: [(&str, &str, &str); 11] = [
    ("database", "login", "database"),
    ("db", "login", "database"),
    ("protocol", "login", "protocol"),
    ("sentinelMasterId", "sentinel", "service"),
    ("master_name", "sentinel", "service"),
    ("sentinel_username", "sentinel", "username"),
    ("sentinel_password", "sentinel", "password"),
    ("ca_file", "tls", "ca_file"),
    ("cert_file", "tls", "cert_file"),
    ("key_file", "tls", "key_file"),
    ("insecure", "tls", "insecure"),
];

const NODES: &str = "the nodes of a URL stand in front of the path, in any order: redis://host:6379,host:6379/0";
const LOGIN: &str = "the login stands in front of the nodes: redis://user:password@host:6379/0";
const SERVICE: &str = "Sentinels are named by redis-sentinel://host:26379/0?sentinelMasterId=service";
const TLS: &str = "TLS is switched on by rediss:// or rediss-sentinel://";
const TIMEOUT: &str = "there are several: deadline for a whole call, response_timeout for one attempt, connect_timeout for a new connection";

/// What is not set by a word of its own, and where it is set.
const ELSEWHERE: [(&str, &str); 16] = [
    ("master", NODES),
    ("replicas", NODES),
    ("discover", NODES),
    ("nodes", NODES),
    ("login", LOGIN),
    ("user", LOGIN),
    ("username", LOGIN),
    ("password", LOGIN),
    ("sentinel", SERVICE),
    ("service", SERVICE),
    ("tls", TLS),
    ("ssl", TLS),
    ("verifyPeer", "insecure=true switches the checks of certificates off"),
    ("timeout", TIMEOUT),
    ("socket_timeout", TIMEOUT),
    ("classify", "one word for each command: classify.NAME=read"),
];

const CLASSIFY: &str = "classify.";

/// Reads the query into the tables of a file. `fields` are the names of the settings.
pub(super) fn table_of(query: &str, fields: &[&str]) -> Result<Tree, Flaw> {
    let mut tree = Tree::empty();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let after_secret = tree.has("sentinel", "password");
        let (word, value) = part.split_once('=').map_or((part, None), |(word, value)| (word, Some(value)));
        let word = decoded(word)?;
        let Some(setting) = Setting::of(&word, fields) else {
            return Err(if after_secret { rest_of_secret() } else { unknown(&word, fields) });
        };
        let value = value.ok_or_else(|| Flaw(format!("{} has no value: write {0}=…", setting.word())))?;
        let value = decoded(value)?;
        match setting {
            Setting::Field(field) => tree.put_text(field, field, value)?,
            Setting::InTable(word, table, field) => tree.put(table, field, word, value)?,
            Setting::Class(command) => tree.put("classify", command, &word, value)?,
        }
    }
    Ok(tree)
}

/// What a word means.
enum Setting<'a> {
    Field(&'a str),
    InTable(&'static str, &'static str, &'static str),
    Class(&'a str),
}

impl<'a> Setting<'a> {
    fn of(word: &'a str, fields: &[&'a str]) -> Option<Self> {
        if elsewhere(word).is_some() {
            return None;
        }
        if let Some(command) = word.strip_prefix(CLASSIFY).filter(|command| !command.is_empty()) {
            return Some(Self::Class(command));
        }
        let field = fields.iter().find(|field| alike(field, word)).map(|field| Self::Field(field));
        let in_table = || IN_TABLES.iter().find(|(known, _, _)| alike(known, word));
        field.or_else(|| in_table().map(|(known, table, field)| Self::InTable(known, table, field)))
    }

    fn word(&self) -> &str {
        match self {
            Self::Field(word) | Self::InTable(word, _, _) | Self::Class(word) => word,
        }
    }
}

fn elsewhere(word: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(known, _)| alike(known, word)).map(|(_, advice)| *advice)
}

fn rest_of_secret() -> Flaw {
    Flaw::of("an unknown setting after sentinel_password: within the password, write & as %26")
}

/// Names the word, and what was probably meant.
fn unknown(word: &str, fields: &[&str]) -> Flaw {
    // Longer ones are no mistyped setting.
    let shown: String = word.chars().take(40).flat_map(char::escape_debug).collect();
    if let Some(advice) = elsewhere(word) {
        return Flaw(format!("\"{shown}\" is no setting of a URL: {advice}"));
    }
    let settable = fields.iter().copied().filter(|field| elsewhere(field).is_none());
    let known = settable.chain(IN_TABLES.iter().map(|(word, _, _)| *word));
    let nearest = known.map(|known| (distance(word, known), known)).min_by_key(|(distance, _)| *distance);
    match nearest.filter(|(distance, known)| *distance <= known.len().div_ceil(4)) {
        Some((_, known)) => Flaw(format!("unknown setting \"{shown}\": did you mean {known}?")),
        None => Flaw(format!("unknown setting \"{shown}\": the settings are the fields of Config")),
    }
}

/// Returns how many letters have to be added, removed or replaced to turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let letters = |word: &str| word.chars().take(40).map(|letter| letter.to_ascii_lowercase()).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
