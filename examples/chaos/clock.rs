//! Time, read in one place.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a program that measures reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
