//! The dashboard and the alert rules use metrics and labels that a client really reports.
//!
//! A set goes through reads, writes, sessions, a killed replica, waits, a lost write and a failover. Each metric and each label
//! in the expressions of `grafana-dashboard.json` and `alerts.yaml` has to be in the text that Prometheus then reads.

#![allow(missing_docs, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use monitoring::demo::{Demo, lose_a_write, wait_until};
use monitoring::prometheus::recorder;

use self::expressions::Expression;
use self::promql::{Selector, labels_of_clauses, selectors};
use self::rendered::Rendered;

#[path = "names/expressions.rs"]
mod expressions;
#[path = "names/promql.rs"]
mod promql;
#[path = "names/rendered.rs"]
mod rendered;

/// The labels that Prometheus adds.
const SCRAPED: [&str; 2] = ["job", "instance"];

/// Returns a file of this package or, with `..`, of the crate.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn expressions() -> Vec<Expression> {
    let mut all = expressions::of_dashboard(&read("grafana-dashboard.json"));
    all.extend(expressions::of_rules(&read("alerts.yaml")));
    all
}

#[test]
fn each_metric_and_label_of_the_dashboard_and_the_alerts_is_reported() {
    let handle = recorder().unwrap().install_recorder().unwrap();
    let mut demo = Demo::start().unwrap();
    demo.call().unwrap();
    demo.read_with_many_threads().unwrap();
    demo.lose_a_replica().unwrap();
    demo.lose_all_replicas().unwrap();
    demo.fail_over().unwrap();
    demo.call().unwrap();
    demo.wait_for_connections().unwrap();
    lose_a_write().unwrap();
    let expressions = expressions();
    // Gauges come with the next round of the monitor.
    let mut missing = Vec::new();
    let is_complete = wait_until("all metrics are reported", || {
        let rendered = Rendered::of(&handle.render());
        missing = expressions.iter().flat_map(|expression| lacks(expression, &rendered)).collect();
        Ok(missing.is_empty())
    });
    assert!(is_complete.is_ok(), "{missing:#?}\n{}", handle.render());
    let documented = documented();
    let rendered = Rendered::of(&handle.render());
    let undocumented: Vec<_> = rendered.names().filter(|name| !documented.contains_key(*name)).collect();
    assert!(undocumented.is_empty(), "not in the table of the guide: {undocumented:?}");
    for (name, labels) in &documented {
        let found = rendered.labels(name).unwrap_or_else(|| panic!("{name} is in the guide, but not reported"));
        let own: BTreeSet<_> = labels.iter().map(String::as_str).collect();
        let common = ["db_system_name", "redis_client_library", "client"];
        let found: BTreeSet<_> = found.iter().map(String::as_str).filter(|label| !common.contains(label)).collect();
        assert_eq!(found, own, "{name}: reported, and in the guide");
    }
}

/// Returns what an expression uses and nobody reports.
fn lacks(expression: &Expression, rendered: &Rendered) -> Vec<String> {
    let mut missing = Vec::new();
    let used = selectors(&expression.text);
    let mut known: BTreeSet<String> = SCRAPED.into_iter().map(str::to_owned).collect();
    for Selector { metric, matchers } in &used {
        let Some(labels) = rendered.labels(metric) else {
            missing.push(format!("{}: no metric {metric}", expression.place));
            continue;
        };
        known.extend(labels.iter().cloned());
        for (label, _) in matchers.iter().filter(|(label, _)| !SCRAPED.contains(&label.as_str())) {
            if !labels.contains(label) {
                missing.push(format!("{}: {metric} has no label {label}", expression.place));
            }
        }
    }
    for label in labels_of_clauses(&expression.text).into_iter().chain(expression.labels_of_texts()) {
        if !known.contains(&label) {
            missing.push(format!("{}: no metric has the label {label}", expression.place));
        }
    }
    missing
}

/// Returns the metrics of the table in the guide by their names in Prometheus, with their labels.
fn documented() -> BTreeMap<String, Vec<String>> {
    let guide = read("../../src/guide/monitoring.md");
    let rows = guide.lines().filter(|line| line.starts_with("| ") && line.contains("` | "));
    let mut all = BTreeMap::new();
    for cells in rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>()) {
        let Some(name) = cells.get(1).map(|cell| cell.trim_matches('`')) else { continue };
        if !name.starts_with("db_client_") && !name.starts_with("redis_client_") {
            continue;
        }
        let labels = code_spans(cells[3]).into_iter().flat_map(|label| match label {
            "node" => vec!["server_address", "server_port"],
            "pool" => vec!["db_client_connection_pool_name"],
            other => vec![other],
        });
        all.insert(name.to_owned(), labels.map(str::to_owned).collect());
    }
    assert!(all.len() > 20, "the table was not found: {all:?}");
    all
}

/// Returns the texts between backticks, outside parentheses: those in parentheses are values.
fn code_spans(cell: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let mut spans = Vec::new();
    for (at, part) in cell.split('`').enumerate() {
        if at % 2 == 1 {
            if depth == 0 {
                spans.push(part);
            }
        } else {
            depth += u32::try_from(part.matches('(').count()).unwrap();
            depth -= u32::try_from(part.matches(')').count()).unwrap();
        }
    }
    spans
}

#[test]
fn the_values_that_expressions_compare_with_are_in_the_guide() {
    let guide = read("../../src/guide/monitoring.md");
    for expression in expressions() {
        for (label, value) in selectors(&expression.text).into_iter().flat_map(|selector| selector.matchers) {
            if SCRAPED.contains(&label.as_str()) || value.starts_with('$') || value.contains(".+") || value.is_empty() {
                continue;
            }
            for word in value.split('|') {
                assert!(guide.contains(&format!("`{word}`")), "{}: {label}={word}", expression.place);
            }
        }
    }
}

#[test]
fn the_expressions_are_balanced() {
    for Expression { place, text, .. } in expressions() {
        assert!(promql::is_balanced(&text), "{place}: {text}");
    }
    assert!(
        !promql::is_balanced("sum(rate(a[5m])") && !promql::is_balanced("a{b=\"c}") && !promql::is_balanced("(a[)]")
    );
}

#[test]
fn each_alert_has_a_section_in_the_runbook() {
    let runbook = read("../../src/guide/runbook.md");
    let rules = expressions::of_rules(&read("alerts.yaml"));
    let headings: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("# Redis")).collect();
    for rule in &rules {
        let alert = rule.place.trim_start_matches("alert ");
        let heading = alert.strip_prefix("Redis").unwrap();
        assert!(headings.contains(&heading), "{alert} has no section");
        let anchor = format!("guide/runbook/index.html#{}", alert.to_lowercase());
        assert!(rule.texts["runbook_url"].ends_with(&anchor), "{alert}: {}", rule.texts["runbook_url"]);
        for text in ["summary", "description"] {
            assert!(rule.texts.contains_key(text), "{alert} has no {text}");
        }
    }
    assert_eq!(headings.len(), rules.len(), "a section for each alert: {headings:?}");
}

#[test]
fn the_guide_shows_the_code_of_this_package() {
    let guide = read("../../src/guide/monitoring.md");
    let source = read("src/prometheus.rs");
    let code = &source[source.find("use ").unwrap()..];
    assert!(guide.contains(code.trim_end()), "src/prometheus.rs is not in the guide as it is");
}

#[test]
fn prometheus_accepts_the_rules_and_the_expressions() {
    let Some(promtool) = promtool() else { return };
    let folder = tempfile_folder();
    let run = |arguments: &[&str]| {
        let output = Command::new(&promtool).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&text));
    };
    run(&["check", "config", "prometheus.yml"]);
    run(&["check", "rules", "alerts.yaml"]);
    run(&["test", "rules", "alerts.test.yaml"]);
    // The expressions of the dashboard, as rules that record something.
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, expression) in expressions::of_dashboard(&read("grafana-dashboard.json")).iter().enumerate() {
        let text = expression.text.replace("$__rate_interval", "1m").replace("$__range", "1h");
        rules += &format!("  - record: test:{number}\n    expr: {}\n", serde_json::Value::from(text));
    }
    let file = folder.join("dashboard.yaml");
    fs::write(&file, rules).unwrap();
    run(&["check", "rules", &file.to_string_lossy()]);
}

/// Returns a folder of this test.
fn tempfile_folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("names");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Returns the program that checks rules, if it is installed.
#[allow(clippy::print_stderr)]
fn promtool() -> Option<PathBuf> {
    let program = PathBuf::from("promtool");
    match Command::new(&program).arg("--version").output() {
        Ok(_) => Some(program),
        Err(error) => {
            eprintln!("left out: promtool cannot be run ({error}); on Debian, apt-get install prometheus brings it");
            None
        }
    }
}
