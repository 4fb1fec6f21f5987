//! What rates look at: the last calls, or the calls of the last time in ten slices.
//!
//! ```text
//!  now = slice 17, ten slices kept     │ 8 │ 9 │ 10 │ .. │ 16 │ 17 ◄ counts      slice 7 left as a whole when 17 began
//! ```

use std::collections::VecDeque;

use onex_spi::breaker::{Window, WindowCounts};

use crate::time::{Now, nanos};

/// Slices of a window of time; a call leaves up to one of them early.
const SLICES: u64 = 10;

#[derive(Debug)]
pub(crate) struct CallWindow {
    shape: Window,
    samples: Samples,
}

#[derive(Debug)]
enum Samples {
    Calls { last: VecDeque<Sample>, counts: WindowCounts },
    Time { width: u64, newest: u64, slices: VecDeque<(u64, WindowCounts)> },
}

/// One call that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

impl CallWindow {
    /// Makes an empty window.
    pub(crate) fn new(shape: Window) -> Self {
        let samples = match shape {
            Window::Time(time) => {
                Samples::Time { width: (nanos(time) / SLICES).max(1), newest: 0, slices: VecDeque::new() }
            }
            _ => Samples::Calls { last: VecDeque::new(), counts: WindowCounts::default() },
        };
        Self { shape, samples }
    }

    /// Takes one call; only a window of time asks when.
    pub(crate) fn record(&mut self, sample: Sample, now: impl FnOnce() -> Now) {
        match &mut self.samples {
            Samples::Calls { last, counts } => {
                let most = if let Window::Calls(calls) = self.shape { calls as usize } else { 1 };
                if last.len() >= most
                    && let Some(gone) = last.pop_front()
                {
                    counts.calls -= 1;
                    counts.failures -= u64::from(gone.failed);
                    counts.slow -= u64::from(gone.slow);
                }
                last.push_back(sample);
                add(counts, sample);
            }
            Samples::Time { width, newest, slices } => {
                // A clock that goes back writes into the newest slice.
                let slice = now().nanos().checked_div(*width).unwrap_or(0).max(*newest);
                *newest = slice;
                slices.retain(|(number, _)| number + SLICES > slice);
                match slices.back_mut() {
                    Some((number, counts)) if *number == slice => add(counts, sample),
                    _ => {
                        let mut counts = WindowCounts::default();
                        add(&mut counts, sample);
                        slices.push_back((slice, counts));
                    }
                }
            }
        }
    }

    /// What the window holds now; changes nothing (R6).
    pub(crate) fn read(&self, now: Now) -> WindowCounts {
        match &self.samples {
            Samples::Calls { counts, .. } => *counts,
            Samples::Time { width, newest, slices } => {
                let slice = now.nanos().checked_div(*width).unwrap_or(0).max(*newest);
                let kept = slices.iter().filter(|(number, _)| number + SLICES > slice);
                kept.fold(WindowCounts::default(), |sum, (_, counts)| WindowCounts {
                    calls: sum.calls + counts.calls,
                    failures: sum.failures + counts.failures,
                    slow: sum.slow + counts.slow,
                })
            }
        }
    }
}

fn add(counts: &mut WindowCounts, sample: Sample) {
    counts.calls += 1;
    counts.failures += u64::from(sample.failed);
    counts.slow += u64::from(sample.slow);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FAILED: Sample = Sample { failed: true, slow: false };
    const SLOW: Sample = Sample { failed: false, slow: true };

    fn recorded(window: &mut CallWindow, sample: Sample, now: Now) -> WindowCounts {
        window.record(sample, || now);
        window.read(now)
    }

    fn counts(calls: u64, failures: u64, slow: u64) -> WindowCounts {
        WindowCounts { calls, failures, slow }
    }

    #[test]
    fn the_oldest_call_leaves_when_a_window_of_calls_is_full() {
        let now = Now::at_nanos(0);
        let mut window = CallWindow::new(Window::Calls(3));
        for due in [counts(1, 1, 0), counts(2, 2, 0)] {
            assert_eq!(recorded(&mut window, FAILED, now), due);
        }
        assert_eq!(recorded(&mut window, SLOW, now), counts(3, 2, 1));
        assert_eq!(recorded(&mut window, SLOW, now), counts(3, 1, 2));
        assert_eq!(recorded(&mut window, SLOW, now), counts(3, 0, 3));
    }

    #[test]
    fn a_call_stays_for_nine_tenths_of_a_window_of_time_and_never_longer_than_it() {
        let second = |seconds: u64| Now::at_nanos(seconds * 1_000_000_000);
        let mut window = CallWindow::new(Window::Time(Duration::from_secs(100)));
        recorded(&mut window, FAILED, second(9));
        assert_eq!(window.read(second(99)), counts(1, 1, 0));
        assert_eq!(window.read(second(100)), counts(0, 0, 0));
        assert_eq!(recorded(&mut window, SLOW, second(100)), counts(1, 0, 1));
        // A clock that went back loses nothing and overflows nothing; nor does the end of time.
        assert_eq!(recorded(&mut window, FAILED, second(0)), counts(2, 1, 1));
        assert_eq!(recorded(&mut window, FAILED, Now::at_nanos(u64::MAX)), counts(1, 1, 0));
    }
}
