//! Random numbers from a seed, for how long openings last.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each draw is a hash of the seed and the draw's number, so that circuits draw without a lock.
#[derive(Debug)]
pub(crate) struct Chance {
    seed: u64,
    drawn: AtomicU64,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }

    /// A number from 0 up to, but not including, 1.
    pub(crate) fn draw(&self) -> f64 {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut mixed = self.seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_fills_the_range() {
        let draws = |seed| {
            let chance = Chance::new(seed);
            (0..1000).map(|_| chance.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        let (low, high) = draws(1).into_iter().fold((1.0_f64, 0.0_f64), |(l, h), d| (l.min(d), h.max(d)));
        assert!((0.0..0.01).contains(&low) && (0.99..1.0).contains(&high), "{low} {high}");
    }
}
