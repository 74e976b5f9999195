//! What the bytes of an input mean, and inputs to begin with.

/// Inputs to begin with: (name, bytes).
#[must_use]
pub fn operations_seeds() -> Vec<(&'static str, Vec<u8>)> {
    #[rustfmt::skip]
    let scripts: &[(&str, &[u8])] = &[
        ("echo", &[OPEN, 0, 9, PUMP, 0, 0, PUMP, 0, 1, ACCEPT, 1, WRITE, 0, 0, 200, PUMP, 0, 0, READ, 1, 0, WRITE, 1, 0, 200, FINISH, 1, 0, PUMP, 0, 1, READ, 0, 0]),
        ("cut-in-transfer", &[OPEN, 0, 0, PUMP, 0, 0, ACCEPT, 1, WRITE, 0, 0, 255, TRANSMIT, 0, 0, DELIVER, 0, 0, 77, CUT, 0, 0, JOIN, ARRIVE, 0, ANSWER, 0, PUMP, 0, 0]),
        ("answer-lost", &[OPEN, 0, 50, CUT, 0, 0, JOIN, ARRIVE, 0, GIVE_UP, 0, JOIN, ARRIVE, 0, ANSWER, 0, PUMP, 0, 0]),
        ("hello-after-its-sender-gave-up", &[JOIN, GIVE_UP, 0, PUMP, 0, 0, PUMP, 0, 1, ARRIVE, 0, OPEN, 1, 40, PUMP, 0, 0, NOTICE, 1, 1, PUMP, 0, 1]),
        ("joins-that-fail-beside-a-live-carrier", &[JOIN, GIVE_UP, 0, PUMP, 0, 0, PUMP, 0, 1, JOIN, GIVE_UP, 0, PUMP, 0, 0, PUMP, 0, 1]),
        ("two-carriers", &[JOIN, ARRIVE, 0, ANSWER, 0, OPEN, 0, 1, OPEN, 0, 2, OPEN, 1, 3, PUMP, 0, 0, PUMP, 1, 0, PUMP, 0, 1, PUMP, 1, 1, ACCEPT, 1, ACCEPT, 1, ACCEPT, 0, WRITE, 0, 0, 255, WRITE, 0, 1, 255, CUT, 0, 1, PUMP, 1, 0, NOTICE, 0, 0, PUMP, 1, 1]),
        ("refused-reset-stopped", &[OPEN, 0, 0, OPEN, 0, 0, OPEN, 0, 0, PUMP, 0, 0, REFUSE, 1, ACCEPT, 1, ACCEPT, 1, RESET, 0, 1, STOP, 1, 2, PUMP, 0, 0, PUMP, 0, 1]),
        ("keys", &[SERVE, 0, 1, 1, SERVE, 0, 2, 1, ANNOUNCE, 0, 7, PUMP, 0, 0, SERVE, 0, 1, 0, TRANSMIT, 0, 0, CUT, 0, 0, JOIN, ARRIVE, 0, ANSWER, 0]),
        ("busy", &[OPEN, 0, 0, OPEN, 0, 0, OPEN, 0, 0, OPEN, 0, 0, OPEN, 0, 0, OPEN, 0, 0, PUMP, 0, 0, TICK, 250, PUMP, 0, 1]),
        ("retired", &[OPEN, 0, 3, PUMP, 0, 0, ACCEPT, 1, PUMP, 0, 1, WRITE, 0, 0, 255, WRITE, 1, 0, 255, JOIN, ARRIVE, 0, ANSWER, 0, TRANSMIT, 0, 0, RETIRE, 0, 0, WRITE, 0, 0, 99, PUMP, 0, 0, PUMP, 0, 1, PUMP, 1, 0, PUMP, 0, 0, PUMP, 0, 1, RETIRE, 1, 1, CUT, 1, 0]),
    ];
    scripts.iter().map(|(name, script)| (*name, script.to_vec())).collect()
}

// What an input's bytes mean: mostly an end, then what it is about.
pub(super) const OPEN: u8 = 0;
pub(super) const ACCEPT: u8 = 1;
pub(super) const REFUSE: u8 = 2;
pub(super) const WRITE: u8 = 3;
pub(super) const READ: u8 = 4;
pub(super) const FINISH: u8 = 5;
pub(super) const RESET: u8 = 6;
pub(super) const STOP: u8 = 7;
pub(super) const RELEASE: u8 = 8;
pub(super) const SERVE: u8 = 9;
pub(super) const ANNOUNCE: u8 = 10;
pub(super) const TRANSMIT: u8 = 11;
pub(super) const DELIVER: u8 = 12;
pub(super) const PUMP: u8 = 13;
pub(super) const CUT: u8 = 14;
pub(super) const NOTICE: u8 = 15;
pub(super) const JOIN: u8 = 16;
pub(super) const ARRIVE: u8 = 17;
pub(super) const ANSWER: u8 = 18;
pub(super) const GIVE_UP: u8 = 19;
pub(super) const TICK: u8 = 20;
pub(super) const RETIRE: u8 = 21;
pub(super) const OPERATIONS: u8 = 24;
