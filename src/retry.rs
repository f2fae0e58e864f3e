//! What becomes of an attempt: how far it got, what a server refused, whether the request may be sent again.

mod budget;
mod deadline;
mod fault;
mod obstacle;
mod refusal;
mod verdict;

pub(crate) use self::budget::Budget;
pub(crate) use self::deadline::{DEADLINE, Deadline};
pub(crate) use self::fault::{Fault, Reply, Stage, Waited};
pub(crate) use self::obstacle::Obstacle;
pub(crate) use self::refusal::{Refusal, missing_right};
pub(crate) use self::verdict::{Setting, Verdict, executed_nothing, is_answer, judge, judge_fault, turned_away};
