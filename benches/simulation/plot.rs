//! Plots as SVG, on white, so that they can be read on light and dark pages.

use std::fmt::Write;

const WIDTH: f64 = 1000.0;
const INK: &str = "#222222";
const GREY: &str = "#666666";
const PALE: &str = "#dddddd";
/// Distinct also for the colour-blind (Okabe, Ito).
const COLOURS: [&str; 5] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00"];
const GOOD: &str = COLOURS[0];
const WORSE: &str = COLOURS[1];
const OVERLOAD: &str = COLOURS[4];
/// What is called good: up to so many times the best value.
const NEAR_THE_BEST: f64 = 2.0;

/// The values of all strategies in one situation.
pub struct Panel {
    pub name: String,
    /// What the values are, with their unit.
    pub figure: &'static str,
    /// The powers of ten at the ends of the logarithmic axis.
    pub powers: (i32, i32),
    /// `None`: more than the servers can do.
    pub values: Vec<Option<f64>>,
}

/// A value over time.
pub struct Line<'a> {
    pub name: &'a str,
    pub values: &'a [f64],
}

/// Draws a row for each name and a panel of bars for each situation, beside each other.
pub fn panels(title: &str, names: &[&str], panels: &[Panel]) -> String {
    const LEFT: f64 = 216.0;
    const TOP: f64 = 84.0;
    const ROW: f64 = 22.0;
    const GAP: f64 = 24.0;
    let bottom = TOP + ROW * names.len() as f64;
    let mut svg = begin(title, bottom + 62.0);
    for (row, name) in names.iter().enumerate() {
        text(&mut svg, (LEFT - 12.0, TOP + ROW * row as f64 + 15.5), "end", INK, name);
    }
    let room = (WIDTH - LEFT) / panels.len() as f64;
    for (place, panel) in panels.iter().enumerate() {
        let (left, width) = (LEFT + room * place as f64, room - GAP);
        let (low, high) = panel.powers;
        let x = |value: f64| left + width * ((value.log10() - f64::from(low)) / f64::from(high - low)).clamp(0.01, 1.0);
        text(&mut svg, (left, TOP - 26.0), "start", INK, &panel.name);
        text(&mut svg, (left, TOP - 10.0), "start", GREY, panel.figure);
        for power in low..=high {
            let at = left + width * f64::from(power - low) / f64::from(high - low);
            line(&mut svg, (at, TOP), (at, bottom + 4.0));
            // On a long axis, there is room for every other one.
            if high - low < 4 || (power - low) % 2 == 0 {
                let anchor = if power == low {
                    "start"
                } else if power == high {
                    "end"
                } else {
                    "middle"
                };
                text(&mut svg, (at, bottom + 18.0), anchor, GREY, &format!("{}", 10_f64.powi(power)));
            }
        }
        let best = panel.values.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        for (row, value) in panel.values.iter().enumerate() {
            let top = TOP + ROW * row as f64;
            let (end, colour, label) = match *value {
                None => (left + width, OVERLOAD, "overload".to_owned()),
                Some(value) if value <= best * NEAR_THE_BEST => (x(value), GOOD, digits(value)),
                Some(value) => (x(value), WORSE, digits(value)),
            };
            rect(&mut svg, (left, top + 3.0), (end - left, ROW - 6.0), colour);
            // Inside where there is no room behind; dark on the light colour.
            let inside = if colour == WORSE { INK } else { "#ffffff" };
            let is_long = end - left > width * 0.6;
            let (at, anchor, ink) = if is_long { (end - 5.0, "end", inside) } else { (end + 5.0, "start", INK) };
            text(&mut svg, (at, top + 15.5), anchor, ink, &label);
        }
    }
    let keys = [
        (GOOD, "at most twice the best"),
        (WORSE, "more"),
        (OVERLOAD, "overload: one replica gets more than it can do, its queue grows without end"),
    ];
    legend(&mut svg, LEFT, bottom + 34.0, &keys);
    end(svg)
}

/// Draws shares, 0 to 1, over time: a step is so many milliseconds, the first one begins at `from`.
pub fn lines(title: &str, lines: &[Line<'_>], from: u64, step: u64) -> String {
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = WIDTH - 40.0;
    const TOP: f64 = 76.0;
    const BOTTOM: f64 = 316.0;
    let mut svg = begin(title, BOTTOM + 36.0);
    let keys: Vec<_> = COLOURS.into_iter().zip(lines.iter().map(|line| line.name)).collect();
    legend(&mut svg, LEFT, 38.0, &keys);
    let steps = lines.iter().map(|line| line.values.len()).max().unwrap_or(1) as f64;
    let most = lines.iter().flat_map(|line| line.values).copied().fold(0.0, f64::max);
    let tenths = (most * 10.0).ceil().max(1.0);
    let x = |place: f64| LEFT + place / steps * (RIGHT - LEFT);
    let y = |share: f64| BOTTOM - share * 10.0 / tenths * (BOTTOM - TOP);
    for tenth in 0..=tenths as u32 {
        let at = y(f64::from(tenth) / 10.0);
        line(&mut svg, (LEFT, at), (RIGHT, at));
        text(&mut svg, (LEFT - 8.0, at + 4.5), "end", INK, &format!("{} %", tenth * 10));
    }
    for tick in 0..=5 {
        let place = steps * f64::from(tick) / 5.0;
        let time = from as f64 + place * step as f64;
        text(&mut svg, (x(place), BOTTOM + 20.0), "middle", INK, &format!("{time:.0} ms"));
    }
    for (drawn, colour) in lines.iter().zip(COLOURS) {
        let mut points = String::new();
        for (place, share) in drawn.values.iter().enumerate() {
            let _ = write!(points, "{:.1},{:.1} ", x(place as f64 + 0.5), y(*share));
        }
        let points = points.trim_end();
        let _ = writeln!(svg, r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
    }
    end(svg)
}

/// Two significant digits at least.
fn digits(value: f64) -> String {
    match value {
        ..0.01 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// The background and the title.
fn begin(title: &str, height: f64) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="16" y="26" font-size="15" font-weight="bold" fill="{INK}">{title}</text>
"##
    )
}

fn legend(svg: &mut String, left: f64, top: f64, keys: &[(&str, &str)]) {
    let mut x = left;
    for (colour, name) in keys {
        rect(svg, (x, top), (12.0, 12.0), colour);
        text(svg, (x + 17.0, top + 11.0), "start", INK, name);
        x += 40.0 + 7.0 * name.len() as f64;
    }
}

fn rect(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(svg, r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#);
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{PALE}"/>"#);
}

/// `words` may hold what XML has a use for, as the names of generic types do.
fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}">{words}</text>"#);
}

fn end(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}
