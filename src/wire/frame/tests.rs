//! The golden vectors of every kind but the hello, which has its own. Changing one changes the protocol.

use bytes::BytesMut;

use super::*;
use crate::wire::decoder::Decoder;
use crate::wire::kind;

/// What another implementation goes by: it must list what is tested here.
pub(in crate::wire) const SPECIFICATION: &str = include_str!("../../../docs/protocol.md");

/// Reads hex with spaces between and comments from `#` to the end of a line.
pub(in crate::wire) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).expect("a hex digit")).unwrap())
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key(text: &str) -> RoutingKey {
    RoutingKey::new(text).unwrap()
}

/// The rows of the table in the specification that has this head, by cell, with the marks of code taken off.
fn rows(head: &str) -> Vec<Vec<String>> {
    let (_, table) = SPECIFICATION.split_once(head).expect("a table");
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    lines.map(cells).collect()
}

#[test]
fn every_kind_has_its_bytes() {
    let table = vectors();
    let words = |golden: &str| golden.split_whitespace().collect::<Vec<_>>().join(" ");
    let tested: Vec<_> = table.iter().map(|(golden, _)| words(golden)).collect();
    let specified: Vec<_> = rows("| frame | bytes |").into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(specified, tested, "the vectors of the specification and those of this test");
    for (golden, frame) in table {
        let golden = hex(golden);
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        assert_eq!(bytes, golden, "{frame:?}");
        let decoded = Decoder::new().decode(&mut &*golden).unwrap().unwrap();
        let logged_bytes = if golden[0] & 0x40 == 0 { golden.len() as u64 } else { 0 };
        assert_eq!((decoded.frame, decoded.logged_bytes), (frame, logged_bytes));
    }
}

#[test]
fn every_kind_is_specified_with_its_limit() {
    let mut kinds = Vec::new();
    for row in rows("| kind | name | payload | max | logged | who |") {
        let Some(digits) = row[0].strip_prefix("0x") else { continue };
        let kind = u8::from_str_radix(digits, 16).unwrap();
        let limit: usize = row[3].replace(',', "").parse().unwrap();
        assert_eq!(kind::limit(kind), Ok(limit), "{}", row[1]);
        assert_eq!(kind::is_logged(kind), row[4] == "yes", "{}", row[1]);
        kinds.push(kind);
    }
    let known: Vec<u8> = (0..0x80).filter(|kind| kind::limit(*kind).is_ok()).collect();
    assert_eq!(kinds, known);
}

fn vectors() -> Vec<(&'static str, Frame)> {
    vec![
        (
            // OPEN of stream 4 to the routing key "backend", metadata "hi"
            "01 00000c  04  00 07 6261636b656e64  6869",
            Frame::Open {
                stream: StreamId(4),
                destination: OpenTo::Key(key("backend")),
                metadata: Bytes::from_static(b"hi"),
            },
        ),
        (
            // OPEN of stream 15293 to the site, no metadata
            "01 000003  7bbd  01",
            Frame::Open { stream: StreamId(15_293), destination: OpenTo::Site, metadata: Bytes::new() },
        ),
        ("02 000001  05", Frame::Accept { stream: StreamId(5) }),
        // REFUSE of stream 5: not served
        ("03 000002  05 01", Frame::Refuse { stream: StreamId(5), code: StreamCode::NOT_SERVED }),
        (
            // DATA on stream 4: "hello"
            "04 000006  04  68656c6c6f",
            Frame::Data { stream: StreamId(4), payload: Bytes::from_static(b"hello") },
        ),
        (
            // DATA on the last stream there can be: "!"
            "04 000009  ffffffffffffffff  21",
            Frame::Data { stream: StreamId((1 << 62) - 1), payload: Bytes::from_static(b"!") },
        ),
        // FINISH of stream 4 after 494,878,333 bytes
        ("05 000005  04 9d7f3e7d", Frame::Finish { stream: StreamId(4), total: 494_878_333 }),
        // RESET of stream 4: cancelled
        ("06 000002  04 00", Frame::Reset { stream: StreamId(4), code: StreamCode::CANCELLED }),
        // STOP of stream 4 with the first code of an application, 0x100
        ("07 000003  04 4100", Frame::Stop { stream: StreamId(4), code: StreamCode::application(0) }),
        // CREDIT of stream 4 up to 16,384
        ("08 000005  04 80004000", Frame::Credit { stream: StreamId(4), limit: 16_384 }),
        // MAX_STREAMS 16,384
        ("09 000004  80004000", Frame::MaxStreams { limit: 16_384 }),
        // CONTROL 0: serve "db"
        ("0a 000004  00 00 6462", Frame::Control { sequence: 0, change: ControlChange::Serve(key("db")) }),
        // CONTROL 1: withdraw "db"
        ("0a 000004  01 01 6462", Frame::Control { sequence: 1, change: ControlChange::Withdraw(key("db")) }),
        (
            // CONTROL 2: cost 2147483647
            "0a 00000a  02 02 c00000007fffffff",
            Frame::Control { sequence: 2, change: ControlChange::Cost(Cost::new(Cost::MAX).unwrap()) },
        ),
        // CONTROL 3: drain
        ("0a 000002  03 03", Frame::Control { sequence: 3, change: ControlChange::Drain }),
        // CONTROL 64: on standby
        ("0a 000004  4040 04 00", Frame::Control { sequence: 64, change: ControlChange::Active(false) }),
        // CONTROL 65: active
        ("0a 000004  4041 04 01", Frame::Control { sequence: 65, change: ControlChange::Active(true) }),
        (
            // CARRIER_DEAD 2 after 65,536 logged bytes
            "0b 000005  02 80010000",
            Frame::CarrierDead { carrier: CarrierNumber(2), received: 65_536 },
        ),
        // SHRINK of stream 4 to 65,536
        ("0c 000005  04 80010000", Frame::Shrink { stream: StreamId(4), limit: 65_536 }),
        // KEPT: stream 4 to 494,878,333, which were sent
        ("0d 000005  04 9d7f3e7d", Frame::Kept { stream: StreamId(4), limit: 494_878_333 }),
        // RETIRE of carrier 2
        ("0e 000001  02", Frame::Retire { carrier: CarrierNumber(2) }),
        (
            // REQUEST_CARRIER in the place of carrier 2: replaced, cut in 30,000 ms
            "0f 000006  02 03 80007530",
            Frame::RequestCarrier {
                carrier: CarrierNumber(2),
                code: CloseCode::REPLACED,
                deadline_millis: 30_000,
            },
        ),
        // ACK of 131,072 logged bytes, the newest of them 250 µs ago
        ("41 000006  80020000 40fa", Frame::Ack { received: 131_072, delay_micros: 250 }),
        ("42 000001  25", Frame::Ping { token: 37 }),
        ("43 000001  25", Frame::Pong { token: 37 }),
        (
            // CLOSE of the carrier: normal, no retry-after, no detail
            "44 000003  00 00 00",
            Frame::Close {
                scope: CloseScope::Carrier,
                code: CloseCode::NORMAL,
                retry_after_millis: 0,
                detail: String::new(),
            },
        ),
        (
            // CLOSE of the session: too busy, again after 5,000 ms, "full"
            "44 000008  01 28 5388 66756c6c",
            Frame::Close {
                scope: CloseScope::Session,
                code: CloseCode::BUSY,
                retry_after_millis: 5000,
                detail: "full".to_owned(),
            },
        ),
        // ignorable and logged
        ("80 000000", Frame::Unknown { kind: 0x80 }),
        // ignorable and not logged
        ("c0 000000", Frame::Unknown { kind: 0xc0 }),
    ]
}

#[test]
fn every_code_is_specified() {
    for code in CloseCode::ALL.iter().map(|code| code.0).chain(StreamCode::ALL.iter().map(|code| code.0)) {
        assert!(SPECIFICATION.contains(&format!("| `{code:#04x}` |")), "code {code:#x}");
    }
}

#[test]
fn a_frame_stays_small() {
    // Queues hold frames by value; the rare large one is boxed.
    assert!(size_of::<Frame>() <= 64, "{}", size_of::<Frame>());
}
