//! Arms in another language: clients for Node.js out of the npm registry, driven as a process.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::arm::Arm;
use crate::caller::{Outcome, text};
use crate::cpu::Watched;
use crate::nodes::Nodes;
use crate::turn::{Plan, SMALL, Turn};

const SCRIPT: &str = include_str!("../node/reference.mjs");
const PACKAGES: &str = include_str!("../node/package.json");

/// The folder with the script and the clients.
pub struct Reference {
    folder: PathBuf,
}

impl Reference {
    /// Installs the clients beside this program, unless they are there.
    pub fn install() -> Outcome<Self> {
        let program = std::env::current_exe().map_err(text)?;
        let folder = program.with_file_name("peers-node");
        fs::create_dir_all(&folder).map_err(text)?;
        fs::write(folder.join("reference.mjs"), SCRIPT).map_err(text)?;
        let packages = folder.join("package.json");
        let installed = folder.join("node_modules");
        if fs::read_to_string(&packages).is_ok_and(|text| text == PACKAGES) && installed.exists() {
            return Ok(Self { folder });
        }
        fs::write(packages, PACKAGES).map_err(text)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder).stdin(Stdio::null());
        let output = npm.output().map_err(|error| format!("npm: {error}"))?;
        if output.status.success() {
            return Ok(Self { folder });
        }
        let _ = fs::remove_dir_all(installed);
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("npm install: {}", errors.lines().next().unwrap_or("failed without a word")))
    }

    /// Runs a turn in a process of its own, whose CPU time is that of the client.
    pub fn turn(&self, arm: Arm, plan: &Plan, nodes: &Nodes, callers: usize) -> Outcome<Turn> {
        let mut node = Command::new("node");
        node.arg("reference.mjs").arg(arm.name()).arg(callers.to_string()).current_dir(&self.folder);
        node.args([plan.warm_up, plan.length].map(|time| time.as_millis().to_string())).arg(SMALL.size.to_string());
        node.arg(nodes.master()).args(nodes.replicas()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut node = node.spawn().map_err(|error| format!("node: {error}"))?;
        let turn = observe(&mut node, plan.length, &nodes.watched()?);
        // Fail only if the process has ended, as it should have.
        let _ = node.kill();
        let _ = node.wait();
        turn
    }
}

fn observe(node: &mut Child, length: Duration, watched: &Watched) -> Outcome<Turn> {
    let mut lines = BufReader::new(node.stdout.take().ok_or("node has no output")?).lines();
    if line(&mut lines)? != "begin" {
        return Err("node did not begin".to_owned());
    }
    let (figures, mut used) = watched.during(|| line(&mut lines));
    let figures = figures?;
    let figure = |name: &str| figures.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let number = |name| figure(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    used.client = Duration::try_from_secs_f64(number("cpu") / 1e6).map_err(text)?;
    Ok(Turn {
        p50: number("p50"),
        p99: number("p99"),
        latest: number("latest"),
        failed: number("failed") as u64,
        failure: figure("failure").filter(|failure| !failure.is_empty()).map(str::to_owned),
        ..Turn::new(number("calls") / length.as_secs_f64(), used)
    })
}

fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Outcome<String> {
    lines.next().ok_or("node ended early, see its errors above")?.map_err(text)
}
