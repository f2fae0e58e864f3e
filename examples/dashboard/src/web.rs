//! The web server: the page, its state, the actions and the metrics. For browsers on this machine only.

use std::io;
use std::sync::Arc;
use std::thread;

use redis_replicated::ReplicatedClient;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::board::Board;
use crate::journal::Kind;
use crate::page;
use crate::stage::Action;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// The browser loads nothing from anywhere else, whatever the page says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the handlers of requests share.
pub struct Web {
    pub board: Arc<Board>,
    pub client: ReplicatedClient,
    pub render_metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// The value of the header `Host` of our own page, as `127.0.0.1:7070`, and as `localhost:7070`.
    pub hosts: [String; 2],
    pub page: String,
}

/// The kind of an answer and its body.
type Answer = Result<(&'static str, String), (u16, String)>;

impl Web {
    pub fn new(
        board: Arc<Board>,
        client: ReplicatedClient,
        port: u16,
        render: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        Self { board, client, render_metrics: Box::new(render), hosts, page: page::whole() }
    }

    /// Answers requests until the server is unblocked.
    pub fn serve(&self, server: &Server) {
        for request in server.incoming_requests() {
            let answer = self.answer(&request);
            // Fails only if the browser has gone.
            let _ = send(request, answer);
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        // A page of another site may reach this port, under another name if it controls a name server.
        let host = header(request, "Host").filter(|host| self.hosts.iter().any(|known| known == host));
        let host = host.ok_or((403, "this server answers 127.0.0.1 and localhost only".to_owned()))?;
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        match (request.method(), path) {
            (Method::Get, "/") => Ok((HTML, self.page.clone())),
            (Method::Get, "/state") => {
                let state = self.board.state(&self.client, number(query, "second"), number(query, "event"));
                serde_json::to_string(&state).map(|text| (JSON, text)).map_err(|error| (500, error.to_string()))
            }
            (Method::Get, "/metrics") => Ok((TEXT, (self.render_metrics)())),
            (Method::Post, path)
                if header(request, "Origin").is_some_and(|origin| origin == format!("http://{host}")) =>
            {
                let action = action(path).ok_or((404, "there is no such action".to_owned()))?;
                self.begin(action);
                Ok((JSON, "{}".to_owned()))
            }
            (Method::Post, _) => Err((403, "actions come from the page itself only".to_owned())),
            _ => Err((404, "not found".to_owned())),
        }
    }

    /// Carries out an action on a thread of its own: a failover takes seconds.
    fn begin(&self, action: Action) {
        let board = Arc::clone(&self.board);
        thread::spawn(move || {
            let (node, mark, done) = describe(&board, action);
            board.journal.write_with_mark(Kind::Action, node, done, Some(mark));
            if let Err(error) = board.stage.act(action) {
                board.journal.write(Kind::Change, node, format!("this was not possible: {error}"));
            } else if matches!(action, Action::Restore(_)) {
                board.journal.write(Kind::Change, node, "the server runs again");
            }
        });
    }
}

/// Returns the node of an action, its name for charts, and what was asked for.
fn describe(board: &Board, action: Action) -> (Option<usize>, &'static str, String) {
    let name = |index: usize| board.stage.nodes().get(index).map_or("?", |node| node.name);
    match action {
        Action::Kill(index) => (Some(index), "kill", format!("you killed node {}", name(index))),
        Action::Stop(index) => {
            (Some(index), "stop", format!("you stopped node {}: it hangs, its connections stay open", name(index)))
        }
        Action::Slow(index) => {
            (Some(index), "slow", format!("you slowed node {}: each of its replies is late", name(index)))
        }
        Action::Restore(index) => {
            (Some(index), "restore", format!("you asked for node {} to be restored", name(index)))
        }
        Action::FailOver => (None, "fail over", "you asked the Sentinels for a failover".to_owned()),
    }
}

/// Returns the action of a path such as `/kill/2`.
fn action(path: &str) -> Option<Action> {
    let (action, index) = path.strip_prefix('/')?.split_once('/').unwrap_or((&path[1..], "0"));
    let index = index.parse().ok()?;
    match action {
        "kill" => Some(Action::Kill(index)),
        "stop" => Some(Action::Stop(index)),
        "slow" => Some(Action::Slow(index)),
        "restore" => Some(Action::Restore(index)),
        "failover" => Some(Action::FailOver),
        _ => None,
    }
}

fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
}

/// Returns a number of the query; 0 if there is none.
fn number(query: &str, name: &str) -> u64 {
    let value = |pair: &str| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    query.split('&').find_map(value).unwrap_or(0)
}

fn send(request: Request, answer: Answer) -> io::Result<()> {
    let (status, kind, body) = match answer {
        Ok((kind, body)) => (200, kind, body),
        Err((status, text)) => (status, TEXT, text),
    };
    let headers = [
        ("Content-Type", kind),
        ("Content-Security-Policy", POLICY),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ];
    let mut response = Response::from_string(body).with_status_code(status);
    for (name, value) in headers {
        // The names and values above are valid.
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    request.respond(response)
}
