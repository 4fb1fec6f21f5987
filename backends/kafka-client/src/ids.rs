//! Numbers that are never issued again, by this client or another one.
//!
//! ```text
//!   63        40 39         0
//!  │   client    │   number   │
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use onex_spi::{Error, ErrorKind, Result};

/// What an id stands for, and which ids ever stood for something.
#[derive(Debug)]
pub(crate) struct Ids<T> {
    /// What lies below every number of this registry.
    base: u64,
    issued: u64,
    open: BTreeMap<NonZeroU64, T>,
}

const NUMBER_BITS: u32 = 40;

impl<T> Default for Ids<T> {
    /// Begins after every registry that there is, so that a foreign number is never taken for an own one.
    fn default() -> Self {
        static REGISTRIES: AtomicU64 = AtomicU64::new(0);
        // The shift drops what 2^24 registries in one process would overflow.
        let base = REGISTRIES.fetch_add(1, Ordering::Relaxed) << NUMBER_BITS;
        Self { base, issued: 0, open: BTreeMap::new() }
    }
}

impl<T> Ids<T> {
    /// Issues the next number for `value`.
    pub(crate) fn issue(&mut self, value: T) -> NonZeroU64 {
        let number = NonZeroU64::MIN.saturating_add(self.base + self.issued);
        // 2^40 numbers do not run out.
        self.issued += 1;
        self.open.insert(number, value);
        number
    }

    /// What the number stands for.
    ///
    /// # Errors
    /// `Closed` where it stood for something, `NotFound` where it never did.
    pub(crate) fn get(
        &self,
        operation: &'static str,
        number: NonZeroU64,
        id: impl fmt::Display,
    ) -> Result<&T> {
        if let Some(value) = self.open.get(&number) {
            return Ok(value);
        }
        self.was_issued(operation, number, &id)?;
        Err(Error::closed(operation, id))
    }

    /// Ends the number; `None` where that was done before.
    ///
    /// # Errors
    /// `NotFound` where it never stood for something.
    pub(crate) fn end(
        &mut self,
        operation: &'static str,
        number: NonZeroU64,
        id: impl fmt::Display,
    ) -> Result<Option<T>> {
        self.was_issued(operation, number, &id)?;
        Ok(self.open.remove(&number))
    }

    /// Ends every number.
    pub(crate) fn end_all(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.open).into_values()
    }

    fn was_issued(&self, operation: &'static str, number: NonZeroU64, id: &impl fmt::Display) -> Result<()> {
        if (self.base + 1..=self.base + self.issued).contains(&number.get()) {
            return Ok(());
        }
        let message = format!("{id} was never issued by this client; create one here");
        Err(Error::new(ErrorKind::NotFound, operation, message).not_applied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_number_stays_closed_and_is_never_issued_again() {
        let mut ids = Ids::default();
        let (one, two) = (ids.issue("a"), ids.issue("b"));
        assert_eq!(ids.get("kafka.test", one, "1").ok(), Some(&"a"));
        assert_eq!(ids.end("kafka.test", one, "1").ok(), Some(Some("a")));
        assert_eq!(ids.end("kafka.test", one, "1").ok(), Some(None));
        let three = ids.issue("c");
        assert!(one < two && two < three);
        assert_eq!(ids.get("kafka.test", one, "1").map_err(|error| error.kind()), Err(ErrorKind::Closed));
        let never = Ids::default().issue("of another");
        assert_eq!(ids.get("kafka.test", never, "9").map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        assert_eq!(ids.end("kafka.test", never, "9").map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        assert_eq!(ids.end_all().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(ids.get("kafka.test", two, "2").map_err(|error| error.kind()), Err(ErrorKind::Closed));
    }
}
