//! Retries: how far an attempt got, what a server refused, and whether the request may be sent again.
//!
//! It decides without I/O. The loop that acts on its verdicts is in [`call`](crate::call).

mod answer;
mod budget;
mod deadline;
mod failures;
mod fault;
mod obstacle;
mod refusal;
mod reply;
mod timing;
mod verdict;

pub(crate) use self::answer::{refused, server_error};
pub(crate) use self::budget::Budget;
pub(crate) use self::deadline::{DEADLINE, Deadline, reply_end};
pub(crate) use self::failures::Failures;
pub(crate) use self::fault::{Cause, Fault, Stage, Waited};
pub(crate) use self::obstacle::Obstacle;
pub(crate) use self::refusal::{Refusal, missing_right};
pub(crate) use self::reply::{Reply, ReplyParts};
pub(crate) use self::timing::Spent;
pub use self::timing::Timing;
pub(crate) use self::verdict::{
    Setting, Verdict, executed_nothing, is_answer, judge, judge_fault, refused_as_not_serving,
};
