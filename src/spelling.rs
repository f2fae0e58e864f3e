//! Names in configurations, in the spelling that their writer prefers.

/// Returns whether two names are the same but for case, `_` and `-`.
pub(crate) fn alike(a: &str, b: &str) -> bool {
    let letters = |name: &str| -> Vec<u8> {
        name.bytes().filter(|byte| !matches!(byte, b'_' | b'-')).map(|byte| byte.to_ascii_lowercase()).collect()
    };
    letters(a) == letters(b)
}

#[cfg(test)]
mod tests {
    use super::alike;

    #[test]
    fn case_and_hyphens_do_not_matter() {
        assert!(alike("round_robin", "RoundRobin") && alike("round-robin", "roundrobin"));
        assert!(!alike("random", "round_robin"));
    }
}
