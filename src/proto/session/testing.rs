//! What the tests of the sans-IO rooms share.

use std::time::Instant;

/// An instant to count from. Tests move time by adding to it; nothing else reads a clock.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other constructor; tests only count from it"
)]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
