use std::time::{Duration, Instant};

use super::{
    Claim, Incumbent, Moment, elect, follow_authority, has_to_wait, inherit, is_emptied, is_uncontested, lives,
    sync_state,
};
use crate::addr::NodeAddr;
use crate::node::SyncState::{self, Diverged, InSync, Lagging, LinkDown, Syncing};
use crate::replication::examples::digits;
use crate::replication::{Report, Role};

const ROUND: Duration = Duration::from_secs(1);

/// A little world of nodes that say things.
struct World {
    start: Instant,
    nodes: Vec<Told>,
}

struct Told {
    addr: NodeAddr,
    hint: Option<Role>,
    report: Option<Report>,
    asked: Option<Instant>,
    silent_since: Option<Instant>,
    greeting: Option<Role>,
}

/// Returns the digits of the id with this name of one letter. No name: no id.
fn id(name: &str) -> String {
    name.chars().map(digits).collect()
}

fn master(run_id: &str, name: &str, earlier: &str) -> Option<Report> {
    let (id, earlier) = (id(name), id(earlier));
    let text = format!("run_id:{run_id}\r\nrole:master\r\nmaster_replid:{id}\r\nmaster_replid2:{earlier}\r\n");
    Some(Report::of_info(&text))
}

fn replica(name: &str, link: &str) -> Option<Report> {
    let id = id(name);
    let text = format!("run_id:r{name}\r\nrole:slave\r\nmaster_link_status:{link}\r\nmaster_replid:{id}\r\n");
    Some(Report::of_info(&text))
}

impl World {
    /// The first is named as the master.
    fn new(reports: Vec<Option<Report>>) -> Self {
        let start = Instant::now();
        let told = |(index, report): (usize, Option<Report>)| Told {
            addr: NodeAddr::tcp("n", 1 + index as u16),
            hint: Some(if index == 0 { Role::Master } else { Role::Replica }),
            asked: report.is_some().then_some(start),
            report,
            silent_since: None,
            greeting: None,
        };
        Self { start, nodes: reports.into_iter().enumerate().map(told).collect() }
    }

    fn claims(&self) -> Vec<Claim<'_>> {
        self.nodes
            .iter()
            .map(|node| Claim {
                addr: &node.addr,
                hint: node.hint,
                report: node.report.as_ref(),
                asked: node.asked,
                silent_since: node.silent_since,
                greeting: node.greeting,
            })
            .collect()
    }

    fn incumbent(&self, index: usize) -> Incumbent {
        Incumbent::of(&self.claims()[index])
    }

    fn says(&mut self, index: usize, report: Option<Report>) {
        self.nodes[index].report = report;
        self.nodes[index].silent_since = None;
    }

    fn is_silent(&mut self, index: usize) {
        self.nodes[index].silent_since = Some(self.start);
    }

    /// Who is elected, after so much time in which everybody was asked.
    fn elected(&self, incumbent: Option<&Incumbent>, after: Duration) -> Option<usize> {
        elect(&self.claims(), incumbent, Moment { now: self.start + after, round: ROUND })
    }
}

#[test]
fn at_a_cold_start_followers_decide_and_then_the_name() {
    let both = |one, other| World::new(vec![master("a", "A", ""), master("b", "B", "A"), one, other]);
    assert_eq!(both(replica("A", "up"), replica("A", "up")).elected(None, ROUND), Some(0));
    assert_eq!(both(replica("B", "up"), replica("B", "up")).elected(None, ROUND), Some(1), "the other one is followed");
    assert_eq!(both(replica("A", "up"), replica("B", "up")).elected(None, ROUND), Some(0), "a tie: the named one");
    assert_eq!(both(replica("C", "down"), replica("C", "down")).elected(None, ROUND), Some(0));
    let promoted = World::new(vec![replica("B", "up"), master("b", "B", "A"), replica("B", "up")]);
    assert_eq!(promoted.elected(None, ROUND), Some(1), "the named one says it is a replica");
    let alone = World::new(vec![replica("A", "down"), master("b", "B", "")]);
    assert_eq!(alone.elected(None, ROUND), Some(1), "the only claimant");
    let none = World::new(vec![replica("A", "down"), replica("A", "down")]);
    assert_eq!(none.elected(None, ROUND), None);
}

#[test]
fn at_a_cold_start_nobody_is_chosen_who_may_have_a_better_rival() {
    let alone = World::new(vec![master("a", "A", "")]);
    assert_eq!(alone.elected(None, ROUND), Some(0));
    // One was not heard: it may claim it as well, but nobody can follow it.
    let most = World::new(vec![master("a", "A", ""), replica("A", "up"), None]);
    assert_eq!(most.elected(None, ROUND), Some(0));
    let named = World::new(vec![master("a", "A", ""), None]);
    assert_eq!(named.elected(None, ROUND), Some(0), "in a tie the named one wins anyway");
    let early = World::new(vec![master("a", "A", ""), None, None]);
    assert_eq!(early.elected(None, ROUND), None, "one of them may be a master that the other follows");
    let mut greeted = World::new(vec![None, None, None]);
    greeted.nodes[0].greeting = Some(Role::Master);
    assert_eq!(greeted.elected(None, ROUND), None);
    (greeted.nodes[1].greeting, greeted.nodes[2].greeting) = (Some(Role::Replica), Some(Role::Replica));
    assert_eq!(greeted.elected(None, ROUND), Some(0), "nobody else claims it");
    greeted.nodes[2].greeting = Some(Role::Master);
    assert_eq!(greeted.elected(None, ROUND), None, "who follows whom is not known yet");
    let mut returned = World::new(vec![None, None, None]);
    (returned.nodes[0].greeting, returned.nodes[1].greeting) = (Some(Role::Master), Some(Role::Replica));
    assert_eq!(returned.elected(None, ROUND), None, "the replica may follow the one that was not heard");
    let told = World::new(vec![master("a", "A", ""), replica("B", "up"), None]);
    assert_eq!(told.elected(None, ROUND), None, "it does");
    let mut dead = World::new(vec![master("a", "A", ""), None, None]);
    for index in [1, 2] {
        dead.nodes[index].asked = Some(dead.start);
        dead.is_silent(index);
    }
    assert_eq!(dead.elected(None, ROUND), Some(0));
}

#[test]
fn the_incumbent_stays_while_it_answers_as_the_master_it_was() {
    let mut world = World::new(vec![master("a", "A", ""), replica("A", "up"), replica("A", "up")]);
    let incumbent = world.incumbent(0);
    world.says(1, master("b", "B", "A"));
    world.says(2, replica("B", "up"));
    assert_eq!(
        world.elected(Some(&incumbent), 60 * ROUND),
        Some(0),
        "a claimant, even a followed one, does not matter"
    );
    world.says(0, master("a", "C", ""));
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(0), "in one process, only the history's name changed");
    world.says(0, master("x", "C", "A"));
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(0), "restarted from its data");
}

#[test]
fn a_silent_incumbent_is_replaced_after_a_full_round_by_its_heir() {
    let mut world = World::new(vec![master("a", "A", ""), replica("A", "up"), replica("A", "down")]);
    let incumbent = world.incumbent(0);
    world.says(1, master("b", "B", "A"));
    world.is_silent(0);
    assert_eq!(world.elected(Some(&incumbent), ROUND / 2), Some(0), "not yet");
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(1));
    world.nodes[2].asked = world.start.checked_sub(ROUND);
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(0), "not everybody was asked since");
    assert_eq!(world.elected(Some(&incumbent), 6 * ROUND), Some(1), "but that does not last for ever");
    world.nodes[2].asked = Some(world.start);
    world.says(2, replica("A", "up"));
    assert_eq!(world.elected(Some(&incumbent), 60 * ROUND), Some(0), "a follower testifies that it lives");
    world.says(2, replica("A", "down"));
    world.says(1, master("b", "B", "Z"));
    assert_eq!(world.elected(Some(&incumbent), 60 * ROUND), Some(0), "a stranger is no heir");
    world.says(2, replica("B", "up"));
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(1), "but for those who follow it");
}

#[test]
fn a_demoted_incumbent_is_replaced_at_once() {
    let mut world = World::new(vec![master("a", "A", ""), replica("A", "up"), replica("A", "up")]);
    let incumbent = world.incumbent(0);
    world.says(0, replica("A", "down"));
    assert_eq!(world.elected(Some(&incumbent), Duration::ZERO), Some(0), "nobody else claims it yet");
    world.says(1, master("b", "B", "A"));
    assert_eq!(world.elected(Some(&incumbent), Duration::ZERO), Some(1));
    world.says(0, replica("B", "up"));
    world.says(2, replica("B", "up"));
    assert_eq!(world.elected(Some(&incumbent), Duration::ZERO), Some(1));
}

#[test]
fn an_incumbent_that_lost_its_history_gives_way_to_whoever_has_it() {
    let mut world = World::new(vec![master("a", "A", ""), replica("A", "up"), replica("A", "up")]);
    let incumbent = world.incumbent(0);
    world.says(0, master("x", "X", ""));
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(0), "nobody else is there");
    assert!(!is_uncontested(0, &world.claims()), "but it is not the same master");
    world.says(1, master("b", "B", "A"));
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(1));
    let mut emptied = World::new(vec![master("a", "A", ""), replica("A", "up")]);
    emptied.says(0, master("x", "X", ""));
    emptied.says(1, replica("X", "up"));
    assert!(is_uncontested(0, &emptied.claims()), "all took over its emptiness");
}

#[test]
fn two_claimants_never_change_places_again_and_again() {
    let mut world = World::new(vec![master("a", "A", ""), replica("A", "up"), replica("A", "up")]);
    let mut incumbent = world.incumbent(0);
    world.is_silent(0);
    world.says(1, master("b", "B", "A"));
    world.says(2, replica("A", "down"));
    let mut changes = 0;
    for round in 1..100 {
        let elected = world.elected(Some(&incumbent), round * ROUND).unwrap();
        if world.nodes[elected].addr != incumbent.addr {
            incumbent = world.incumbent(elected);
            changes += 1;
        }
        // The old one comes and goes, with and without its data; the follower changes its mind.
        match round % 4 {
            0 => world.is_silent(0),
            1 => world.says(0, master("a", "A", "")),
            2 => world.says(0, master("x", "X", "")),
            _ => world.says(2, replica(if round % 8 < 4 { "A" } else { "B" }, "up")),
        }
    }
    assert_eq!((changes, incumbent.addr.port()), (1, Some(2)));
}

#[test]
fn an_authority_is_followed_once_the_node_confirms_it() {
    let mut world = World::new(vec![master("a", "A", ""), replica("A", "up")]);
    let incumbent = world.incumbent(0);
    (world.nodes[0].hint, world.nodes[1].hint) = (Some(Role::Replica), Some(Role::Master));
    let followed = |world: &World| follow_authority(&world.claims(), Some(&incumbent));
    assert_eq!(followed(&world), Some(0), "it says that it is a replica");
    world.says(1, master("b", "B", "A"));
    assert_eq!(followed(&world), Some(1), "also while the old one still claims it");
    world.is_silent(1);
    assert_eq!(followed(&world), Some(0));
    world.says(1, Some(Report::default()));
    assert_eq!(followed(&world), Some(1), "it keeps its role to itself");
    world.is_silent(1);
    world.says(0, replica("B", "down"));
    assert_eq!(followed(&world), None, "the old one is a replica now, and serves as one");
    assert_eq!(follow_authority(&world.claims()[..1], None), None);
}

#[test]
fn replicas_stand_as_their_link_and_their_history_say() {
    let mut world = World::new(vec![master("a", "B", "A"), replica("B", "up")]);
    let later = world.start + ROUND;
    world.nodes[0].asked = Some(later);
    let stands = |world: &World, before| {
        sync_state(&world.claims()[1], Some(&world.claims()[0]), lives(&world.claims()[0], &world.claims()), before)
    };
    let id = id("B");
    let syncing = "role:slave\r\nmaster_link_status:down\r\nmaster_sync_in_progress:1\r\nmaster_replid:";
    for (report, expected, without_master) in [
        (replica("B", "up"), SyncState::InSync, SyncState::InSync),
        (replica("A", "up"), SyncState::InSync, SyncState::InSync),
        (replica("A", "down"), SyncState::LinkDown, SyncState::InSync),
        (replica("Z", "up"), SyncState::Diverged, SyncState::InSync),
        (master("b", "B", ""), SyncState::Diverged, SyncState::Diverged),
        (Some(Report::of_info(&format!("{syncing}{id}\r\n"))), SyncState::Syncing, SyncState::InSync),
        (Some(Report::of_info("role:slave\r\nloading:1\r\n")), SyncState::Syncing, SyncState::Syncing),
        (Some(Report::default()), SyncState::InSync, SyncState::InSync),
        (None, SyncState::InSync, SyncState::InSync),
    ] {
        world.says(1, report.clone());
        world.says(0, master("a", "B", "A"));
        assert_eq!(stands(&world, SyncState::InSync), expected, "{report:?}");
        world.is_silent(0);
        assert_eq!(stands(&world, SyncState::InSync), without_master, "{report:?} without a master");
    }
}

#[test]
fn a_history_is_foreign_only_by_the_masters_later_word() {
    let mut world = World::new(vec![master("a", "A", ""), replica("B", "up")]);
    let stands = |world: &World, before| {
        sync_state(&world.claims()[1], Some(&world.claims()[0]), lives(&world.claims()[0], &world.claims()), before)
    };
    assert_eq!(stands(&world, SyncState::InSync), SyncState::InSync, "the master may have been promoted meanwhile");
    assert_eq!(stands(&world, SyncState::Diverged), SyncState::Diverged, "known to be one");
    world.nodes[0].asked = Some(world.start + ROUND);
    assert_eq!(stands(&world, SyncState::InSync), SyncState::Diverged);
    world.says(0, master("a", "B", "A"));
    assert_eq!(stands(&world, SyncState::Diverged), SyncState::InSync);
}

#[test]
fn a_replica_that_still_hears_a_silent_master_proves_that_it_lives() {
    let mut world = World::new(vec![master("a", "A", ""), replica("A", "up"), replica("A", "down")]);
    let cut = |world: &World| {
        let claims = world.claims();
        sync_state(&claims[2], Some(&claims[0]), lives(&claims[0], &claims), SyncState::InSync)
    };
    assert_eq!(cut(&world), SyncState::LinkDown);
    world.is_silent(0);
    assert_eq!(cut(&world), SyncState::LinkDown, "only this client does not hear the master");
    let incumbent = world.incumbent(0);
    let told = |silence: u32| {
        let id = id("A");
        let text = format!(
            "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:{silence}\r\nmaster_replid:{id}\r\n"
        );
        Some(Report::of_info(&text))
    };
    world.says(1, told(12));
    world.says(2, master("b", "B", "A"));
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(2), "a link that is up and silent proves nothing");
    world.says(1, told(3));
    assert_eq!(world.elected(Some(&incumbent), ROUND), Some(0));
}

#[test]
fn a_follower_of_a_demoted_master_diverges_from_where_the_histories_do() {
    let mut world = World::new(vec![None, replica("A", "up")]);
    let (one, two) = (id("A"), id("B"));
    let promoted = format!(
        "role:master\r\nmaster_replid:{two}\r\nmaster_replid2:{one}\r\nsecond_repl_offset:51\r\nmaster_repl_offset:90\r\n"
    );
    world.says(0, Some(Report::of_info(&promoted)));
    world.nodes[0].asked = Some(world.start + ROUND);
    for (offset, expected) in [(50, SyncState::InSync), (51, SyncState::Diverged), (111, SyncState::Diverged)] {
        let text =
            format!("role:slave\r\nmaster_link_status:up\r\nmaster_replid:{one}\r\nslave_repl_offset:{offset}\r\n");
        world.says(1, Some(Report::of_info(&text)));
        let claims = world.claims();
        assert_eq!(sync_state(&claims[1], Some(&claims[0]), true, SyncState::InSync), expected, "{offset}");
    }
}

#[test]
fn an_emptied_incumbent_waits_until_nobody_can_have_its_data() {
    let mut world = World::new(vec![master("a", "A", ""), replica("A", "down")]);
    let incumbent = world.incumbent(0);
    let waits = |world: &World, since| {
        let claims = world.claims();
        is_emptied(&claims, Some(&incumbent)) && has_to_wait(&claims, Some(&incumbent), since)
    };
    let later = world.start + ROUND;
    assert!(!waits(&world, later), "it has its data");
    world.says(0, master("x", "X", ""));
    assert!(waits(&world, later), "the other one was not asked since");
    assert!(!waits(&world, world.start), "it was, and follows");
    world.is_silent(1);
    assert!(!waits(&world, later), "it is out");
    world.says(1, master("b", "B", "A"));
    assert!(waits(&world, world.start), "it claims mastership, and has the data");
}

#[test]
fn a_busy_masters_short_account_does_not_hide_its_history() {
    let world = World::new(vec![master("a", "A", "")]);
    let known = world.incumbent(0);
    let busy = World::new(vec![Some(Report { role: Some(Role::Master), ..Report::default() })]);
    assert_eq!(busy.incumbent(0).or(&known), known);
}

#[test]
fn a_node_is_as_good_as_the_worst_through_which_it_replicates() {
    // 0 is the master; 1 <- 2 <- 3, and 4 beside them.
    let parents = [None, None, Some(1), Some(2), None];
    for state in [Syncing, LinkDown, Lagging, Diverged] {
        let own = [InSync, state, InSync, InSync, InSync];
        assert_eq!(inherit(&own, &own, &parents), [InSync, state, state, state, InSync]);
    }
    let silent = [InSync, LinkDown, InSync, InSync, InSync];
    let inherited = inherit(&[InSync; 5], &silent, &parents);
    assert_eq!(inherited, [InSync, InSync, LinkDown, LinkDown, InSync], "behind a silent one");
    let own = [InSync, LinkDown, Syncing, InSync, Lagging];
    assert_eq!(inherit(&own, &own, &parents), [InSync, LinkDown, Syncing, Syncing, Lagging], "the nearest counts");
    assert_eq!(inherit(&[InSync; 5], &[InSync; 5], &parents), [InSync; 5]);
}

#[test]
fn circles_end() {
    assert_eq!(inherit(&[InSync; 3], &[InSync; 3], &[Some(1), Some(2), Some(0)]), [InSync; 3]);
    assert_eq!(inherit(&[InSync; 1], &[InSync; 1], &[Some(0)]), [InSync]);
    let own = [InSync, InSync, Lagging];
    assert_eq!(inherit(&own, &own, &[Some(1), Some(0), Some(0)]), own);
    assert_eq!(inherit(&[], &[], &[]), []);
}
