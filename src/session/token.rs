//! Tokens: what a session has seen, in a form that other processes can use.
//!
//! How a session makes one and resumes from one is in [`state`](super::state).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hash::Fnv;
use crate::replication::{Position, ReplicationId};

/// What a session has written and read: from [`ReplicatedClient::token`](crate::ReplicatedClient::token), for
/// [`ReplicatedClient::resume`](crate::ReplicatedClient::resume), in this process or in another one.
///
/// As text ([`Display`](fmt::Display), [`FromStr`], serde) it has at most 48 characters: letters, digits, `-` and `_`, which fit
/// into a cookie or a header unchanged. It names a position in the servers' replication history and contains no data. It is not
/// signed: a forged token can make reads go to the master, or fail.
///
/// ```
/// use redis_replicated::Token;
///
/// let token = Token::default();
/// assert_eq!(token.to_string().parse(), Ok(token));
/// assert_eq!(token.merge(token), token);
/// ```
///
/// From one request of a web application to the next:
///
/// ```no_run
/// use redis_replicated::Token;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let session = client.session();
/// session.set("name", "Ada")?;
/// let cookie = session.token().unwrap_or_default().to_string();
///
/// let token: Token = cookie.parse().unwrap_or_default();
/// assert_eq!(client.resume(&token).get::<String>("name")?, "Ada");
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Token {
    pub(super) watermark: Watermark,
    /// The session's last own write: its offset, or the value of the fence without renewals. `None`: it has written nothing, or
    /// the value contains no renewals.
    pub(super) written: Option<u64>,
    /// A write may or may not have been applied: only the master can prove it.
    pub(super) in_doubt: bool,
    /// The loss that the next read reports.
    pub(super) loss: Option<Loss>,
}

/// What the master has lost of what a session has seen.
///
/// Ordered by weight: a proven loss outweighs an unproven one, and a lost write outweighs a lost read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Loss {
    /// It is not known whether the master's history contains what the session has seen.
    Unproven,
    /// Proven: the master's history lacks something that the session has read. It contains all that the session wrote.
    History,
    /// Proven: the master's history lacks something that the session wrote.
    Lost,
}

/// How far a session has seen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Watermark {
    /// It has seen nothing yet.
    #[default]
    Nothing,
    /// All up to a position in the replication history.
    At(Position),
    /// All up to a value of its counter.
    Fence(Fence),
    /// More than one history, and no position is known that contains them all.
    Unknown,
}

/// A value of a counter among the data. The counter's name is part of its key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Fence {
    pub(crate) name: u64,
    pub(crate) count: u64,
}

/// The error for a text that is no token: damaged, cut off, or of another version of this crate.
///
/// ```
/// use redis_replicated::{ParseTokenError, Token};
///
/// let parsed: Result<Token, ParseTokenError> = "no token".parse();
/// assert!(parsed.is_err());
/// ```
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a token of a session, a damaged one, or one of another format")]
pub struct ParseTokenError(());

impl Token {
    /// Returns the token of a session that has seen what both have seen.
    ///
    /// The operation is idempotent, commutative and associative. Tokens from before and after a failover belong to different
    /// histories: the first read of a session with the merged token goes to the master.
    #[must_use]
    pub fn merge(self, other: impl Borrow<Self>) -> Self {
        let other = other.borrow();
        let (watermark, in_doubt) = (self.watermark.merge(other.watermark), self.in_doubt || other.in_doubt);
        let written = match watermark {
            Watermark::At(_) => self.written.max(other.written),
            Watermark::Fence(fence) => self.fenced().max(other.fenced()).filter(|written| *written != fence.count),
            Watermark::Nothing | Watermark::Unknown => None,
        };
        Self { watermark, written, in_doubt, loss: self.loss.max(other.loss) }
    }

    /// Returns the value of the fence without writes that only raised it.
    fn fenced(&self) -> Option<u64> {
        self.watermark.fence().map(|fence| self.written.unwrap_or(fence.count))
    }

    /// Returns format, kind, content, and two bytes of checksum: at most 36 bytes.
    fn to_bytes(self) -> Vec<u8> {
        let kind = match self.watermark {
            Watermark::Nothing => 0,
            Watermark::At(_) => 1,
            Watermark::Fence(_) => 2,
            Watermark::Unknown => 3,
        };
        let loss = match self.loss {
            None => 0,
            Some(Loss::Unproven) => UNPROVEN,
            Some(Loss::History) => LOST | UNPROVEN,
            Some(Loss::Lost) => LOST,
        };
        let mut bytes = vec![FORMAT, kind | loss | if self.in_doubt { DOUBT } else { 0 }];
        match self.watermark {
            Watermark::Nothing | Watermark::Unknown => {}
            Watermark::At(Position { history, offset }) => {
                bytes.extend_from_slice(history.bytes());
                bytes.extend_from_slice(&offset.to_be_bytes());
                bytes.extend_from_slice(&self.written_before(offset).to_be_bytes());
            }
            Watermark::Fence(Fence { name, count }) => {
                bytes.extend_from_slice(&name.to_be_bytes());
                bytes.extend_from_slice(&count.to_be_bytes());
                bytes.extend_from_slice(&self.written.unwrap_or(count).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&check(&bytes));
        bytes
    }

    /// Returns how far the session's last own write is before the last offset. If that is more than fits, the write counts as
    /// later: a lost read may be reported as a lost write, but never the other way round.
    fn written_before(&self, offset: u64) -> u32 {
        let distance = |written| u32::try_from(offset.saturating_sub(written)).unwrap_or(NOT_WRITTEN).min(FARTHEST);
        self.written.map_or(NOT_WRITTEN, distance)
    }

    /// Reads a token; `None`: these bytes are none.
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<2>()?;
        if *sum != check(body) {
            return None;
        }
        let [FORMAT, kind, content @ ..] = body else { return None };
        let mut written = None;
        let watermark = match (kind & !(DOUBT | LOST | UNPROVEN), content.len()) {
            (0, 0) => Watermark::Nothing,
            (1, 32) => {
                let (history, rest) = content.split_first_chunk::<20>()?;
                let (offset, before) = rest.split_first_chunk::<8>()?;
                let (offset, before) = (u64::from_be_bytes(*offset), u32::from_be_bytes(before.try_into().ok()?));
                written = if before == NOT_WRITTEN { None } else { Some(offset.checked_sub(before.into())?) };
                Watermark::At(Position { history: ReplicationId::of(*history)?, offset })
            }
            (2, 24) => {
                let (name, rest) = content.split_first_chunk::<8>()?;
                let (count, fenced) = rest.split_first_chunk::<8>()?;
                let (name, count) = (u64::from_be_bytes(*name), u64::from_be_bytes(*count));
                let fenced = u64::from_be_bytes(fenced.try_into().ok()?);
                written = Some(fenced).filter(|fenced| *fenced != count);
                Watermark::Fence(Fence { name, count })
            }
            (3, 0) => Watermark::Unknown,
            _ => return None,
        };
        let loss = match kind & (LOST | UNPROVEN) {
            0 => None,
            UNPROVEN => Some(Loss::Unproven),
            LOST => Some(Loss::Lost),
            _ => Some(Loss::History),
        };
        Some(Self { watermark, written, in_doubt: kind & DOUBT != 0, loss })
    }
}

/// The first byte of a token. A token with another one comes from another version of this crate.
const FORMAT: u8 = 2;
const NOT_WRITTEN: u32 = u32::MAX;
const FARTHEST: u32 = NOT_WRITTEN - 1;
const DOUBT: u8 = 0x80;
const LOST: u8 = 0x40;
const UNPROVEN: u8 = 0x20;

/// Returns the checksum.
fn check(bytes: &[u8]) -> [u8; 2] {
    let hash = Fnv::of(bytes);
    // The lower bytes of the hash depend on all of the text, the upper ones on its beginning only.
    ((hash ^ (hash >> 32)) as u16).to_be_bytes()
}

impl Watermark {
    /// Returns the position in the replication history, if it is one.
    pub(crate) fn position(self) -> Option<Position> {
        match self {
            Self::At(position) => Some(position),
            Self::Nothing | Self::Fence(_) | Self::Unknown => None,
        }
    }

    /// Returns the fence, if it is one.
    pub(crate) fn fence(self) -> Option<Fence> {
        if let Self::Fence(fence) = self { Some(fence) } else { None }
    }

    /// Returns how far a session has seen that has seen what both have seen.
    pub(super) fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, watermark) | (watermark, Self::Nothing) => watermark,
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
        // Longer texts are not decoded: they may come from anywhere.
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
    use super::{FARTHEST, FORMAT, Fence, LONGEST, Loss, Token, Watermark, check};
    use crate::replication::{Position, ReplicationId};
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    fn tokens() -> impl Strategy<Value = Token> {
        let history = |name| ReplicationId::of([name; 20]).unwrap();
        // Few histories, so that many tokens share one.
        let at = (1..4_u8, any::<u64>())
            .prop_map(move |(name, offset)| Watermark::At(Position { history: history(name), offset }));
        let fence = (0..3_u64, any::<u64>()).prop_map(|(name, count)| Watermark::Fence(Fence { name, count }));
        let watermark = prop_oneof![Just(Watermark::Nothing), Just(Watermark::Unknown), at, fence];
        let loss =
            prop_oneof![Just(None), Just(Some(Loss::Unproven)), Just(Some(Loss::History)), Just(Some(Loss::Lost))];
        let written = prop_oneof![Just(None), any::<u32>().prop_map(|before| Some(before.min(FARTHEST)))];
        (watermark, any::<bool>(), loss, written).prop_map(|(watermark, in_doubt, loss, before)| {
            let end = watermark
                .position()
                .map(|watermark| watermark.offset)
                .or(watermark.fence().map(|watermark| watermark.count));
            let written = end.zip(before).map(|(end, before)| end - end.min(before.into()));
            let written =
                written.filter(|written| watermark.fence().is_none_or(|watermark| watermark.count != *written));
            Token { watermark, written, in_doubt, loss }
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
    fn a_write_of_long_ago_is_taken_for_a_later_one() {
        let position = Position { history: ReplicationId::of([1; 20]).unwrap(), offset: u64::MAX };
        let token = Token { watermark: Watermark::At(position), written: Some(5), ..Token::default() };
        let there: Token = token.to_string().parse().unwrap();
        assert_eq!((there.watermark, there.written), (token.watermark, Some(u64::MAX - u64::from(FARTHEST))));
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
        fn damaged_texts_are_recognised(token in tokens(), place in any::<usize>(), byte in any::<char>(), noise in ".*") {
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
