//! Seeds worth keeping: each found something, or leads into a corner.

/// Each is run by every test run, before the others. A change to what a seed writes makes them mean something else: then
/// they are to be found anew, by breaking the session as said here.
pub(super) const SEEDS: &[u64] = &[
    339,   // Streams that leave a carrier before what it has sent is acknowledged.
    402,   // A tail that waits on a carrier which retires.
    458,   // Counts told on a carrier that dies before they arrive.
    673,   // Streams of a dead carrier that do not follow its tail.
    1497,  // An inherited tail that goes ahead of what its second carrier had sent.
    3114,  // A hello that comes after its carrier was told dead.
    10714, // A number that was there before.
    11792, // A carrier that is used again after it had said RETIRE, and has to say it once more.
];
