//! The HTTP suites, their broken engines, scripted servers and mocks.
