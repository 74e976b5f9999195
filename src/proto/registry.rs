//! Who is who: which peer may begin a session here, and which may join one.

use std::sync::Arc;
use std::time::Duration;

use crate::error::SessionEnd;
use crate::id::{Principal, SessionNumber};
use crate::proto::fleet::{Arrival, Local};
use crate::proto::roster::{Member, Roster};
use crate::wire::code::CloseCode;
use crate::wire::frame::CloseScope;
use crate::wire::hello::{SessionClaim, SessionSecret};

/// Why an accepted carrier is refused, as its close frame says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What is closed: a refused join leaves its session alone.
    pub(crate) scope: CloseScope,
    /// Why.
    pub(crate) code: CloseCode,
    /// Why, for people.
    pub(crate) detail: Arc<str>,
    /// When the dialer may ask again.
    pub(crate) retry_after: Option<Duration>,
}
