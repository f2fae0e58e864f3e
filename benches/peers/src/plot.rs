//! Bar charts as SVG, on white, so that they can be read on light and dark pages.

use std::fmt::Write;

const WIDTH: f64 = 1100.0;
const INK: &str = "#222222";
const GREY: &str = "#666666";
const PALE: &str = "#dddddd";
/// Distinct also for the colour-blind (Okabe, Ito).
const OURS: [&str; 2] = ["#0072b2", "#56b4e9"];
const OTHERS: [&str; 2] = ["#e69f00", "#f0d48a"];

const LEFT: f64 = 216.0;
const TOP: f64 = 84.0;
const ROW: f64 = 22.0;
const GAP: f64 = 22.0;

/// An arm.
pub struct Row {
    pub name: &'static str,
    pub is_ours: bool,
}

/// The values of all arms with so many callers.
pub struct Panel {
    pub name: String,
    pub unit: &'static str,
    /// The parts of each bar, drawn one after the other; none: not measured.
    pub values: Vec<Vec<f64>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Axis {
    Linear,
    /// From the power of ten below the least value to the one above the greatest.
    Logarithmic,
}

/// Draws a row for each arm and a panel for each number of callers. `parts` names the parts of the bars.
pub fn bars(title: &str, parts: &[&str], rows: &[Row], panels: &[Panel], axis: Axis) -> String {
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 62.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="16" y="26" font-size="15" font-weight="bold" fill="{INK}">{title}</text>
"##
    );
    for (place, row) in rows.iter().enumerate() {
        text(&mut svg, (LEFT - 12.0, TOP + ROW * place as f64 + 15.5), "end", INK, row.name);
    }
    let room = (WIDTH - LEFT) / panels.len().max(1) as f64;
    for (place, panel) in panels.iter().enumerate() {
        draw(&mut svg, (LEFT + room * place as f64, room - GAP), bottom, rows, panel, axis);
    }
    let mut x = LEFT;
    for (whose, colours) in [("redis-replicated", OURS), ("others", OTHERS)] {
        for (place, colour) in colours.iter().enumerate().take(parts.len().max(1)) {
            let name = parts.get(place).map_or(whose.to_owned(), |part| format!("{whose}: {part}"));
            rect(&mut svg, (x, bottom + 34.0), (12.0, 12.0), colour);
            text(&mut svg, (x + 17.0, bottom + 45.0), "start", INK, &name);
            x += 44.0 + 7.0 * name.len() as f64;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, (left, width): (f64, f64), bottom: f64, rows: &[Row], panel: &Panel, axis: Axis) {
    let sums: Vec<f64> = panel.values.iter().map(|parts| parts.iter().sum()).collect();
    let greatest = sums.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let least = sums.iter().copied().filter(|sum| *sum > 0.0).fold(greatest, f64::min);
    let (low, high) = (least.log10().floor(), greatest.log10().ceil().max(least.log10().floor() + 1.0));
    let x = |value: f64| match axis {
        Axis::Linear => left + width * (value / greatest),
        Axis::Logarithmic => left + width * ((value.log10() - low) / (high - low)).clamp(0.01, 1.0),
    };
    text(svg, (left, TOP - 26.0), "start", INK, &panel.name);
    text(svg, (left, TOP - 10.0), "start", GREY, panel.unit);
    let ticks: Vec<f64> = match axis {
        Axis::Linear => vec![0.0, greatest / 2.0, greatest],
        Axis::Logarithmic => (low as i32..=high as i32).map(|power| 10_f64.powi(power)).collect(),
    };
    for (place, value) in ticks.iter().enumerate() {
        let at = if *value == 0.0 { left } else { x(*value) };
        line(svg, (at, TOP), (at, bottom + 4.0));
        // With more ticks, there is room for every other one.
        if axis == Axis::Logarithmic && (ticks.len() < 4 || place % 2 == 0) {
            let anchor = match place {
                0 => "start",
                _ if place + 1 == ticks.len() => "end",
                _ => "middle",
            };
            text(svg, (at, bottom + 18.0), anchor, GREY, &power(*value));
        }
    }
    for (place, (parts, row)) in panel.values.iter().zip(rows).enumerate() {
        let top = TOP + ROW * place as f64;
        let Some(sum) = (!parts.is_empty()).then(|| parts.iter().sum::<f64>()) else {
            text(svg, (left + 5.0, top + 15.5), "start", GREY, "–");
            continue;
        };
        let colours = if row.is_ours { OURS } else { OTHERS };
        let mut before = 0.0;
        for (part, colour) in parts.iter().zip(colours) {
            let from = if before == 0.0 { left } else { x(before) };
            rect(svg, (from, top + 3.0), (x(before + part) - from, ROW - 6.0), colour);
            before += part;
        }
        let end = x(sum);
        // Inside where there is no room behind; dark on the light colours.
        let inside = if row.is_ours && parts.len() == 1 { "#ffffff" } else { INK };
        let is_long = end - left > width * 0.6;
        let (at, anchor, ink) = if is_long { (end - 5.0, "end", inside) } else { (end + 5.0, "start", INK) };
        text(svg, (at, top + 15.5), anchor, ink, &digits(sum));
    }
}

/// Three digits, or all of those before the point.
fn digits(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        ..10_000.0 => format!("{value:.0}"),
        _ => format!("{:.0} k", value / 1000.0),
    }
}

/// A power of ten.
fn power(value: f64) -> String {
    if value < 10_000.0 { value.to_string() } else { digits(value) }
}

fn rect(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(svg, r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#);
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{PALE}"/>"#);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}">{words}</text>"#);
}
