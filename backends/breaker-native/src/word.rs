//! The one word that decides: kind, era and payload of a circuit in 64 bits.
//!
//! ```text
//!   63  61 60            40 39                                   0
//!  │ kind │      era       │ closed: failures in a row            │
//!  │      │ + 1 a change,  │ open: the millisecond of its end     │
//!  │      │   wraps        │ half-open: in flight 20 │ succeeded 20 │
//! ```

const PAYLOAD_BITS: u32 = 40;
const ERA_BITS: u32 = 21;
const HALF_BITS: u32 = PAYLOAD_BITS / 2;
const PAYLOAD: u64 = (1 << PAYLOAD_BITS) - 1;
const HALF: u64 = (1 << HALF_BITS) - 1;
const ERA: u64 = (1 << ERA_BITS) - 1;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const FORCED_OPEN: u64 = 3;
const FORCED_CLOSED: u64 = 4;

/// The state of a circuit with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed { failures: u32 },
    Open { until_ms: u64 },
    HalfOpen { in_flight: u32, successes: u32 },
    ForcedOpen,
    ForcedClosed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    /// Closed, nothing failed, in an era of which only the bits that fit are taken.
    pub(crate) fn first(era: u64) -> Self {
        Self::pack(era & ERA, State::Closed { failures: 0 })
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn era(self) -> u64 {
        self.0 >> PAYLOAD_BITS & ERA
    }

    /// Whether the circuit is closed and nothing failed: the state in which a success has nothing to write.
    pub(crate) fn is_quiet(self) -> bool {
        self.0 & !(ERA << PAYLOAD_BITS) == 0
    }

    /// Whether the circuit is closed and not forced.
    pub(crate) fn is_closed(self) -> bool {
        self.0 >> (PAYLOAD_BITS + ERA_BITS) == CLOSED
    }

    pub(crate) fn state(self) -> State {
        let payload = self.0 & PAYLOAD;
        match self.0 >> (PAYLOAD_BITS + ERA_BITS) {
            CLOSED => State::Closed { failures: payload as u32 },
            OPEN => State::Open { until_ms: payload },
            HALF_OPEN => State::HalfOpen {
                in_flight: (payload >> HALF_BITS) as u32,
                successes: (payload & HALF) as u32,
            },
            FORCED_OPEN => State::ForcedOpen,
            _ => State::ForcedClosed,
        }
    }

    /// The same era in another state: no outcome becomes stale.
    pub(crate) fn with(self, state: State) -> Self {
        Self::pack(self.era(), state)
    }

    /// The next era: whatever was admitted before counts no more.
    pub(crate) fn next(self, state: State) -> Self {
        Self::pack(self.era().wrapping_add(1) & ERA, state)
    }

    /// Counts saturate, which the limits of a configuration (1,000,000) never reach; so does time, after 34 years.
    fn pack(era: u64, state: State) -> Self {
        let (kind, payload) = match state {
            State::Closed { failures } => (CLOSED, u64::from(failures)),
            State::Open { until_ms } => (OPEN, until_ms.min(PAYLOAD)),
            State::HalfOpen { in_flight, successes } => {
                let half = |count: u32| u64::from(count).min(HALF);
                (HALF_OPEN, half(in_flight) << HALF_BITS | half(successes))
            }
            State::ForcedOpen => (FORCED_OPEN, 0),
            State::ForcedClosed => (FORCED_CLOSED, 0),
        };
        Self(kind << (PAYLOAD_BITS + ERA_BITS) | era << PAYLOAD_BITS | payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_packing_at_its_limits() {
        let states = [
            State::Closed { failures: 1_000_000 },
            State::Open { until_ms: PAYLOAD },
            State::HalfOpen { in_flight: 100_000, successes: 100_000 },
            State::ForcedOpen,
            State::ForcedClosed,
        ];
        let mut word = Word::first(0);
        for state in states {
            assert_eq!(word.with(state).state(), state);
            word = word.next(state);
            assert_eq!(word.state(), state);
        }
        assert_eq!(word.era(), 5);
    }

    #[test]
    fn an_era_wraps_into_no_other_field_and_time_saturates() {
        let last = Word(ERA << PAYLOAD_BITS);
        assert!(last.is_quiet() && last.era() == ERA);
        let first = last.next(State::Closed { failures: 0 });
        assert_eq!(first, Word::first(0));
        let far = Word::first(0).with(State::Open { until_ms: u64::MAX });
        assert_eq!((far.era(), far.state()), (0, State::Open { until_ms: PAYLOAD }));
        assert!(!Word::first(0).with(State::Closed { failures: 1 }).is_quiet());
    }
}
