//! The rule by which connections are spread, as a reader would write it down: nothing here knows the library.

/// A site as the rule sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// What the link to it costs.
    pub(crate) cost: u64,
    /// Connections that are open to it.
    pub(crate) open: u64,
    /// Whether it takes new ones.
    pub(crate) takes_new: bool,
}

/// Opens so many connections, one after the other: each goes where open connections + cost is least, and of equals
/// to the first.
pub(crate) fn open(ways: &mut [Way], connections: usize) {
    for _ in 0..connections {
        let candidates = ways.iter_mut().filter(|way| way.takes_new);
        if let Some(best) = candidates.min_by_key(|way| way.open + way.cost) {
            best.open += 1;
        }
    }
}
