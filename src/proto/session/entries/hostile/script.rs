//! What the bytes of an input mean, and inputs to begin with.

/// Inputs to begin with: (name, bytes).
#[must_use]
pub fn hostile_seeds() -> Vec<(&'static str, Vec<u8>)> {
    #[rustfmt::skip]
    let scripts: &[(&str, &[u8])] = &[
        (
            "acceptor-echo",
            &[
                1, OPEN, 0, 0, 0, 0, TRANSMIT, 0, ACCEPT_LOCAL, 0, SEND, 0, 0, 200, 0, READ, 0, WRITE, 0, 99, TRANSMIT, 0,
                ACK, 0, 0, 0, FINISH, 0, 0, 0, READ, 0, RELEASE, 0, TRANSMIT, 0,
            ],
        ),
        (
            "dialer-open",
            &[
                0, OPEN_LOCAL, 50, TRANSMIT, 0, ACCEPTED, 0, 0, SEND, 0, 0, 1, 0, READ, 0, CREDIT, 0, 0, 3, 255, 255, RESET,
                0, 0, 0, TRANSMIT, 0,
            ],
        ),
        (
            "id-used-again",
            &[
                1, OPEN, 0, 0, 0, 0, ACCEPT_LOCAL, 0, RELEASE, 0, RESET, 0, 0, 0, TRANSMIT, 0, OPEN, 0, 255, 0, 0, 0, TRANSMIT,
                0,
            ],
        ),
        ("opens-out-of-order", &[1, OPEN, 0, 192, 0, 0, OPEN, 0, 0, 0, 0, OPEN, 0, 240, 1, 3, 0, 0, TRANSMIT, 0]),
        ("joins-that-list-nothing", &[1, LOSE, 0, JOIN, 0, LOSE, 1, JOIN, 0, JOIN, 0, LOSE, 2, TRANSMIT, 0, TICK, 200]),
        ("join-that-lists-many", &[1, LOSE, 0, JOIN, 255, TRANSMIT, 0, TICK, 100]),
        ("accepted-too-late", &[1, OPEN, 0, 0, 0, 0, TAKE, TICK, 255, TICK, 255, ACCEPT_LOCAL, 0, RELEASE, 0]),
        ("closed-under-a-waiting-stream", &[1, OPEN, 0, 0, 0, 0, TAKE, CLOSE, 0, 1, 0, ACCEPT_LOCAL, 0, RELEASE, 0]),
        ("raw", &[1, RAW, 0, 12, 0x42, 0, 0, 1, 5, 0x41, 0, 0, 2, 0, 0, 7, TRANSMIT, 0]),
        (
            "controls",
            &[
                1, CONTROL, 0, 0, 0, 1, CONTROL, 0, 64, 0, 2, CONTROL, 0, 0, 1, 1, CONTROL, 0, 0, 2, 9, CONTROL, 0, 0, 3, 0,
                CONTROL, 0, 0, 4, TICK, 9,
            ],
        ),
        ("flood", &[1, PING, 0, 1, 7, AGAIN, 255, AGAIN, 255, TRANSMIT, 0]),
        ("carrier-dead", &[0, CARRIER_DEAD, 0, 1, 240, 7, 255, 255, 255, 255, 255, 255, 255, 255, 0, JOIN, 0, OPEN_LOCAL, 0]),
        (
            "retire",
            &[
                1, JOIN, 0, OPEN_LOCAL, 50, TRANSMIT, 0, RETIRE, 0, 0, TRANSMIT, 0, ACK, 0, 0, 0, TRANSMIT, 1, RETIRE_LOCAL, 1,
                REQUEST_LOCAL, 1, TRANSMIT, 1, RETIRE, 1, 1, JOIN, 0, TRANSMIT, 1, ACK, 1, 0, 0, TRANSMIT, 2,
            ],
        ),
        ("requests", &[0, JOIN, 0, REQUEST, 0, 1, 3, 3, 9, REQUEST, 0, 1, 3, 3, 9, REQUEST, 0, 77, 3, 7, 255, 255, 255, 255, 255, 255, 255, 255]),
        ("retire-again-and-again", &[0, JOIN, 0, RETIRE, 0, 1, AGAIN, 255, AGAIN, 255, RETIRE, 0, 99, AGAIN, 255, AGAIN, 255]),
    ];
    let mut seeds: Vec<_> = scripts.iter().map(|(name, script)| (*name, script.to_vec())).collect();
    // As many carriers die unsettled as may, then two at once.
    let mut brink = vec![1];
    (0..64).for_each(|number| brink.extend([LOSE, number, JOIN, 0]));
    brink.extend([JOIN, 0, TICK, 255, TICK, 255, TICK, 255]);
    seeds.push(("brink", brink));
    seeds
}

// What an input's bytes mean. Frames of the peer: carrier, then the parts of the frame.
pub(super) const RAW: u8 = 0;
pub(super) const OPEN: u8 = 1;
pub(super) const ACCEPTED: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const SEND: u8 = 4;
pub(super) const FINISH: u8 = 5;
pub(super) const RESET: u8 = 6;
pub(super) const STOP: u8 = 7;
pub(super) const CREDIT: u8 = 8;
pub(super) const MAX_STREAMS: u8 = 9;
pub(super) const CONTROL: u8 = 10;
pub(super) const CARRIER_DEAD: u8 = 11;
pub(super) const ACK: u8 = 12;
pub(super) const PING: u8 = 13;
pub(super) const PONG: u8 = 14;
pub(super) const UNKNOWN: u8 = 15;
pub(super) const CLOSE: u8 = 16;
pub(super) const HELLO: u8 = 17;
pub(super) const AGAIN: u8 = 18;
// The application: mostly the stream it is about.
pub(super) const ACCEPT_LOCAL: u8 = 19;
pub(super) const REFUSE_LOCAL: u8 = 20;
pub(super) const READ: u8 = 21;
pub(super) const WRITE: u8 = 22;
pub(super) const FINISH_LOCAL: u8 = 23;
pub(super) const RESET_LOCAL: u8 = 24;
pub(super) const STOP_LOCAL: u8 = 25;
pub(super) const ABANDON: u8 = 26;
pub(super) const RELEASE: u8 = 27;
pub(super) const OPEN_LOCAL: u8 = 28;
pub(super) const TAKE: u8 = 29;
pub(super) const SERVE: u8 = 30;
pub(super) const ANNOUNCE: u8 = 31;
pub(super) const DRAIN: u8 = 32;
pub(super) const CLOSE_LOCAL: u8 = 33;
pub(super) const CLOSE_CARRIER: u8 = 34;
// The world.
pub(super) const TICK: u8 = 35;
pub(super) const LOSE: u8 = 36;
pub(super) const JOIN: u8 = 37;
pub(super) const TRANSMIT: u8 = 38;
pub(super) const WINDOW: u8 = 39;
pub(super) const RETIRE: u8 = 40;
pub(super) const REQUEST: u8 = 41;
pub(super) const RETIRE_LOCAL: u8 = 42;
pub(super) const REQUEST_LOCAL: u8 = 43;
pub(super) const OPERATIONS: u8 = 44;
