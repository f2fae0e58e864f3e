//! How many connections a node are in use under load, as the replicas themselves say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redis_replicated::testing::Server;

use crate::arm::Arm;
use crate::caller::{Outcome, text};
use crate::field::Field;
use crate::turn::Plan;

/// Servers tell idle times in whole seconds: what was used only at the start is idle by then.
const SETTLED: Duration = Duration::from_millis(1700);
const PLAN: Plan = Plan { warm_up: Duration::from_millis(200), length: Duration::from_millis(2600) };
const PAUSE: Duration = Duration::from_millis(20);

/// Connections of the busier replica.
#[derive(Clone, Copy, Debug)]
pub struct InUse {
    pub median: usize,
    pub most: usize,
}

/// Lets the arm read, and counts its connections meanwhile.
pub fn measure(field: &Field, arm: Arm, callers: usize) -> Outcome<InUse> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let counts = scope.spawn(|| samples(field.nodes.replica_servers(), &is_over));
        let turn = field.turn(arm, &PLAN, callers);
        is_over.store(true, Ordering::Relaxed);
        let mut counts = counts.join().map_err(|_| "the counting thread panicked".to_owned())??;
        turn?;
        counts.sort_unstable();
        let most = *counts.last().ok_or("nothing was counted")?;
        Ok(InUse { median: counts[counts.len() / 2], most })
    })
}

fn samples(replicas: &[Server], is_over: &AtomicBool) -> Outcome<Vec<usize>> {
    let connect = |replica: &Server| replica.connection().map_err(text);
    let mut connections = replicas.iter().map(connect).collect::<Outcome<Vec<_>>>()?;
    let mut counts = Vec::new();
    thread::sleep(SETTLED);
    while !is_over.load(Ordering::Relaxed) {
        let mut most = 0;
        for connection in &mut connections {
            let list: String = redis::cmd("CLIENT").arg("LIST").query(connection).map_err(text)?;
            most = most.max(list.lines().filter(|line| is_in_use(line)).count());
        }
        counts.push(most);
        thread::sleep(PAUSE);
    }
    Ok(counts)
}

/// Returns whether this line of CLIENT LIST is a connection that carried data within the last second.
///
/// Flags other than N mark links between servers, on which a master sends PING, too.
fn is_in_use(line: &str) -> bool {
    let has = |field: &str| line.split(' ').any(|part| part == field);
    has("idle=0") && has("flags=N") && (has("cmd=get") || has("cmd=ping"))
}
