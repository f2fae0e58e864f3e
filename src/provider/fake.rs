//! Servers for unit tests that listen at several addresses of this machine under one port.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a server answers to a command; `None`: nothing, ever.
type Answer = Box<dyn Fn(&[String]) -> Option<String> + Send + Sync>;

/// A server, and how many connections it has had.
pub(super) struct Fake {
    pub(super) addr: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
}

/// Starts a server at 127.0.0.1, the next at 127.0.0.2 and so on, all on one port.
pub(super) fn start(answers: Vec<Answer>) -> Vec<Fake> {
    let listeners = loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = (2..=answers.len()).map(|last| TcpListener::bind((format!("127.0.0.{last}"), port)));
        // Another one of them may have that port.
        if let Ok(all) = std::iter::once(Ok(first)).chain(others).collect::<Result<Vec<_>, _>>() {
            break all;
        }
    };
    listeners.into_iter().zip(answers).map(|(listener, answer)| serve(listener, Arc::new(answer))).collect()
}

fn serve(listener: TcpListener, answer: Arc<Answer>) -> Fake {
    let (addr, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            seen.fetch_add(1, Ordering::SeqCst);
            let answer = Arc::clone(&answer);
            thread::spawn(move || talk(stream, &answer));
        }
    });
    Fake { addr, connections }
}

fn talk(mut stream: TcpStream, answer: &Answer) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    while let Some(command) = read(&mut input) {
        if let Some(reply) = answer(&command)
            && stream.write_all(reply.as_bytes()).is_err()
        {
            return;
        }
    }
}

/// Reads one command; `None` at the end.
fn read(input: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = || {
        let mut text = String::new();
        let read = input.read_line(&mut text).ok()?;
        (read > 0).then(|| text.trim_end().to_owned())
    };
    let count: usize = line()?.strip_prefix('*')?.parse().ok()?;
    let mut word = || line().and_then(|_| line());
    (0..count).map(|_| word()).collect()
}

/// Writes a list of texts.
pub(super) fn list(texts: &[&str]) -> String {
    let items: String = texts.iter().map(|text| bulk(text)).collect();
    format!("*{}\r\n{items}", texts.len())
}

pub(super) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// A server that never answers.
pub(super) fn frozen() -> Answer {
    Box::new(|_| None)
}

/// A Sentinel that names this master and no replicas.
pub(super) fn sentinel(master_port: u16, epoch: u64) -> Answer {
    let (port, epoch) = (master_port.to_string(), epoch.to_string());
    Box::new(move |command| match command.get(1).map(String::as_str) {
        Some("GET-MASTER-ADDR-BY-NAME") => Some(list(&["127.0.0.1", &port])),
        Some("MASTER") => Some(list(&["ip", "127.0.0.1", "port", &port, "config-epoch", &epoch])),
        Some("REPLICAS") => Some("*0\r\n".to_owned()),
        _ => Some("+OK\r\n".to_owned()),
    })
}

/// A node that tells this in `INFO`.
pub(super) fn node(info: impl Fn() -> String + Send + Sync + 'static) -> Answer {
    Box::new(move |command| match command[0].as_str() {
        "HELLO" => {
            let role = if info().contains("role:slave") { "replica" } else { "master" };
            Some(list(&["role", role]))
        }
        "INFO" if command.get(1).is_some_and(|section| section == "replication") => Some(bulk(&info())),
        "INFO" => Some(bulk("")),
        _ => Some("+OK\r\n".to_owned()),
    })
}

pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
