//! The dashboard itself, as its users start it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Ended on drop, with all its servers.
pub struct Dashboard {
    child: Child,
    pub host: String,
}

impl Dashboard {
    pub fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dashboard")).arg("0").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let host = |line: String| Some(line.strip_prefix("Open http://")?.split(' ').next()?.to_owned());
        let host = lines.into_iter().find_map(host).expect("the dashboard tells its address");
        Self { child, host }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.host)
    }

    /// Sends a request with these header lines and returns the status and the body.
    pub fn request(&self, first: &str, headers: &[&str]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let headers = headers.join("\r\n");
        write!(stream, "{first} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Returns the CPU time so far of the threads that serve the page, in seconds.
    pub fn cpu_time_of_web(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let time = |task: fs::DirEntry| {
            let read = |file| fs::read_to_string(task.path().join(file)).ok();
            let nanos = read("schedstat")?.split(' ').next()?.parse::<f64>().ok()?;
            (read("comm")?.trim() == "web").then_some(nanos / 1e9)
        };
        let times: Vec<f64> = tasks.filter_map(Result::ok).filter_map(time).collect();
        assert!(!times.is_empty(), "the threads are found by their name");
        times.into_iter().sum()
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // Not killed: it has to stop its servers.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
