//! Commands that servers took for writes although they were declared reads.

use std::sync::OnceLock;

/// So many names are remembered; of further ones, each call finds out by itself.
const MOST: usize = 64;

/// Names of commands, upper case, with or without a subcommand. Looked up without a lock.
#[derive(Debug, Default)]
pub(super) struct Learned(OnceLock<Box<[Name]>>);

/// Set once, from the first on.
type Name = OnceLock<Box<[u8]>>;

impl Learned {
    /// Remembers a name. Returns whether that is news.
    pub(super) fn remember(&self, name: &[u8]) -> bool {
        let slots = self.0.get_or_init(|| (0..MOST).map(|_| Name::new()).collect());
        for slot in slots {
            let mut is_new = false;
            let known = slot.get_or_init(|| {
                is_new = true;
                name.to_ascii_uppercase().into()
            });
            if known.eq_ignore_ascii_case(name) {
                return is_new;
            }
        }
        false
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Returns whether the command, or this subcommand of it, is remembered.
    #[cold]
    pub(super) fn contains(&self, name: &[u8], second: Option<&[u8]>) -> bool {
        let is_it = |known: &[u8]| match known.get(name.len()..).and_then(|rest| rest.split_first()) {
            Some((b' ', rest)) => {
                known[..name.len()].eq_ignore_ascii_case(name)
                    && second.is_some_and(|second| rest.eq_ignore_ascii_case(second))
            }
            _ => known.eq_ignore_ascii_case(name),
        };
        let slots = self.0.get().map_or(&[][..], |slots| slots);
        slots.iter().map_while(Name::get).any(|known| is_it(known))
    }
}

impl Clone for Learned {
    /// What the servers of one set said means nothing to those of another.
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Learned, MOST};

    #[test]
    fn names_are_remembered_once_and_only_so_many() {
        let learned = Learned::default();
        assert!(learned.is_empty() && !learned.contains(b"GET", None));
        assert!(learned.remember(b"my.get") && !learned.remember(b"MY.GET"));
        assert!(learned.remember(b"MY OBJ"));
        assert!(learned.contains(b"My.Get", Some(b"k")) && learned.contains(b"my", Some(b"obj")));
        assert!(
            !learned.contains(b"MY", None) && !learned.contains(b"MY", Some(b"K")) && !learned.contains(b"M", None)
        );
        for n in 2..MOST {
            assert!(learned.remember(format!("N{n}").as_bytes()));
        }
        assert!(!learned.remember(b"ONE.TOO.MANY") && !learned.contains(b"ONE.TOO.MANY", None));
        assert!(learned.clone().is_empty());
    }
}
