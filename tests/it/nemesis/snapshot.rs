//! Snapshots from which servers start again.
//!
//! A server loads what lies under the name of its file. Here that is there only while it starts: everybody else starts empty.

use std::fs;
use std::path::{Path, PathBuf};

use redis_replicated::redis;
use redis_replicated::testing::Server;

use super::history::{KEYS, REIGN};

/// What a server saved, put aside.
#[derive(Debug)]
pub struct Snapshot(Vec<u8>);

impl Snapshot {
    /// Puts aside what a server has saved at this place.
    pub fn put_aside(place: &Path) -> Self {
        let bytes = fs::read(place).unwrap();
        fs::remove_file(place).unwrap();
        Self(bytes)
    }

    /// A snapshot with nothing but the number of a reign.
    pub fn of_reign(reign: u64) -> Self {
        let string = |bytes: &mut Vec<u8>, text: &str| {
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend_from_slice(text.as_bytes());
        };
        // The first database, one string, and no checksum.
        let mut bytes = b"REDIS0009\xfe\x00\x00".to_vec();
        string(&mut bytes, KEYS[REIGN]);
        string(&mut bytes, &reign.to_string());
        bytes.push(0xff);
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes)
    }

    /// Lets `start` start the server that keeps its snapshots at this place, from this one.
    pub fn load(self, place: &Path, start: impl FnOnce()) {
        fs::write(place, &self.0).unwrap();
        start();
        // A replica that has begun to follow somebody may have deleted it.
        let _ = fs::remove_file(place);
    }
}

/// Returns where a server keeps its snapshots.
pub fn place(server: &Server) -> PathBuf {
    let mut connection = server.connection().unwrap();
    let mut setting = |name: &str| {
        let (_, value): (String, String) = redis::cmd("CONFIG").arg("GET").arg(name).query(&mut connection).unwrap();
        value
    };
    Path::new(&setting("dir")).join(setting("dbfilename"))
}
