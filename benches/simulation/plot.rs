//! Plots as SVG, on white, so that they can be read on light and dark pages.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 400.0;
/// The edges of the field in which the values are.
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = HEIGHT - 44.0;
/// Distinct also for the colour-blind (Okabe, Ito).
const COLOURS: [&str; 8] = ["#999999", "#e69f00", "#56b4e9", "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#000000"];

/// The values of all strategies in one scenario.
pub struct Group<'a> {
    pub name: &'a str,
    pub values: Vec<f64>,
}

/// Draws bars beside each other on a logarithmic axis.
pub fn bars(title: &str, names: &[&str], groups: &[Group<'_>]) -> String {
    let mut svg = begin(title, names);
    let values = || groups.iter().flat_map(|group| &group.values).copied();
    let low = values().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values().fold(0.0, f64::max).log10().ceil();
    let y = |value: f64| BOTTOM - (value.log10() - low) / (high - low) * (BOTTOM - TOP);
    for power in low as i32..=high as i32 {
        let value = 10_f64.powi(power);
        rule(&mut svg, y(value), &format!("{value}"));
    }
    let room = (RIGHT - LEFT) / groups.len() as f64;
    let width = room * 0.84 / names.len() as f64;
    for (place, group) in groups.iter().enumerate() {
        let left = LEFT + room * (place as f64 + 0.08);
        for (index, value) in group.values.iter().enumerate() {
            let (x, top) = (left + width * index as f64, y(*value));
            let (bar, height, colour) = (width - 3.0, BOTTOM - top, COLOURS[index % COLOURS.len()]);
            let label = if *value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
            let _ = writeln!(
                svg,
                r#"<rect x="{x:.1}" y="{top:.1}" width="{bar:.1}" height="{height:.1}" fill="{colour}"/>"#
            );
            text(&mut svg, x + bar / 2.0, top - 4.0, "middle", &label);
        }
        text(&mut svg, left + room * 0.42, BOTTOM + 20.0, "middle", group.name);
    }
    end(svg)
}

/// Draws shares, 0 to 1, over time; a step is so many milliseconds.
pub fn lines(title: &str, names: &[&str], lines: &[&[f64]], step: u64) -> String {
    let mut svg = begin(title, names);
    let steps = lines.iter().map(|line| line.len()).max().unwrap_or(1) as f64;
    let most = lines.iter().flat_map(|line| line.iter()).copied().fold(0.0, f64::max);
    let high = ((most * 10.0).ceil() / 10.0).max(0.1);
    let x = |place: f64| LEFT + place / steps * (RIGHT - LEFT);
    let y = |share: f64| BOTTOM - share / high * (BOTTOM - TOP);
    for tenth in 0..=(high * 10.0).round() as u32 {
        rule(&mut svg, y(f64::from(tenth) / 10.0), &format!("{}", tenth * 10));
    }
    for tick in 0..=5 {
        let place = steps * f64::from(tick) / 5.0;
        text(&mut svg, x(place), BOTTOM + 20.0, "middle", &format!("{:.0} ms", place * step as f64));
    }
    for (index, line) in lines.iter().enumerate() {
        let mut points = String::new();
        for (place, share) in line.iter().enumerate() {
            let _ = write!(points, "{:.1},{:.1} ", x(place as f64 + 0.5), y(*share));
        }
        let (points, colour) = (points.trim_end(), COLOURS[index % COLOURS.len()]);
        let _ = writeln!(svg, r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#);
    }
    end(svg)
}

/// The background, the title and the legend.
fn begin(title: &str, names: &[&str]) -> String {
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13" fill="#222222">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{title}</text>
"##
    );
    let mut x = LEFT;
    for (index, name) in names.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(svg, r#"<rect x="{x:.1}" y="38" width="12" height="12" fill="{colour}"/>"#);
        text(&mut svg, x + 17.0, 49.0, "start", name);
        x += 38.0 + 7.0 * name.len() as f64;
    }
    svg
}

fn rule(svg: &mut String, y: f64, label: &str) {
    let _ = writeln!(svg, r##"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="#dddddd"/>"##);
    text(svg, LEFT - 8.0, y + 4.5, "end", label);
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}

fn end(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}
