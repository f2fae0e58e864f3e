//! The order of the source: who may import whom, and how long a file and a function may be. `promises` checks the list of
//! promises and their tests.
//!
//! Reads every file of `src`, without a compiler: each path that begins with `crate`, `self`, `super` or a module of the
//! file, grouped or not, imported or in a body. Comments, strings and tests do not count. A path through re-exports counts
//! for the file that defines the item. A root that only re-exports an item of its own folder does not import it, and `mod`
//! alone is no import either: so the files of a folder may import what its root defines, unless the root needs them.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use self::graph::Graph;

#[path = "floors/graph.rs"]
mod graph;
#[path = "floors/imports.rs"]
mod imports;
#[path = "floors/promises.rs"]
mod promises;
#[path = "floors/rules.rs"]
mod rules;
#[path = "floors/source.rs"]
mod source;

/// The floors, from the top. A folder imports folders of lower floors only.
const FLOORS: &[(&str, &[&str])] = &[
    // Servers for tests of applications, started by the same builder that they use.
    ("on top: testing", &["testing"]),
    ("documentation", &["guide"]),
    ("5: surface", &["client", "connection", "commands", "builder", "config"]),
    ("4: session", &["session"]),
    ("3: call", &["call"]),
    ("2b: monitor and provider", &["monitor", "provider"]),
    ("2a: topology", &["topology"]),
    ("1: pool", &["pool"]),
    ("0d: observe", &["observe"]),
    ("0c: decisions", &["selection", "retry", "strategy"]),
    ("0b: node", &["node"]),
    (
        "0a: facts",
        &["replication", "classification", "addr", "endpoint", "error", "hash", "lanes", "millis", "spelling"],
    ),
];

/// Who may import whom on one floor.
const WITHIN: &[(&str, &str)] = &[
    // `client` is the handle and knows none of these: `connection`, `commands` and `builder` add their methods to it
    // from above, in `impl ReplicatedClient` blocks of their own, so that `ReplicatedClient::builder` stands in `builder`.
    ("connection", "client"),
    ("commands", "client"),
    ("builder", "client"),
    // `Config` is data that calls the methods of a builder, and never the other way round.
    ("config", "builder"),
    ("config", "client"),
    // Providers take their threads from the monitor, which knows a provider only as the trait that `topology` defines.
    ("provider", "monitor"),
    // Selection finds who may serve; a strategy picks one of these, and knows nothing of the reason.
    ("selection", "strategy"),
    // Errors and endpoints name a node.
    ("error", "addr"),
    ("endpoint", "addr"),
    // An endpoint that cannot be read is an error.
    ("endpoint", "error"),
    // Reports name the master and the followers of a node.
    ("replication", "addr"),
    // What a server repeats of a command must not come back in a message.
    ("classification", "error"),
];

const LONGEST_FILE: usize = 400;
/// The static table of commands.
const LONG_FILE: &str = "src/classification/table.rs";
const LONGEST_FUNCTION: usize = 60;
/// `src/call.rs` and what is in `src/call`, with docs and without tests.
const LONGEST_CALL: usize = 900;

#[test]
fn the_source_keeps_to_its_floors() {
    let graph = Graph::of(&sources("src"));
    // A checker that reads nothing finds nothing.
    assert!(
        graph.files.len() > 100 && graph.edges.len() > 400,
        "{} files, {} imports",
        graph.files.len(),
        graph.edges.len()
    );
    let broken = rules::broken(&graph);
    assert!(broken.is_empty(), "{} findings\n{}\n", broken.len(), broken.join("\n"));
}

/// Returns the text of every file of a folder, by its path from the package's folder.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    let mut open = vec![package.join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let relative = path.strip_prefix(package).unwrap().to_str().unwrap().replace('\\', "/");
                found.insert(relative, text);
            }
        }
    }
    found
}
