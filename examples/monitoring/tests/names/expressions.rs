//! The expressions of the dashboard and of the alert rules.

use std::collections::BTreeMap;

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// One expression.
#[derive(Debug)]
pub struct Expression {
    /// Where it stands.
    pub place: String,
    pub text: String,
    /// Texts with the values of labels, by their names: legends and annotations.
    pub texts: BTreeMap<String, String>,
}

impl Expression {
    /// Returns the labels that legends and annotations show.
    pub fn labels_of_texts(&self) -> Vec<String> {
        let shown = self.texts.values().flat_map(|text| text.split("{{").skip(1));
        let shown = shown.filter_map(|part| part.split("}}").next()).map(str::trim);
        let labels = shown.filter_map(|part| match part.strip_prefix("$labels.") {
            Some(label) => Some(label),
            None => (!part.starts_with('$')).then_some(part),
        });
        labels.map(str::to_owned).collect()
    }
}

/// Returns the expressions of panels, annotations and variables.
pub fn of_dashboard(text: &str) -> Vec<Expression> {
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(matches!(panel["type"].as_str(), Some("row" | "text")) || !targets.is_empty(), "{title} shows nothing");
        for target in targets {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let texts = [("legend".to_owned(), legend.to_owned())].into();
            let text = target["expr"].as_str().unwrap().to_owned();
            all.push(Expression { place: format!("panel {title}"), text, texts });
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        let text = |field: &str| annotation[field].as_str().unwrap().to_owned();
        let texts = [("title".to_owned(), text("titleFormat"))].into();
        all.push(Expression { place: format!("annotation {}", text("name")), text: text("expr"), texts });
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|item| item["type"] == "query") {
        // label_values(selector, label): as an aggregation by this label.
        let query = variable["definition"].as_str().unwrap();
        let inner = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')')).unwrap();
        let (selector, label) = inner.rsplit_once(',').unwrap();
        let text = format!("count by ({}) ({selector})", label.trim());
        all.push(Expression { place: format!("variable {}", variable["name"]), text, texts: BTreeMap::new() });
    }
    assert!(all.len() > 40, "few expressions: {}", all.len());
    all
}

/// Returns the expressions of the rules.
pub fn of_rules(text: &str) -> Vec<Expression> {
    let documents = YamlLoader::load_from_str(text).unwrap();
    let groups = documents[0]["groups"].as_vec().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_vec().unwrap());
    let all: Vec<_> = rules.map(of_rule).collect();
    assert!(all.len() >= 7, "few rules: {}", all.len());
    all
}

fn of_rule(rule: &Yaml) -> Expression {
    let place = format!("alert {}", rule["alert"].as_str().unwrap());
    let texts = rule["annotations"].as_hash().unwrap().iter();
    let texts = texts.map(|(name, text)| (name.as_str().unwrap().to_owned(), text.as_str().unwrap().to_owned()));
    Expression { place, text: rule["expr"].as_str().unwrap().to_owned(), texts: texts.collect() }
}
