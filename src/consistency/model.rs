//! The rule against a model of servers that write, replicate, fall behind, are promoted, and part.

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;

use super::{Evidence, HistoryId, Lineage, Position, Proof, Relation, Standpoint};

const SERVERS: usize = 4;

/// A server whose every write takes one byte of the stream.
#[derive(Clone, Debug)]
struct Server {
    history: HistoryId,
    earlier: Option<(HistoryId, u64)>,
    data: Vec<u32>,
    /// Whom it follows; `None`: it is a master.
    follows: Option<usize>,
    is_linked: bool,
}

/// What a caller was told by a write, and all that the master contained then.
#[derive(Clone, Debug)]
struct Seen {
    position: Position,
    data: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A client writes on this server, if it takes itself for a master.
    Write(usize),
    /// A replica receives so many bytes.
    Receive(usize, usize),
    Cut(usize),
    /// `REPLICAOF NO ONE`.
    Promote(usize),
    /// `REPLICAOF` another one.
    Follow(usize, usize),
    /// The first replica of a master comes, or its backlog expires.
    Rename(usize),
}

struct World {
    servers: Vec<Server>,
    seen: Vec<Seen>,
    lineage: Lineage,
    names: u32,
    writes: u32,
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { servers: Vec::new(), seen: Vec::new(), lineage: Lineage::default(), names: 0, writes: 0 };
        let history = world.name();
        let server = |index| Server {
            history,
            earlier: None,
            data: Vec::new(),
            follows: (index > 0).then_some(0),
            is_linked: true,
        };
        world.servers = (0..SERVERS).map(server).collect();
        world
    }

    fn name(&mut self) -> HistoryId {
        self.names += 1;
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&self.names.to_be_bytes());
        HistoryId::of(bytes).unwrap()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Write(index) if self.servers[index].follows.is_none() => {
                self.writes += 1;
                self.servers[index].data.push(self.writes);
                let Server { history, data, .. } = &self.servers[index];
                let position = Position { history: *history, offset: data.len() as u64 };
                self.seen.push(Seen { position, data: data.clone() });
            }
            Event::Receive(index, bytes) => self.receive(index, bytes),
            Event::Cut(index) => self.servers[index].is_linked = false,
            Event::Promote(index) if self.servers[index].follows.is_some() => {
                let history = self.name();
                let server = &mut self.servers[index];
                server.earlier = Some((server.history, server.data.len() as u64 + 1));
                (server.history, server.follows) = (history, None);
            }
            Event::Follow(index, master) if index != master && self.servers[master].follows.is_none() => {
                self.servers[index].follows = Some(master);
                self.synchronise(index, master);
            }
            Event::Rename(index) if self.servers[index].follows.is_none() => {
                let before = self.servers[index].history;
                let history = self.name();
                // Only where nobody follows: they would know the name.
                if self.servers.iter().all(|server| server.follows != Some(index)) {
                    (self.servers[index].history, self.servers[index].earlier) = (history, None);
                    self.lineage.note_new_name(before, history);
                }
            }
            Event::Write(_) | Event::Promote(_) | Event::Follow(..) | Event::Rename(_) => {}
        }
        for index in 0..SERVERS {
            let evidence = self.evidence(index);
            if evidence.is_master() {
                self.lineage.note(&evidence);
            }
        }
    }

    /// A replica goes on where it was, if the master can tell that the two have the same so far; else it takes all anew.
    fn synchronise(&mut self, index: usize, master: usize) {
        let master = self.servers[master].clone();
        let server = &mut self.servers[index];
        let offset = server.data.len() as u64;
        let shares = server.history == master.history && server.data.len() <= master.data.len()
            || master.earlier.is_some_and(|(earlier, parted)| earlier == server.history && offset < parted);
        if !shares {
            *server = Server { follows: server.follows, earlier: None, ..master };
        } else if server.history != master.history {
            server.earlier = Some((server.history, offset + 1));
            server.history = master.history;
        }
        server.is_linked = true;
    }

    fn receive(&mut self, index: usize, bytes: usize) {
        let Some(master) = self.servers[index].follows else { return };
        if !self.servers[index].is_linked || self.servers[index].history != self.servers[master].history {
            if self.servers[master].follows.is_none() {
                self.synchronise(index, master);
            }
            return;
        }
        let held = self.servers[index].data.len();
        let rest: Vec<u32> = self.servers[master].data.iter().skip(held).take(bytes).copied().collect();
        self.servers[index].data.extend(rest);
    }

    fn evidence(&self, index: usize) -> Evidence {
        let server = &self.servers[index];
        let standpoint = match server.follows {
            None => Standpoint::Master,
            Some(master) if server.is_linked && server.history == self.servers[master].history => Standpoint::Replica,
            Some(_) => Standpoint::Adrift,
        };
        let position = Position { history: server.history, offset: server.data.len() as u64 };
        Evidence { standpoint, position, earlier: server.earlier }
    }

    /// Compares what is proven with what is the case.
    fn check(&self) -> Result<(), TestCaseError> {
        for (index, server) in self.servers.iter().enumerate() {
            let evidence = self.evidence(index);
            for seen in &self.seen {
                let contains = server.data.starts_with(&seen.data);
                match evidence.prove(seen.position) {
                    Proof::Contained => prop_assert!(contains, "{evidence:?} {seen:?}"),
                    Proof::Lost => prop_assert!(!contains && evidence.is_master(), "{evidence:?} {seen:?}"),
                    Proof::Open => {}
                }
                let has_come_so_far = evidence.position.offset >= seen.position.offset;
                match self.lineage.relate(seen.position, server.history) {
                    Relation::Contained if has_come_so_far => prop_assert!(contains, "{evidence:?} {seen:?}"),
                    Relation::Lost => prop_assert!(!contains, "{evidence:?} {seen:?}"),
                    Relation::Contained | Relation::Unknown => {}
                }
                if evidence.is_master() && server.history == seen.position.history {
                    prop_assert_eq!(evidence.prove(seen.position) == Proof::Contained, contains);
                }
            }
        }
        Ok(())
    }
}

fn events() -> impl Strategy<Value = Event> {
    let server = || 0..SERVERS;
    prop_oneof![
        6 => server().prop_map(Event::Write),
        6 => (server(), 1..4_usize).prop_map(|(index, bytes)| Event::Receive(index, bytes)),
        1 => server().prop_map(Event::Cut),
        2 => server().prop_map(Event::Promote),
        3 => (server(), server()).prop_map(|(index, master)| Event::Follow(index, master)),
        1 => server().prop_map(Event::Rename),
    ]
}

proptest! {
    #[test]
    fn what_is_proven_is_the_case(events in proptest::collection::vec(events(), 1..80)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
            world.check()?;
        }
    }
}
