//! The id of a replication history, and a position in it.

use std::fmt;

/// The replication id, which names a history: 40 hexadecimal digits, as servers write it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ReplicationId([u8; 20]);

/// Everything that was written in a history up to an offset.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Position {
    pub(crate) history: ReplicationId,
    pub(crate) offset: u64,
}

impl ReplicationId {
    /// Reads 40 hexadecimal digits. Nothing else is an id, and neither are all zeros.
    pub(crate) fn parse(digits: impl AsRef<[u8]>) -> Option<Self> {
        let mut id = [0; 20];
        let (pairs, rest) = digits.as_ref().as_chunks::<2>();
        if pairs.len() != id.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4) | digit(*low)?;
        }
        Self::of(id)
    }

    /// Makes an id of these bytes. `None`: all of them are zero.
    pub(crate) fn of(bytes: [u8; 20]) -> Option<Self> {
        (bytes != [0; 20]).then_some(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::ReplicationId;

    #[test]
    fn an_id_has_forty_digits() {
        let text = "8f3c0a5d1b2e4f60718293a4b5c6d7e8f9010203";
        assert_eq!(ReplicationId::parse(text).unwrap().to_string(), text);
        assert_eq!(ReplicationId::parse(text.to_uppercase()), ReplicationId::parse(text));
        for bad in ["", "8f", &text[1..], &format!("{text}0"), &text.replace('f', "g"), &"0".repeat(40)] {
            assert_eq!(ReplicationId::parse(bad), None, "{bad}");
        }
    }
}
