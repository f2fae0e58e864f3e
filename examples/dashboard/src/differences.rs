//! Events and traffic from what changed between two snapshots.

use redis_replicated::{NodeSnapshot, Role, Snapshot};

use crate::board::Board;
use crate::journal::Kind;

#[derive(Default)]
pub struct Differences {
    before: Option<Snapshot>,
    writes: u64,
}

impl Differences {
    pub fn record(&mut self, board: &Board, now: &Snapshot) {
        let writes = board.load.writes.done();
        let written = writes - self.writes;
        self.writes = writes;
        if let Some(before) = self.before.replace(now.clone()) {
            for node in &now.nodes {
                let Some(index) = board.stage.index_of(&node.addr) else { continue };
                let old = before.nodes.iter().find(|old| old.addr == node.addr);
                let answered = node.answered.saturating_sub(old.map_or(0, |old| old.answered));
                let is_master = node.assigned_role == Role::Master;
                let took = node.latency.unwrap_or_default();
                for number in 0..answered {
                    board.traffic[index].count(!is_master || number >= written, took);
                }
                if let Some(old) = old {
                    compare(board, index, old, node);
                }
            }
        }
    }
}

fn compare(board: &Board, index: usize, old: &NodeSnapshot, new: &NodeSnapshot) {
    let (journal, name) = (&board.journal, board.stage.nodes()[index].name);
    match (old.ejected, new.ejected) {
        (false, true) => {
            let reason = new.reason.as_deref().unwrap_or("its calls failed");
            journal.write(Kind::Trouble, Some(index), format!("node {name} is ejected: {reason}"));
        }
        (true, false) => journal.write(Kind::Recovery, Some(index), format!("node {name} is back, with a slow start")),
        _ => {}
    }
    if old.sync_state != new.sync_state {
        journal.write(Kind::Change, Some(index), format!("the data of node {name} is now: {}", new.sync_state));
    }
    if new.assigned_role == Role::Master && old.assigned_role != Role::Master {
        let text = format!("failover: writes go to node {name} now");
        journal.write_with_mark(Kind::Failover, Some(index), text, Some("master"));
    }
}
