//! Conformance suites, broken engines, mocks, faults, clocks and scripted servers.
#![forbid(unsafe_code)]
