//! Two web handlers, in two processes, pass a session in a cookie, so that the second reads what the first wrote, though the
//! replica lags behind.
//!
//! `cargo run --release --example sessions` starts a real master with a replica and tells what it sees.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Duration;

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{ErrorKind, ReplicatedClient, Result, Token, redis};

/// `POST /name`: writes, and answers with the cookie of a session that has seen the write.
fn post_name(client: &ReplicatedClient, name: &str) -> Result<String> {
    let session = client.session();
    session.set("name", name)?;
    Ok(session.token().unwrap_or_default().to_string())
}

/// `GET /name`: goes on where the cookie says, and answers with the next cookie.
fn get_name(client: &ReplicatedClient, cookie: Option<&str>) -> Result<(String, String)> {
    // A damaged cookie is no reason to fail: the visitor begins anew.
    let token: Token = cookie.and_then(|text| text.parse().ok()).unwrap_or_default();
    let session = client.resume(&token);
    let name = match session.get("name") {
        // The servers lost what this visitor had seen. Told once; here it is enough to read what there is.
        Err(error) if matches!(error.kind(), ErrorKind::WriteLost | ErrorKind::HistoryLost | ErrorKind::Unproven) => {
            println!("  a visitor is told: {error}");
            session.get("name")?
        }
        name => name?,
    };
    Ok((name, session.token().unwrap_or_default().to_string()))
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let servers = ReplicaSet::start(1)?;
    let patient = || servers.client_builder().deadline(Duration::from_secs(10)).build();
    let (here, elsewhere) = (patient()?, patient()?);
    here.set("name", "nobody")?;
    servers.wait_until_in_sync()?;

    println!("The replica stops applying what the master writes (CLIENT PAUSE … WRITE).");
    servers.replica(0).pause_writes(Duration::from_secs(60))?;
    let cookie = post_name(&here, "Ada")?;
    println!("POST /name Ada             -> cookie {cookie} ({} characters)", cookie.len());
    let (stale, _) = get_name(&elsewhere, None)?;
    println!("GET /name without cookie   -> {stale}, from {}", who_served(&servers)?);
    let (fresh, next) = get_name(&elsewhere, Some(&cookie))?;
    println!("GET /name with cookie      -> {fresh}, from {}", who_served(&servers)?);
    let (name, _) = get_name(&elsewhere, Some("damaged"))?;
    println!("GET /name, damaged cookie  -> {name}, from {}", who_served(&servers)?);

    println!("The replica goes on.");
    servers.replica(0).unpause()?;
    servers.wait_until_in_sync()?;
    let (fresh, _) = get_name(&elsewhere, Some(&next))?;
    println!("GET /name with cookie      -> {fresh}, from {}", who_served(&servers)?);

    println!("The replica stops again, Grace is written, the master hangs, and the replica takes its place.");
    servers.replica(0).pause_writes(Duration::from_secs(60))?;
    let cookie = post_name(&here, "Grace")?;
    servers.master().pause()?;
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut servers.replica(0).connection()?)?;
    servers.replica(0).unpause()?;
    let (name, _) = get_name(&elsewhere, Some(&cookie))?;
    println!("GET /name with cookie      -> {name}");
    servers.master().resume()?;
    Ok(())
}

/// Tells who has served reads since the last time.
fn who_served(servers: &ReplicaSet) -> std::io::Result<&'static str> {
    let reads = |server: &Server| server.calls("GET");
    let (master, replica) = (reads(servers.master())?, reads(servers.replica(0))?);
    for server in servers.servers() {
        server.reset_counts()?;
    }
    Ok(match (master, replica) {
        (0, _) => "the replica",
        (_, 0) => "the master",
        _ => "the master, for the replica lags behind",
    })
}
