//! Ratios and allocation counts for benches that run a raw engine beside ours.
#![forbid(unsafe_code)]
