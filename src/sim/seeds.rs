//! Seeds worth keeping: each found something, or leads into a corner.

/// Each is run by every test run, before the others.
pub(super) const SEEDS: &[u64] = &[];
