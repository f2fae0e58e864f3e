//! The page in a real browser: what a visitor sees and presses.
//!
//! `examples/dashboard/test.sh` installs the browser and runs this. With `SCREENSHOTS` set to a folder, pictures are left there.

mod browser;
mod dashboard;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::browser::Browser;
use self::dashboard::Dashboard;

const EJECTED: &str =
    "[...document.querySelectorAll('.node .health')].some(pill => pill.textContent.includes('ejected'))";
const MASTER: &str = "document.querySelector('.node.master .badge')?.textContent";

#[test]
fn a_visitor_kills_a_replica_and_sees_it_ejected() {
    let Some(program) = browser::program() else {
        println!("SKIPPED: no Chromium found. Install it (apt-get install chromium), or name it in CHROMIUM.");
        return;
    };
    let dashboard = Dashboard::start();
    let mut browser = Browser::start(&program);
    browser.look_like(1280, 800, "light");
    browser.open(&dashboard.url());
    browser.wait_until("four nodes", "document.querySelectorAll('.node').length === 4");
    assert_eq!(browser.evaluate("document.title"), json!("redis-replicated: a replica set, live"));
    check_first_paint(&mut browser);

    browser.wait_until("traffic at all nodes", "nodes.every(node => node.reads + node.writes > 0)");
    browser.wait_until("some seconds in the chart", "seconds.length >= 10");
    picture(&mut browser, "1-calm");
    check_cost(&mut browser, &dashboard);

    let before = browser.evaluate("document.querySelector('#chart-reads svg').innerHTML");
    browser.press("[data-try=kill]");
    browser.wait_until("an ejected node", EJECTED);
    browser.wait_until(
        "the ejection among the events",
        "document.getElementById('events').textContent.includes('ejected')",
    );
    let last = browser.evaluate("seconds[seconds.length - 1].number");
    browser.wait_until("three more seconds", &format!("seconds[seconds.length - 1].number >= {last} + 3"));
    browser.wait_until(
        "no read at the killed node",
        "seconds[seconds.length - 1].reads[nodes.findIndex(node => node.condition === 'killed')] === 0",
    );
    let after = browser.evaluate("document.querySelector('#chart-reads svg').innerHTML");
    assert!(after != before, "the chart has moved");
    assert_eq!(browser.evaluate("document.querySelectorAll('#chart-reads .mark').length > 0"), json!(true));
    let failed = browser.evaluate("document.getElementById('failed-count').textContent");
    println!("failed requests after a replica was killed: {failed}");
    assert_eq!(
        browser.evaluate("document.getElementById('failed-note').textContent.includes(' 0 reads')"),
        json!(true)
    );
    picture(&mut browser, "2-killed");

    browser.press("[data-try=restore]");
    browser.wait_until("no ejected node", &format!("!{EJECTED}"));
    let master = browser.evaluate(MASTER);
    browser.press("[data-try=failover]");
    browser.wait_until("another master", &format!("{MASTER} !== undefined && {MASTER} !== {master}"));
    browser.wait_until("writes there", "nodes.find(node => node.seen && node.seen.is_master)?.writes > 0");
    picture(&mut browser, "3-failover");
    check_quiet(&browser, &dashboard);
}

#[test]
fn only_the_page_itself_may_act() {
    let dashboard = Dashboard::start();
    let host = format!("Host: {}", dashboard.host);
    let own = format!("Origin: http://{}", dashboard.host);
    let nothing = "Content-Length: 0";
    let ask = |first: &str, headers: &[&str]| dashboard.request(first, headers).0;
    assert_eq!(ask("GET /state", &[&host]), 200);
    assert_eq!(ask("GET /state", &["Host: evil.example"]), 403, "another name for this address");
    assert_eq!(ask("POST /kill/1", &[&host, nothing]), 403, "no origin");
    assert_eq!(ask("POST /kill/1", &[&host, "Origin: http://evil.example", nothing]), 403);
    assert_eq!(ask("POST /kill/1", &["Host: evil.example", "Origin: http://evil.example", nothing]), 403);
    assert_eq!(ask("GET /kill/1", &[&host, &own]), 404, "actions are POST");
    assert_eq!(ask("POST /explode/1", &[&host, &own, nothing]), 404);
    let (status, state) = dashboard.request("GET /state", &[&host]);
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!((status, &state["nodes"][1]["condition"]), (200, &json!("running")), "nothing was done");
    let (status, metrics) = dashboard.request("GET /metrics", &[&host]);
    assert!(status == 200 && metrics.contains("db_client_operation_duration"), "{metrics}");
    assert_eq!(ask("POST /kill/1", &[&host, &own, nothing]), 200);
}

#[test]
fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
    let dashboard = Dashboard::start();
    let host = format!("Host: {}", dashboard.host);
    let own = format!("Origin: http://{}", dashboard.host);
    let press = |action: &str| {
        let answer = dashboard.request(&format!("POST /{action}"), &[&host, &own, "Content-Length: 0"]);
        assert_eq!(answer.0, 200, "{action}: {}", answer.1);
    };
    let first = || -> Value {
        let state: Value = serde_json::from_str(&dashboard.request("GET /state", &[&host]).1).unwrap();
        state["nodes"][0].clone()
    };
    assert_eq!(first()["seen"]["is_master"], json!(true));
    press("kill/0");
    browser::wait_for("the end of the master", || (first()["condition"] == "killed").then_some(()));
    press("restore/0");
    browser::wait_for("its return as a replica in sync", || {
        let node = first();
        let seen = &node["seen"];
        let is_back =
            node["condition"] == "running" && seen["is_master"] == json!(false) && seen["ejected"] == json!(false);
        (is_back && seen["claims"].is_null() && seen["sync_state"] == "in sync").then_some(())
    });
    browser::wait_for("reads there", || first()["reads"].as_u64().filter(|reads| *reads > 0));
}

/// Loads the page again and again: the best of three, as other processes are busy too.
fn check_first_paint(browser: &mut Browser) {
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]";
    let mut times = Vec::new();
    for _ in 0..3 {
        browser.call("Page.reload", json!({}));
        browser.wait_until("a new document", "typeof nodes !== 'undefined' && nodes.length === 4");
        browser.wait_until("the first paint", &format!("{paint} !== undefined"));
        times.push(browser.evaluate(&format!("{paint}.startTime")).as_f64().unwrap());
    }
    println!("first paint after {times:.0?} ms");
    let best = times.into_iter().fold(f64::INFINITY, f64::min);
    assert!(best < 1000.0, "first paint after {best} ms");
}

/// Checks that the page wrote no error, and asked nobody but the dashboard.
fn check_quiet(browser: &Browser, dashboard: &Dashboard) {
    let of = |method: &str| {
        let method = method.to_owned();
        browser.events.iter().filter(move |event| event["method"] == json!(method)).map(|event| &event["params"])
    };
    let requests: Vec<_> =
        of("Network.requestWillBeSent").filter_map(|event| event["request"]["url"].as_str()).collect();
    assert!(requests.len() > 10, "requests are seen at all");
    for url in requests {
        assert!(
            url.starts_with(&dashboard.url()) || url.starts_with("data:") || url == "about:blank",
            "a request to {url}"
        );
    }
    let problems: Vec<_> = of("Runtime.exceptionThrown")
        .chain(of("Runtime.consoleAPICalled").filter(|event| event["type"] == "error" || event["type"] == "warning"))
        .chain(of("Log.entryAdded").filter(|event| event["entry"]["level"] == "error"))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Measures what the open page costs: CPU time over ten seconds.
fn check_cost(browser: &mut Browser, dashboard: &Dashboard) {
    let began = Instant::now();
    let (renderer, all) = browser.cpu_times();
    let web = dashboard.cpu_time_of_web();
    // The time for which the page is open is what is measured.
    thread::sleep(Duration::from_secs(10));
    let (renderer_then, all_then) = browser.cpu_times();
    let percent = |time: f64| 100.0 * time / began.elapsed().as_secs_f64();
    let (renderer, web) = (percent(renderer_then - renderer), percent(dashboard.cpu_time_of_web() - web));
    let all = percent(all_then - all);
    println!("the open page: renderer {renderer:.1} %, whole browser {all:.1} %, web server {web:.2} % of a core");
    assert!(renderer + web < 20.0, "generous, for a busy machine");
}

/// Leaves pictures of the page for a person to look at, if asked to: wide and narrow, light and dark.
fn picture(browser: &mut Browser, name: &str) {
    let Some(folder) = std::env::var_os("SCREENSHOTS").map(PathBuf::from) else { return };
    // A picture should show some seconds after what was done.
    thread::sleep(Duration::from_secs(4));
    for (width, height, scheme) in [(1280, 800, "light"), (1280, 800, "dark"), (390, 844, "light"), (390, 844, "dark")]
    {
        browser.look_like(width, height, scheme);
        browser.evaluate("new Promise(done => setTimeout(done, 300))");
        browser.photograph(&folder.join(format!("{name}-{width}-{scheme}.png")), width < 600);
    }
    browser.look_like(1280, 800, "light");
    browser.photograph(&folder.join(format!("{name}-whole.png")), true);
}
