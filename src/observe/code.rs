//! The codes of servers' errors that are known: no key and no value can be one by chance.

/// What is not one of few known words.
pub(super) const OTHER: &str = "OTHER";

/// The codes of servers' errors: Redis, its modules, Valkey, Dragonfly and Sentinel. Scripts may return any other.
const CODES: &[&str] = &[
    "ASK",
    "BUSY",
    "BUSYGROUP",
    "BUSYKEY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "DENIED",
    "ERR",
    "EXECABORT",
    "INPROG",
    "INVALIDOBJ",
    "IOERR",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOADDR",
    "NOAUTH",
    "NOGOODSLAVE",
    "NOGROUP",
    "NOMASTERLINK",
    "NOPERM",
    "NOPROTO",
    "NOQUORUM",
    "NOREPLICAS",
    "NOSCRIPT",
    "NOTBUSY",
    "NOTREADY",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "UNKILLABLE",
    "WRONGPASS",
    "WRONGTYPE",
];

/// Returns the code, or `OTHER` if no server is known to use it.
pub(super) fn known_code(code: &str) -> &'static str {
    CODES.iter().find(|known| **known == code).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::{CODES, known_code};

    #[test]
    fn known_codes_are_themselves_and_all_others_are_other() {
        assert!(CODES.is_sorted());
        assert_eq!(["WRONGTYPE", "wrongtype", "user:42"].map(known_code), ["WRONGTYPE", "OTHER", "OTHER"]);
    }
}
