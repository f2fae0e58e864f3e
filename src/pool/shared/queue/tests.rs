use std::time::{Duration, Instant};

use redis::{Value, parse_redis_value};

use super::{Answered, Disorder, Ended, Form, Queue, Ticket, Wakes};
use crate::classification::{Classifier, Request};
use crate::replication::INFO;
use crate::retry::Reply;

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";

fn append(queue: &mut Queue, bytes: &[u8], between_infos: bool, due: Option<Instant>) -> Ticket {
    let classifier = Classifier::new();
    let request = match Request::command(bytes, &classifier) {
        Ok(request) => request,
        Err(_) => Request::pipeline(bytes, 0, 2, &classifier).unwrap(),
    };
    queue.append(&request, Form { between_infos, has_transaction: request.has_multi() }, due).unwrap()
}

fn get(queue: &mut Queue) -> Ticket {
    append(queue, GET, false, None)
}

fn send(queue: &mut Queue) -> Vec<u8> {
    let mut batch = Vec::new();
    queue.give_batch(&mut batch);
    batch
}

fn deliver(queue: &mut Queue, replies: &[&str]) -> Result<u32, Disorder> {
    let mut wakes = Wakes::default();
    let values = replies.iter().map(|reply| parse_redis_value(format!("{reply}\r\n").as_bytes()).unwrap());
    queue.deliver(values, &mut wakes).map(|()| wakes.all)
}

fn text(ended: Option<Ended>) -> String {
    match ended {
        Some(Ended::Answered(Answered { reply: Reply::One(Value::SimpleString(text)), .. })) => text,
        other => format!("{other:?}"),
    }
}

#[test]
fn each_caller_gets_the_reply_to_its_own_request() {
    let mut queue = Queue::default();
    let first = [get(&mut queue), get(&mut queue)];
    assert_eq!(send(&mut queue), [GET, GET].concat());
    let third = get(&mut queue);
    assert!(queue.has_unsent() && queue.has_unanswered());
    assert_eq!(deliver(&mut queue, &["+a", "+b"]), Ok(1));
    assert_eq!(deliver(&mut queue, &["+early"]), Err(Disorder::TooMuch), "the third is not sent yet");
    send(&mut queue);
    assert_eq!(deliver(&mut queue, &["+c"]), Ok(2), "another batch, another group");
    let texts = [first[1], third, first[0]].map(|ticket| text(queue.take(ticket)));
    assert_eq!(texts, ["b", "c", "a"]);
    assert!(!queue.is_shared() && !queue.has_unanswered());
}

#[test]
fn the_reply_to_a_caller_that_left_is_dropped_in_its_turn() {
    let mut queue = Queue::default();
    let (gone, stays) = (get(&mut queue), get(&mut queue));
    send(&mut queue);
    assert!(!queue.leave(gone, Instant::now()));
    assert_eq!(deliver(&mut queue, &["+a", "+b"]), Ok(1));
    assert_eq!(text(queue.take(stays)), "b");
    let next = [get(&mut queue), get(&mut queue)];
    assert_eq!(queue.slots.len(), 2, "both slots are used again");
    send(&mut queue);
    assert_eq!(deliver(&mut queue, &["+c", "+d"]), Ok(2));
    assert_eq!(next.map(|ticket| text(queue.take(ticket))), ["c", "d"]);
}

#[test]
fn pipelines_get_all_their_replies() {
    let mut queue = Queue::default();
    let both = append(&mut queue, &[GET, GET].concat(), false, None);
    send(&mut queue);
    assert_eq!(deliver(&mut queue, &["+a"]), Ok(0));
    assert!(!queue.is_over(both));
    assert_eq!(deliver(&mut queue, &["+b"]), Ok(1));
    let Some(Ended::Answered(Answered { reply: Reply::Many { kept, .. }, .. })) = queue.take(both) else {
        panic!("no replies")
    };
    assert_eq!(kept.len(), 2);
}

#[test]
fn reads_of_one_batch_have_two_infos_in_common() {
    let mut queue = Queue::default();
    let plain = get(&mut queue);
    let reads = [0, 1].map(|_| append(&mut queue, GET, true, None));
    assert_eq!(send(&mut queue), [GET, INFO, GET, GET, INFO].concat());
    assert_eq!(deliver(&mut queue, &["+a", "-NOPERM before", "+b", "+c"]), Ok(1));
    assert!(queue.is_over(plain) && !queue.is_over(reads[0]));
    assert_eq!(deliver(&mut queue, &["-NOPERM after"]), Ok(1));
    for ticket in reads {
        let Some(Ended::Answered(Answered { infos: Some(infos), .. })) = queue.take(ticket) else { panic!("no infos") };
        let texts = [&infos.before, &infos.after]
            .map(|info| info.clone().unwrap_err().refusal.unwrap().details().unwrap().to_owned());
        assert_eq!(texts, ["before", "after"]);
    }
    let later = append(&mut queue, GET, true, None);
    assert_eq!(send(&mut queue), [INFO, GET, INFO].concat());
    queue.leave(later, Instant::now());
    assert_eq!(deliver(&mut queue, &["+i", "+d", "+i"]), Ok(0));
    assert!(!queue.is_shared(), "the slot of the caller that left is free");
}

#[test]
fn a_failure_says_what_was_sent() {
    let mut queue = Queue::default();
    let held = append(&mut queue, GET, true, None);
    let sent = get(&mut queue);
    send(&mut queue);
    let (unsent, gone) = (get(&mut queue), get(&mut queue));
    queue.leave(gone, Instant::now());
    assert_eq!(deliver(&mut queue, &["+i", "+a"]), Ok(0));
    let mut wakes = Wakes::default();
    queue.fail(&mut wakes);
    assert_eq!(wakes.all, 0b11);
    let ends = [held, sent, unsent].map(|ticket| queue.take(ticket));
    let was_sent = |end: &Option<Ended>| matches!(end, Some(Ended::Failed { was_sent: true }));
    assert_eq!(ends.each_ref().map(was_sent), [true, true, false], "{ends:?}");
    assert!(!queue.has_unsent() && !queue.has_unanswered() && !queue.is_shared());
}

#[test]
fn an_old_request_makes_the_queue_overdue_also_after_its_caller_left() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let due = Some(now + Duration::from_secs(1));
    let gone = append(&mut queue, GET, false, due);
    assert!(!queue.leave(gone, now));
    assert!(!queue.is_overdue(now) && queue.is_overdue(now + Duration::from_secs(1)));
    send(&mut queue);
    assert_eq!(deliver(&mut queue, &["+a"]), Ok(0));
    assert!(!queue.is_overdue(now + Duration::from_secs(1)));
}

#[test]
fn an_exec_that_was_refused_ends_the_order() {
    let mut queue = Queue::default();
    let multi = [b"*1\r\n$5\r\nMULTI\r\n", GET, b"*1\r\n$4\r\nEXEC\r\n"].concat();
    let classifier = Classifier::new();
    let request = Request::pipeline(&multi, 2, 1, &classifier).unwrap();
    assert!(request.may_share);
    let form = Form { between_infos: false, has_transaction: request.has_multi() };
    let own = queue.append(&request, form, None).unwrap();
    get(&mut queue);
    send(&mut queue);
    assert_eq!(deliver(&mut queue, &["+OK", "+QUEUED", "-NOPERM exec", "+QUEUED"]), Err(Disorder::OpenTransaction));
    assert!(queue.is_over(own), "its caller gets the refusal");
}

#[test]
fn only_sleeping_callers_are_woken_for_a_role() {
    let mut queue = Queue::default();
    let (awake, asleep) = (get(&mut queue), get(&mut queue));
    send(&mut queue);
    let later = get(&mut queue);
    assert_eq!(queue.first_asleep(), None);
    assert_eq!((queue.fall_asleep(later), queue.first_asleep()), (1, Some(1)));
    assert_eq!((queue.fall_asleep(asleep), queue.first_asleep()), (0, Some(0)));
    queue.wake_up(asleep);
    assert_eq!(queue.first_asleep(), Some(1));
    queue.leave(later, Instant::now());
    assert_eq!(queue.first_asleep(), None);
    assert!(!queue.is_over(awake));
}
