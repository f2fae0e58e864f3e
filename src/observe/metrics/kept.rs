//! One handle that is kept.

use std::sync::OnceLock;

/// One handle that is registered when it is first used, and kept. Using it later only reads: no lock, no allocation.
#[derive(Debug)]
pub(super) struct Kept<H>(OnceLock<H>);

impl<H> Kept<H> {
    #[inline]
    pub(super) fn get(&self, register: impl FnOnce() -> H) -> &H {
        match self.0.get() {
            Some(handle) => handle,
            None => self.keep(register()),
        }
    }

    // The lock is not held while the series is registered: a recorder may use the client.
    #[cold]
    fn keep(&self, handle: H) -> &H {
        self.0.get_or_init(|| handle)
    }
}

impl<H> Default for Kept<H> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}
