//! A headless Chromium, driven over its DevTools protocol.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// How long the browser may take to start, to answer, or to show what is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page; killed on drop.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    last: u64,
    /// What the browser told, in order.
    pub events: Vec<Value>,
    _profile: TempDir,
}

/// Returns the program: that of the variable `CHROMIUM`, or an installed one.
pub fn program() -> Option<String> {
    let named = std::env::var("CHROMIUM").ok();
    let runs = |program: &String| Command::new(program).arg("--version").stderr(Stdio::null()).output().is_ok();
    named.into_iter().chain(PROGRAMS.map(str::to_owned)).find(runs)
}

impl Browser {
    pub fn start(program: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let child = Command::new(program)
            // A container has no sandbox for root, and little shared memory.
            .args(["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-extensions"])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (port, path) = wait_for("the port of the browser", || {
            let text = fs::read_to_string(profile.path().join("DevToolsActivePort")).ok()?;
            let (port, path) = text.split_once('\n')?;
            (!path.is_empty()).then(|| (port.to_owned(), path.to_owned()))
        });
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.set_read_timeout(Some(LONGEST_WAIT)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream).unwrap();
        let mut browser = Self { child, socket, session: None, last: 0, events: Vec::new(), _profile: profile };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": page, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol and returns its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut request = json!({ "id": self.last, "method": method, "params": params });
        // What is asked of the whole browser does not belong to the page.
        if let Some(session) = self.session.as_ref().filter(|_| !method.starts_with("SystemInfo")) {
            request["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let message = self.read();
            if message["id"] != json!(self.last) {
                self.events.push(message);
            } else if let Some(error) = message.get("error") {
                panic!("{method}: {error}");
            } else {
                return message["result"].clone();
            }
        }
    }

    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// Sets the size of the window, in CSS pixels, and the colour scheme.
    pub fn look_like(&mut self, width: u32, height: u32, scheme: &str) {
        let mobile = width < 600;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Returns the value of an expression.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait_until(&mut self, what: &str, expression: &str) {
        wait_for(what, || (self.evaluate(expression) == json!(true)).then_some(()));
    }

    /// Presses the element that a selector finds, by the mouse.
    pub fn press(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'nearest' }}); \
             const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; }})()"
        );
        let place = self.evaluate(&place);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Writes what is seen into a PNG file; of the whole page, or of its first screen.
    pub fn photograph(&mut self, file: &Path, whole: bool) {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": whole }));
        fs::write(file, from_base64(shot["data"].as_str().unwrap())).unwrap();
    }

    /// Returns the CPU time so far, in seconds: of the page's renderer, and of all processes of the browser.
    pub fn cpu_times(&mut self) -> (f64, f64) {
        let info = self.call("SystemInfo.getProcessInfo", json!({}));
        let time = |process: &&Value| process["cpuTime"].as_f64().unwrap_or(0.0);
        let processes = info["processInfo"].as_array().unwrap();
        let renderers = processes.iter().filter(|process| process["type"] == "renderer");
        (renderers.clone().map(|process| time(&process)).sum(), processes.iter().map(|process| time(&process)).sum())
    }

    fn read(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.socket.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again until there is an answer.
pub fn wait_for<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONGEST_WAIT;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {LONGEST_WAIT:?} for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let chars: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    let bytes = |part: &[u8]| {
        let bits = part.iter().fold(0_u32, |bits, six| bits << 6 | u32::from(*six)) << (6 * (4 - part.len()));
        bits.to_be_bytes()[1..part.len()].to_vec()
    };
    chars.chunks(4).flat_map(bytes).collect()
}
