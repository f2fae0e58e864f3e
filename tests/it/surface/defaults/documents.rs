//! The defaults that the docs of methods name, and those in the tables of the README and the guide.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns each method whose docs name a default, and how they do.
pub(super) fn defaults() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in files("src", "rs") {
        let mut docs = String::new();
        for line in fs::read_to_string(path).unwrap().lines().map(str::trim) {
            if let Some(doc) = line.strip_prefix("///") {
                docs.push_str(doc);
            } else if !line.starts_with("#[") {
                if let Some(name) = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("fn ") {
                    let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    found.extend(default_in(&docs).map(|text| (name, text)));
                }
                docs.clear();
            }
        }
    }
    found
}

fn default_in(docs: &str) -> Option<String> {
    let (_, text) = docs.split_once("Default: ").or_else(|| docs.split_once("Defaults to "))?;
    Some(text.split(['.', ';']).next().unwrap_or_default().to_owned())
}

/// One setting in a table with a column of defaults.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    cell: String,
}

impl Row {
    /// Returns whether the cell begins with what the docs say, or the other way round: it may say more, or less.
    pub(super) fn agrees_with(&self, documented: &str) -> bool {
        let lead = |text: &str| text.split([',', ';', '(']).next().unwrap_or_default().trim().to_owned();
        let cell = lead(&self.cell.replace("`pool_size`", "the pool size"));
        let documented = lead(documented);
        let has_more = cell.strip_prefix(&documented).is_some_and(|more| more.is_empty() || more.starts_with(' '));
        !cell.is_empty() && (has_more || documented.starts_with(&format!("{cell} ")))
    }
}

/// Returns the rows of all tables of settings.
pub(super) fn rows() -> Vec<Row> {
    let mut found = Vec::new();
    for path in [vec![package().join("README.md")], files("src/guide", "md")].concat() {
        let mut column = None;
        for line in fs::read_to_string(path).unwrap().lines() {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            if !line.starts_with('|') {
                column = None;
            } else if ["limit", "setting"].contains(&cells[0]) {
                column = cells.iter().position(|cell| *cell == "default");
            } else if let Some(column) = column {
                found.extend(settings(cells[0], cells[column]));
            }
        }
    }
    found
}

/// Several settings may share a row.
fn settings(names: &str, cell: &str) -> Vec<Row> {
    let names: Vec<&str> = names.split("; ").collect();
    let parts: Vec<&str> = if names.len() > 1 { cell.split("; ").collect() } else { vec![cell] };
    let name_in = |text: &str| text.split('`').nth(1).map(str::to_owned);
    let rows = names.iter().zip(parts).filter_map(|(name, part)| Some((name_in(name)?, part.to_owned())));
    rows.map(|(name, cell)| Row { name, cell }).collect()
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![package().join(folder)]);
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn defaults_are_found_in_docs_and_tables() {
    assert_eq!(default_in(" Sets it. Default: 1 s; zero fails. More.").as_deref(), Some("1 s"));
    assert_eq!(default_in(" Sets it. Defaults to 10, as ever.").as_deref(), Some("10, as ever"));
    assert_eq!(default_in(" Sets it."), None);
    let rows = settings("`a` (more); [`b`](x); c", "10; 2 at a time; 3");
    assert_eq!(
        rows.iter().map(|row| (&*row.name, &*row.cell)).collect::<Vec<_>>(),
        [("a", "10"), ("b", "2 at a time")]
    );
    let agrees = |cell: &str, text: &str| Row { name: String::new(), cell: cell.to_owned() }.agrees_with(text);
    assert!(agrees("10", "10") && agrees("2 at a time", "2") && agrees("1 s, 0: off", "1 s"));
    assert!(
        agrees("half of the pool, `None`: off", "half of the pool size")
            && agrees("half of `pool_size`", "half of the pool size")
    );
    assert!(!agrees("100", "10") && !agrees("1 s", "10 s") && !agrees("", "10") && !agrees("1", "10 s"));
}
