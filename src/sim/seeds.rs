//! Seeds worth keeping: each found something, or leads into a corner.

/// Each is run by every test run, before the others. A change to what a seed writes makes them mean something else: then
/// they are to be found anew, by breaking the session as said here.
pub(super) const SEEDS: &[u64] = &[
    // Streams that leave a carrier before what it has sent is acknowledged.
    339,
    // A tail that waits on a carrier which retires; counts told on a carrier that dies before they arrive.
    402, 458,  // Streams of a dead carrier that do not follow its tail.
    673,  // An inherited tail that goes ahead of what its second carrier had sent.
    1497, // A hello that comes after its carrier was told dead; one whose number was there before.
    3114, 10714,
    // A carrier that is used again after it had said RETIRE, and has to say it once more.
    11792,
];
