//! What a session has seen, in a form that travels.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::loss::Loss;
use crate::hash::Fnv;
use crate::replication::{Position, ReplicationId};

/// What a session has written and read: from [`ReplicatedClient::token`](crate::ReplicatedClient::token), for
/// [`ReplicatedClient::resume`](crate::ReplicatedClient::resume), in this process or in another one.
///
/// Opaque. As text ([`Display`](fmt::Display), [`FromStr`], serde) it has at most 48 characters, all of them letters,
/// digits, `-` and `_`, so that a cookie or a header takes it as it is. It names a place in the history of the servers and
/// contains no data. It is not signed: who can forge one can make reads go to the master, or fail.
///
/// ```
/// use redis_replicated::Token;
///
/// let token = Token::default();
/// assert_eq!(token.to_string().parse(), Ok(token));
/// assert_eq!(token.merge(token), token);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Token {
    pub(super) seen: Seen,
    /// Where the session's own last write stands in what was seen: its offset, or the value of the fence without those writes
    /// that only raised it. `None`: it has none, or is the last thing that the fence counts.
    pub(super) written: Option<u64>,
    /// A write may or may not have been applied: only the master can tell.
    pub(super) in_doubt: bool,
    /// What the next read is to be told: a write found out, and no read has come since.
    pub(super) loss: Option<Loss>,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Seen {
    #[default]
    Nothing,
    At(Position),
    /// So many writes behind a fence.
    Fence(Fence),
    /// Things of which no single place is known that contains them all.
    Unknown,
}

/// A counter among the data, and a number on it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Fence {
    pub(crate) name: u64,
    pub(crate) count: u64,
}

/// A text that is no token, only a part of one, or one of another version of this crate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a token of a session, a damaged one, or one of another format")]
pub struct ParseTokenError(());

impl Token {
    /// Returns the token of a session that has seen what both have seen.
    ///
    /// Idempotent, commutative and associative. Two tokens that a failover separates name places in different histories:
    /// what is made of them knows no place that contains both, so that its first read goes to the master.
    #[must_use]
    pub fn merge(self, other: impl Borrow<Self>) -> Self {
        let other = other.borrow();
        let (seen, in_doubt) = (self.seen.merge(other.seen), self.in_doubt || other.in_doubt);
        let written = match seen {
            Seen::At(_) => self.written.max(other.written),
            Seen::Fence(fence) => self.fenced().max(other.fenced()).filter(|written| *written != fence.count),
            Seen::Nothing | Seen::Unknown => None,
        };
        Self { seen, written, in_doubt, loss: self.loss.max(other.loss) }
    }

    /// Returns the value of the fence without writes that only raised it.
    fn fenced(&self) -> Option<u64> {
        self.seen.fence().map(|fence| self.written.unwrap_or(fence.count))
    }

    /// Format, kind, content, and two bytes that tell a damaged token from a whole one: at most 36 bytes.
    fn to_bytes(self) -> Vec<u8> {
        let kind = match self.seen {
            Seen::Nothing => 0,
            Seen::At(_) => 1,
            Seen::Fence(_) => 2,
            Seen::Unknown => 3,
        };
        let loss = match self.loss {
            None => 0,
            Some(Loss::Unproven) => UNPROVEN,
            Some(Loss::History) => LOST | UNPROVEN,
            Some(Loss::Lost) => LOST,
        };
        let mut bytes = vec![FORMAT, kind | loss | if self.in_doubt { DOUBT } else { 0 }];
        match self.seen {
            Seen::Nothing | Seen::Unknown => {}
            Seen::At(Position { history, offset }) => {
                bytes.extend_from_slice(history.bytes());
                bytes.extend_from_slice(&offset.to_be_bytes());
                bytes.extend_from_slice(&self.written_before(offset).to_be_bytes());
            }
            Seen::Fence(Fence { name, count }) => {
                bytes.extend_from_slice(&name.to_be_bytes());
                bytes.extend_from_slice(&count.to_be_bytes());
                bytes.extend_from_slice(&self.written.unwrap_or(count).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&check(&bytes));
        bytes
    }

    /// Says how far before the last offset the session's own last write is. Farther than there is room for, it is as if it
    /// had written there: rather a read taken for a write than the other way round.
    fn written_before(&self, offset: u64) -> u32 {
        let distance = |written| u32::try_from(offset.saturating_sub(written)).unwrap_or(NOT_WRITTEN).min(FARTHEST);
        self.written.map_or(NOT_WRITTEN, distance)
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<2>()?;
        if *sum != check(body) {
            return None;
        }
        let [FORMAT, kind, content @ ..] = body else { return None };
        let mut written = None;
        let seen = match (kind & !(DOUBT | LOST | UNPROVEN), content.len()) {
            (0, 0) => Seen::Nothing,
            (1, 32) => {
                let (history, rest) = content.split_first_chunk::<20>()?;
                let (offset, before) = rest.split_first_chunk::<8>()?;
                let (offset, before) = (u64::from_be_bytes(*offset), u32::from_be_bytes(before.try_into().ok()?));
                written = if before == NOT_WRITTEN { None } else { Some(offset.checked_sub(before.into())?) };
                Seen::At(Position { history: ReplicationId::of(*history)?, offset })
            }
            (2, 24) => {
                let (name, rest) = content.split_first_chunk::<8>()?;
                let (count, fenced) = rest.split_first_chunk::<8>()?;
                let (name, count) = (u64::from_be_bytes(*name), u64::from_be_bytes(*count));
                let fenced = u64::from_be_bytes(fenced.try_into().ok()?);
                written = Some(fenced).filter(|fenced| *fenced != count);
                Seen::Fence(Fence { name, count })
            }
            (3, 0) => Seen::Unknown,
            _ => return None,
        };
        let loss = match kind & (LOST | UNPROVEN) {
            0 => None,
            UNPROVEN => Some(Loss::Unproven),
            LOST => Some(Loss::Lost),
            _ => Some(Loss::History),
        };
        Some(Self { seen, written, in_doubt: kind & DOUBT != 0, loss })
    }
}

/// The first byte of a token. Another one: another version of this crate made it.
const FORMAT: u8 = 2;
const NOT_WRITTEN: u32 = u32::MAX;
const FARTHEST: u32 = NOT_WRITTEN - 1;
const DOUBT: u8 = 0x80;
const LOST: u8 = 0x40;
const UNPROVEN: u8 = 0x20;

fn check(bytes: &[u8]) -> [u8; 2] {
    let hash = Fnv::of(bytes);
    // The lower bytes of the hash depend on all of the text, the upper ones on its beginning only.
    ((hash ^ (hash >> 32)) as u16).to_be_bytes()
}

impl Seen {
    pub(crate) fn position(self) -> Option<Position> {
        match self {
            Self::At(position) => Some(position),
            Self::Nothing | Self::Fence(_) | Self::Unknown => None,
        }
    }

    pub(crate) fn fence(self) -> Option<Fence> {
        if let Self::Fence(fence) = self { Some(fence) } else { None }
    }

    pub(super) fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, seen) | (seen, Self::Nothing) => seen,
            (Self::At(one), Self::At(two)) if one.history == two.history => {
                Self::At(Position { offset: one.offset.max(two.offset), ..one })
            }
            (Self::Fence(one), Self::Fence(two)) if one.name == two.name => {
                Self::Fence(Fence { count: one.count.max(two.count), ..one })
            }
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Longer ones are not even decoded: the text may come from anywhere.
        let bytes = if text.len() <= LONGEST { BASE64_URL_SAFE_NO_PAD.decode(text).ok() } else { None };
        bytes.and_then(|bytes| Self::of_bytes(&bytes)).ok_or(ParseTokenError(()))
    }
}

const LONGEST: usize = 48;

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{FARTHEST, FORMAT, Fence, LONGEST, Seen, Token, check};
    use crate::replication::{Position, ReplicationId};
    use crate::session::loss::Loss;
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    fn tokens() -> impl Strategy<Value = Token> {
        let history = |name| ReplicationId::of([name; 20]).unwrap();
        // Few histories, so that many tokens share one.
        let at = (1..4_u8, any::<u64>())
            .prop_map(move |(name, offset)| Seen::At(Position { history: history(name), offset }));
        let fence = (0..3_u64, any::<u64>()).prop_map(|(name, count)| Seen::Fence(Fence { name, count }));
        let seen = prop_oneof![Just(Seen::Nothing), Just(Seen::Unknown), at, fence];
        let loss =
            prop_oneof![Just(None), Just(Some(Loss::Unproven)), Just(Some(Loss::History)), Just(Some(Loss::Lost))];
        let written = prop_oneof![Just(None), any::<u32>().prop_map(|before| Some(before.min(FARTHEST)))];
        (seen, any::<bool>(), loss, written).prop_map(|(seen, in_doubt, loss, before)| {
            let end = seen.position().map(|seen| seen.offset).or(seen.fence().map(|seen| seen.count));
            let written = end.zip(before).map(|(end, before)| end - end.min(before.into()));
            let written = written.filter(|written| seen.fence().is_none_or(|seen| seen.count != *written));
            Token { seen, written, in_doubt, loss }
        })
    }

    fn text_of(format: u8, token: Token) -> String {
        let mut bytes = token.to_bytes();
        bytes[0] = format;
        let body = bytes.len() - 2;
        let sum = check(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn tokens_of_another_format_are_refused() {
        let token = Token { in_doubt: true, ..Token::default() };
        assert_eq!(text_of(FORMAT, token).parse(), Ok(token));
        for format in (0..=u8::MAX).filter(|format| *format != FORMAT) {
            assert!(text_of(format, token).parse::<Token>().is_err(), "{format}");
        }
        // As the version before wrote them.
        for text in ["AKK0", "Aa+", &"A".repeat(42), "BAcHBwcHBwcHBwcHBwcHBwcHBwcHAAAAAAAAAAoRIg"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_write_of_long_ago_is_told_as_a_later_one() {
        let position = Position { history: ReplicationId::of([1; 20]).unwrap(), offset: u64::MAX };
        let token = Token { seen: Seen::At(position), written: Some(5), ..Token::default() };
        let there: Token = token.to_string().parse().unwrap();
        assert_eq!((there.seen, there.written), (token.seen, Some(u64::MAX - u64::from(FARTHEST))));
        assert!(token.to_string().len() == LONGEST);
    }

    proptest! {
        #[test]
        fn merging_is_idempotent_commutative_and_associative(a in tokens(), b in tokens(), c in tokens()) {
            assert_eq!(a.merge(a), a);
            assert_eq!(a.merge(b), b.merge(a));
            assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
            assert_eq!(a.merge(Token::default()), a);
        }

        #[test]
        fn a_token_survives_its_way_as_text(token in tokens()) {
            let text = token.to_string();
            assert!(text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            assert_eq!(text.parse(), Ok(token));
            assert_eq!(serde_json::from_str::<Token>(&serde_json::to_string(&token).unwrap()).unwrap(), token);
        }

        #[test]
        fn damaged_texts_are_told_apart(token in tokens(), place in any::<usize>(), byte in any::<char>(), noise in ".*") {
            let text = token.to_string();
            let mut damaged: Vec<char> = text.chars().collect();
            let place = place % damaged.len();
            damaged[place] = byte;
            let damaged: String = damaged.into_iter().collect();
            assert!(damaged == text || damaged.parse::<Token>() != Ok(token));
            assert!(text[..text.len() - 1].parse::<Token>().is_err());
            let _ = noise.parse::<Token>();
        }
    }
}
