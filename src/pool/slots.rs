//! What r2d2 lends: a place for a connection, empty until a caller fills it.

use std::convert::Infallible;

use super::live::Live;

/// Makes empty slots; never connects, checks or rejects anything.
#[derive(Debug)]
pub(super) struct Slots;

/// A place for a connection.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Boxed: r2d2 moves a slot several times for each lease.
    pub(super) live: Option<Box<Live>>,
}

impl r2d2::ManageConnection for Slots {
    type Connection = Slot;
    type Error = Infallible;

    fn connect(&self) -> Result<Slot, Infallible> {
        Ok(Slot::default())
    }

    fn is_valid(&self, _: &mut Slot) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Slot) -> bool {
        // A broken connection was dropped by its lease; the slot itself is as good as before.
        false
    }
}
