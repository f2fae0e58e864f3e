//! Guides: what to know beside the reference, one subject a page.
//!
//! | page | read it |
//! |---|---|
//! | [`start`] | first: install, a first program, how to call commands |
//! | [`commands`] | for the typed helpers, their names in the redis crate, and which node serves them |
//! | [`migrating`] | before you replace `redis::Client`, r2d2 or `SentinelClient` |
//! | [`read_preferences`] | to decide which node serves a read, and how old a value may be |
//! | [`sessions`] | if your program reads what it has just written |
//! | [`failover`] | to know what happens when a node fails, how long it takes, and what an error means |
//! | [`sentinel`] | if Sentinel watches your set |
//! | [`kubernetes`] | for Kubernetes, NAT and managed services |
//! | [`tls`] | to switch TLS on |
//! | [`monitoring`] | for metrics, dashboards, slow calls, spans and logs |
//! | [`runbook`] | when an alert fires: what it means, and what to do |
//! | [`tuning`] | for time limits, pool sizes and strategies |
//! | [`async_programs`] | if your program is async |
//! | [`limits`] | for what is not supported, and the rights that a Redis user needs |

macro_rules! pages {
    ($($page:ident)*) => {$(
        #[doc = include_str!(concat!("guide/", stringify!($page), ".md"))]
        pub mod $page {}
    )*};
}

pages! {
    start commands migrating read_preferences sessions failover sentinel kubernetes tls
    monitoring runbook tuning async_programs limits
}
