//! The halves on a real socket.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::{LARGE, MOST_PUSHED, Receiver, Sender, SocketReceiver, SocketSender, separate};
use crate::pool::generation::Generations;
use crate::pool::open_connection::{OpenConnection, Wire};
use crate::pool::transport::Transport;

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

struct Stage {
    sender: SocketSender,
    receiver: SocketReceiver,
    is_full: Arc<AtomicBool>,
    server: TcpStream,
}

fn stage() -> Stage {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let generation = Generations::default().present();
    let wire = Wire::plain(Transport::new(socket, generation.clone()));
    let is_full = Arc::new(AtomicBool::new(false));
    let halves = separate(OpenConnection::new(wire, generation), Arc::clone(&is_full)).unwrap();
    let (sender, receiver) = halves.unwrap();
    Stage { sender, receiver, is_full, server }
}

impl Stage {
    fn receive(&mut self, within: Duration) -> redis::RedisResult<Vec<Value>> {
        self.receiver.receive(Some(Instant::now() + within)).map(|()| self.receiver.received().drain(..).collect())
    }
}

#[test]
fn replies_that_came_together_are_received_together() {
    let mut stage = stage();
    stage.server.write_all(b"+a\r\n$1\r\nb\r\n:3\r\n$10\r\nhalf").unwrap();
    let received = stage.receive(LONG).unwrap();
    assert_eq!(received, [Value::SimpleString("a".into()), Value::BulkString(b"b".to_vec()), Value::Int(3)]);
    assert!(stage.receive(SOON).unwrap_err().is_timeout(), "the half of a reply is none");
    stage.server.write_all(b"-whole\r\n:5\r\n").unwrap();
    assert_eq!(stage.receive(LONG).unwrap(), [Value::BulkString(b"half-whole".to_vec()), Value::Int(5)]);
}

#[test]
fn each_caller_may_stop_in_the_middle_of_a_reply() {
    let mut stage = stage();
    for piece in ["*2\r", "\n$3\r\nab", "c\r\n*1\r\n", ":"] {
        stage.server.write_all(piece.as_bytes()).unwrap();
        assert!(stage.receive(SOON).unwrap_err().is_timeout());
    }
    stage.server.write_all(b"7\r\n").unwrap();
    let inner = Value::Array(vec![Value::Int(7)]);
    assert_eq!(stage.receive(LONG).unwrap(), [Value::Array(vec![Value::BulkString(b"abc".to_vec()), inner])]);
}

#[test]
fn a_large_reply_turns_further_requests_away() {
    let mut stage = stage();
    stage.server.write_all(b"+small\r\n").unwrap();
    stage.receive(LONG).unwrap();
    assert!(!stage.is_full.load(Ordering::Relaxed));
    let mut server = stage.server.try_clone().unwrap();
    let reply = format!("${}\r\n{}\r\n", LARGE + 1, "x".repeat(LARGE + 1));
    let writer = thread::spawn(move || server.write_all(reply.as_bytes()).unwrap());
    assert_eq!(stage.receive(LONG).unwrap().len(), 1);
    assert!(stage.is_full.load(Ordering::Relaxed));
    writer.join().unwrap();
}

#[test]
fn messages_belong_to_nobody_and_may_not_go_on_for_ever() {
    let mut stage = stage();
    stage.server.write_all(b">2\r\n+message\r\n+x\r\n+reply\r\n").unwrap();
    assert_eq!(stage.receive(LONG).unwrap(), [Value::SimpleString("reply".into())]);
    let mut server = stage.server.try_clone().unwrap();
    let message = format!(">2\r\n+message\r\n+{}\r\n", "x".repeat(1000));
    let writer = thread::spawn(move || while server.write_all(message.as_bytes()).is_ok() {});
    let start = Instant::now();
    let error = stage.receive(LONG).unwrap_err();
    assert!(error.to_string().contains("messages without end"), "{error}");
    assert!(start.elapsed() < LONG && MOST_PUSHED > 1000);
    // The writer ends when the connection is closed.
    drop(stage);
    writer.join().unwrap();
}

#[test]
fn what_is_no_reply_is_an_error() {
    for noise in ["HTTP/1.1 400 Bad Request\r\n\r\n", "$x\r\n", "*-5x\r\n", "\0\0\0\0"] {
        let mut stage = stage();
        stage.server.write_all(noise.as_bytes()).unwrap();
        let error = stage.receive(LONG).unwrap_err();
        assert!(!error.is_timeout(), "{noise:?}: {error}");
    }
}

#[test]
fn replies_before_the_end_of_the_stream_count() {
    let mut stage = stage();
    stage.server.write_all(b"+a\r\n+b\r\n+ha").unwrap();
    stage.server.shutdown(Shutdown::Both).unwrap();
    let mut received = Vec::new();
    let error = loop {
        match stage.receive(LONG) {
            Ok(values) => received.extend(values),
            Err(error) => break error,
        }
    };
    assert_eq!(received.len(), 2);
    assert!(error.is_connection_dropped(), "{error}");
}

#[test]
fn a_server_that_does_not_read_stops_the_sender_for_a_while_only() {
    let mut stage = stage();
    let bytes: Vec<u8> = (0..32 << 20).map(|index: u32| index.to_le_bytes()[1]).collect();
    stage.sender.room().extend_from_slice(&bytes);
    let stopped = stage.sender.send(Some(Instant::now() + SOON)).unwrap_err();
    assert!(stopped.is_timeout() && !stage.sender.is_done());
    let mut server = stage.server.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let mut read = vec![0; 32 << 20];
        server.read_exact(&mut read).unwrap();
        read
    });
    while let Err(error) = stage.sender.send(Some(Instant::now() + LONG)) {
        assert!(error.is_timeout(), "{error}");
    }
    assert!(stage.sender.is_done());
    assert!(reader.join().unwrap() == bytes, "nothing is lost, and nothing is sent twice");
}

#[test]
fn a_sender_that_ends_leaves_the_receiver_what_has_come() {
    let mut stage = stage();
    stage.server.write_all(b"+a\r\n").unwrap();
    stage.sender.shut();
    assert_eq!(stage.server.read(&mut [0]).unwrap(), 0, "the server sees the end");
    assert_eq!(stage.receive(LONG).unwrap(), [Value::SimpleString("a".into())]);
    stage.receiver.shut();
    assert!(!stage.receive(LONG).unwrap_err().is_timeout());
}
