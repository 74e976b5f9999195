//! Seeds worth keeping: each found something, or leads into a corner.

/// Each is run by every test run, before the others.
pub(super) const SEEDS: &[u64] = &[
    // Streams still waited to be accepted when the session ended.
    58, 59,
    // A narrow pipe whose reader is gone without a word: only the kernel can tell its driver.
    550, 815,
    // The answer to an attempt that the acceptor had given up came after that was settled.
    2188,
];
