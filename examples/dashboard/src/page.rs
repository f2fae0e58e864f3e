//! The page: one HTML file, with its style and its script in it.

/// Returns the page as it is sent.
pub fn whole() -> String {
    let html = include_str!("page/page.html");
    let scripts = concat!(include_str!("page/chart.js"), include_str!("page/map.js"), include_str!("page/page.js"));
    html.replace("/*STYLE*/", include_str!("page/page.css")).replace("/*SCRIPT*/", scripts)
}
