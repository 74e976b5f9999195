//! What a carrier keeps of its leaving: what was said and heard, and what another is asked for.

use std::time::Duration;

use crate::wire::code::CloseCode;

/// How far a carrier has come on its way out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retiring {
    /// What this end closes it with, if it began the retiring or was asked to join in.
    pub(super) code: Option<CloseCode>,
    /// The position behind this end's newest RETIRE.
    pub(super) said_at: Option<u64>,
    /// The count of what was received, with the peer's newest RETIRE.
    pub(super) heard_at: Option<u64>,
}

/// What an acceptor asks for in the place of a carrier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// What it will close that one with.
    pub(super) code: CloseCode,
    /// How long after it was asked.
    pub(super) deadline: Duration,
    /// Whether it waits to be sent.
    pub(super) unsaid: bool,
}
