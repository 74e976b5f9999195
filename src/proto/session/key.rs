//! How everyone but the wire names a stream.

use crate::id::StreamId;

/// Finds a stream: its place in the table and, since places are used again, its id, which never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamKey {
    /// Index in the session's table.
    pub(crate) slot: u32,
    /// The stream that must be there.
    pub(crate) id: StreamId,
}
