//! Refuses settings that cannot work.

use std::time::Duration;

use super::{Builder, FallbackLimit};
use crate::error::{Error, Result};
use crate::pool::Limits;

const LONGEST_TIME: Duration = Duration::from_secs(366 * 86_400);
/// A server takes 10 000 clients, unless it is told otherwise.
const LARGEST_POOL: u32 = 10_000;

pub(super) fn check(builder: &Builder) -> Result<()> {
    let Limits { size, connecting, connect, checkout, response, idle } = builder.limits;
    if size == 0 {
        return Err(Error::config("pool_size is 0: no call could ever get a connection"));
    }
    if connecting == 0 {
        return Err(Error::config("max_connecting is 0: no connection could ever be made"));
    }
    let times = [
        ("connect_timeout", connect),
        ("checkout_timeout", checkout),
        ("response_timeout", response),
        ("idle_timeout", idle),
    ];
    let lag_limit = builder.lag_limit.unwrap_or(LONGEST_TIME);
    let all =
        [("deadline", builder.deadline), ("monitor_interval", builder.monitor_interval), ("lag_limit", lag_limit)];
    if let Some((name, _)) = times.iter().chain(&all).find(|(_, time)| *time > LONGEST_TIME) {
        return Err(Error::config(format!("{name} is longer than a year")));
    }
    if size > LARGEST_POOL {
        return Err(Error::config(format!("pool_size is {size}: at most {LARGEST_POOL} make sense")));
    }
    if let Some((name, _)) = times.iter().chain([&("lag_limit", lag_limit)]).find(|(_, time)| time.is_zero()) {
        return Err(Error::config(format!("{name} is 0: it has to be longer")));
    }
    if builder.deadline <= Duration::from_millis(1) {
        return Err(Error::config("deadline is 1 ms or less: no call could ever succeed"));
    }
    if !builder.monitor_interval.is_zero() && builder.monitor_interval < Duration::from_millis(10) {
        return Err(Error::config("monitor_interval is less than 10 ms: zero switches the monitor off"));
    }
    if builder.fallback_limit == FallbackLimit::Fixed(0) {
        return Err(Error::config("fallback_limit is 0: ReadFrom::Replica keeps reads from the master"));
    }
    if builder
        .client_name
        .as_deref()
        .is_some_and(|name| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(Error::config("client_name is empty, or has spaces or special characters: Redis refuses that"));
    }
    Ok(())
}
