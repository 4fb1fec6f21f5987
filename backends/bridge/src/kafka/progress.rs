//! How far a partition is settled: commits go in order, settlements do not.

use std::collections::VecDeque;

/// One partition's records that were handed out, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Progress {
    handed_out: VecDeque<(i64, End)>,
    /// What may be committed, once something is settled.
    next: Option<i64>,
    /// What was committed.
    committed: Option<i64>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Not known yet.
    Open,
    /// It is settled.
    Settled,
    /// It is the source's again: nothing from it on is ever committed.
    Kept,
}

impl Progress {
    /// Notes that the record at `offset` was handed out; offsets rise, with gaps (K6).
    pub(super) fn hand_out(&mut self, offset: i64) {
        self.handed_out.push_back((offset, End::Open));
    }

    /// Notes what became of a record; tells whether there is now something to commit.
    pub(super) fn end(&mut self, offset: i64, end: End) -> bool {
        if let Ok(at) = self.handed_out.binary_search_by_key(&offset, |(offset, _)| *offset) {
            self.handed_out[at].1 = end;
        }
        while let Some((offset, End::Settled)) = self.handed_out.front().copied() {
            self.handed_out.pop_front();
            self.next = Some(offset + 1);
        }
        self.to_commit().is_some()
    }

    /// The offset to commit, where it is not committed yet.
    pub(super) fn to_commit(&self) -> Option<i64> {
        self.next.filter(|next| self.committed != Some(*next))
    }

    pub(super) fn committed(&mut self, next: i64) {
        self.committed = Some(next);
    }

    /// Whether nothing that was handed out is open.
    pub(super) fn is_quiet(&self) -> bool {
        self.handed_out.iter().all(|(_, end)| *end != End::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_nothing_open_before_it_is_committed() {
        let mut progress = Progress::default();
        [3, 4, 9, 10].into_iter().for_each(|offset| progress.hand_out(offset));
        assert!(!progress.end(4, End::Settled) && !progress.end(10, End::Settled));
        assert!(progress.end(3, End::Settled));
        assert_eq!(progress.to_commit(), Some(5));
        progress.committed(5);
        assert_eq!(progress.to_commit(), None);
        assert!(!progress.is_quiet() && progress.end(9, End::Settled));
        assert_eq!((progress.to_commit(), progress.is_quiet()), (Some(11), true));
    }

    #[test]
    fn nothing_is_committed_from_a_kept_record_on() {
        let mut progress = Progress::default();
        [1, 2, 3].into_iter().for_each(|offset| progress.hand_out(offset));
        progress.end(3, End::Settled);
        progress.end(2, End::Kept);
        progress.end(1, End::Settled);
        assert_eq!((progress.to_commit(), progress.is_quiet()), (Some(2), true));
    }
}
