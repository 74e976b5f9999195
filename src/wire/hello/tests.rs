//! The golden vectors of the hello, and what makes one bad. Changing a vector changes the protocol.

use super::*;
use crate::wire::decoder::Decoder;
use crate::wire::frame::Frame;
use crate::wire::frame::tests::{SPECIFICATION, hex};
use crate::wire::kind::MAX_HELLO;

/// What the four vectors share, before and after the fields in which they differ.
const WHO_WEST: &str = "
    534c4e4b                                   # SLNK
    01 01 00                                   # features: none
    02 06 776573742d31                         # site id west-1
    03 04 77657374                             # site name west
    04 02 7231                                 # router r1
    05 10 000102030405060708090a0b0c0d0e0f     # instance
    06 01 00                                   # role inter-router
    07 04 65617374                             # link east
    08 02 6731                                 # group g1
    09 01 01                                   # cost 1
    0a 04 80004000                             # max streams 16,384
    0b 04 80004000                             # initial window 16,384
    0c 01 00                                   # ordinal 0
    0d 04 80007530                             # resume window 30,000 ms
";
const WHO_EAST: &str = "
    534c4e4b                                   # SLNK
    01 01 00                                   # features: none
    02 06 656173742d31                         # site id east-1
    03 04 65617374                             # site name east
    04 02 7231                                 # router r1
    05 10 101112131415161718191a1b1c1d1e1f     # instance
    06 01 00                                   # role inter-router
    09 01 0a                                   # cost 10
    0a 04 80004000                             # max streams 16,384
    0b 04 80010000                             # initial window 65,536
    0c 01 03                                   # ordinal 3
    0d 01 00                                   # resume window 0: none
";
const NEW: &str = "
    0e 01 00                                   # carrier 0
    0f 01 00                                   # session: new
";
const BEGUN: &str = "
    0e 01 00                                   # carrier 0
    0f 31 02                                   # session: begun
       202122232425262728292a2b2c2d2e2f        #   its id
       303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f  # its secret
";
const JOIN: &str = "
    0e 01 02                                   # carrier 2
    0f 31 01                                   # session: join
       202122232425262728292a2b2c2d2e2f        #   its id
       505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f  # the proof
    10 07 00 80010000 01 00                    # dead: carrier 0 after 65,536 bytes, 1 after none
";
const JOINED: &str = "
    0e 01 02                                   # carrier 2
    0f 11 03                                   # session: joined
       202122232425262728292a2b2c2d2e2f        #   its id
    10 03 00 7bbd                              # dead: carrier 0 after 15,293 bytes
";

fn bytes<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}

fn west(carrier: u32, session: SessionClaim, dead: &[(u32, u64)]) -> Hello {
    Hello {
        features: 0,
        site_id: SiteId::new("west-1").unwrap(),
        site_name: SiteName::new("west").unwrap(),
        router: RouterName::new("r1").unwrap(),
        instance: Instance(bytes(0)),
        role: LinkRole::InterRouter,
        link: LinkName::new("east").unwrap(),
        group: GroupName::new("g1").unwrap(),
        cost: Cost::DEFAULT,
        max_streams: 16_384,
        initial_window: 16_384,
        ordinal: Ordinal(0),
        resume_window: Duration::from_secs(30),
        carrier: CarrierNumber(carrier),
        session,
        dead: dead
            .iter()
            .map(|(number, received)| DeadCarrier { number: CarrierNumber(*number), received: *received })
            .collect(),
    }
}

fn east(carrier: u32, session: SessionClaim, dead: &[(u32, u64)]) -> Hello {
    Hello {
        site_id: SiteId::new("east-1").unwrap(),
        site_name: SiteName::new("east").unwrap(),
        instance: Instance(bytes(0x10)),
        link: LinkName::new("").unwrap(),
        group: GroupName::new("").unwrap(),
        cost: Cost::new(10).unwrap(),
        initial_window: 65_536,
        ordinal: Ordinal(3),
        resume_window: Duration::ZERO,
        ..west(carrier, session, dead)
    }
}

fn payload(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| hex(part)).collect()
}

/// The payload of a good hello with one field taken out and something put in its place.
fn with(tag: u8, replacement: &str) -> Vec<u8> {
    let text = [WHO_WEST, NEW].concat();
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{tag:02x} "))).unwrap();
    hex(&text.replace(line, replacement))
}

#[test]
fn every_claim_has_its_bytes() {
    let session = SessionId(bytes(0x20));
    let table = [
        (payload(&[WHO_WEST, NEW]), "000056", west(0, SessionClaim::New, &[])),
        (
            payload(&[WHO_EAST, BEGUN]),
            "000079",
            east(0, SessionClaim::Begun { session, secret: SessionSecret(bytes(0x30)) }, &[]),
        ),
        (
            payload(&[WHO_WEST, JOIN]),
            "00008f",
            west(2, SessionClaim::Join { session, proof: bytes(0x50) }, &[(0, 65_536), (1, 0)]),
        ),
        (payload(&[WHO_EAST, JOINED]), "00005e", east(2, SessionClaim::Joined { session }, &[(0, 15_293)])),
    ];
    for (payload, length, hello) in table {
        let golden = [vec![0x40], hex(length), payload].concat();
        let frame = Frame::Hello(Box::new(hello));
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        assert_eq!(bytes, golden, "{frame:?}");
        let decoded = Decoder::new().decode(&mut &*golden).unwrap().unwrap();
        assert_eq!((decoded.frame, decoded.logged_bytes), (frame, 0));
    }
}

#[test]
fn the_vectors_of_the_specification_are_these() {
    let (_, rest) = SPECIFICATION.split_once("\nHELLO. ").unwrap();
    let (lengths, rest) = rest.split_once("```text\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    for length in ["new* `40 000056`", "begun* `40 000079`", "join* `40 00008f`", "joined* `40 00005e`"] {
        let words: Vec<_> = lengths.split_whitespace().collect();
        assert!(words.join(" ").contains(length), "{length}");
    }
    let mut specified = Vec::new();
    for line in block.lines() {
        match line.strip_suffix(':') {
            Some(name) => specified.push((name, Vec::new())),
            None => specified.last_mut().unwrap().1.extend(hex(line)),
        }
    }
    let parts = [
        ("west", WHO_WEST),
        ("east", WHO_EAST),
        ("new", NEW),
        ("begun", BEGUN),
        ("join", JOIN),
        ("joined", JOINED),
    ];
    assert_eq!(specified, parts.map(|(name, part)| (name, hex(part))));
}

#[test]
fn fields_may_come_in_any_order_and_unknown_ones_are_skipped() {
    let reordered =
        [&hex(WHO_WEST)[..4], &hex(NEW), &hex("4abc 03 010203  11 00"), &hex(WHO_WEST)[4..]].concat();
    assert_eq!(Hello::decode(&reordered), Ok(west(0, SessionClaim::New, &[])));
}

#[test]
fn a_field_missing_twice_or_wrong_makes_a_bad_hello() {
    let required = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f];
    for tag in required {
        assert_eq!(Hello::decode(&with(tag, "")), Err(DecodeError::BadHello), "without {tag:#x}");
    }
    for (tag, optional) in [(0x07, "link"), (0x08, "group")] {
        assert!(Hello::decode(&with(tag, "")).is_ok(), "without its {optional}");
    }
    let table = [
        (0x01, "01 00"),                       // an empty number
        (0x01, "01 02 0000"),                  // something after it
        (0x01, "01 01 00  01 01 00"),          // twice
        (0x02, "02 00"),                       // an empty site id
        (0x03, "03 01 0a"),                    // a control character
        (0x04, "04 01 ff"),                    // not UTF-8
        (0x04, "04 01"),                       // longer than the hello
        (0x05, "05 01 00"),                    // an instance of another size
        (0x06, "06 01 02"),                    // no such role
        (0x07, "07 01 61  07 01 61"),          // twice
        (0x09, "09 01 00"),                    // a cost of 0
        (0x09, "09 08 c000000080000000"),      // a cost beyond 31 bits
        (0x0b, "0b 02 7fff"),                  // a window of 16,383
        (0x0e, "0e 08 c000000100000000"),      // a carrier beyond 32 bits
        (0x0f, "0f 00"),                       // no claim
        (0x0f, "0f 01 04"),                    // no such claim
        (0x0f, "0f 02 00 00"),                 // something after it
        (0x0f, "0f 01 01"),                    // a join of nothing
        (0x0f, "0f 01 00  10 01 00"),          // dead: half an entry
        (0x0f, "0f 01 00  10 04 00 00 00 01"), // dead: a carrier twice
        (0x0f, "0f 01 00  10 00 10 00"),       // dead twice
    ];
    for (tag, replacement) in table {
        assert_eq!(Hello::decode(&with(tag, replacement)), Err(DecodeError::BadHello), "{replacement}");
    }
    for no_hello in ["", "53", "534c4e", "534c4e4b", "00000000"] {
        assert_eq!(Hello::decode(&hex(no_hello)), Err(DecodeError::BadHello));
    }
}

#[test]
fn the_longest_hello_fits_and_one_more_dead_carrier_does_not_pass() {
    let dead: Vec<(u32, u64)> = (0..64).map(|n| (u32::MAX - n, varint::MAX)).collect();
    let long = "x".repeat(255);
    let hello = Hello {
        site_id: SiteId::new(&long).unwrap(),
        site_name: SiteName::new(&long).unwrap(),
        router: RouterName::new(&long).unwrap(),
        link: LinkName::new(&long).unwrap(),
        group: GroupName::new(&long).unwrap(),
        features: varint::MAX,
        max_streams: varint::MAX,
        initial_window: varint::MAX,
        ordinal: Ordinal(varint::MAX),
        ..west(u32::MAX, SessionClaim::Join { session: SessionId([1; 16]), proof: [2; 32] }, &dead)
    };
    let mut payload = BytesMut::new();
    hello.encode(&mut payload);
    assert!(payload.len() < MAX_HELLO * 3 / 4, "{} bytes", payload.len());
    assert_eq!(Hello::decode(&payload), Ok(hello));

    let mut list = BytesMut::new();
    for number in 0..=64 {
        varint::encode(number, &mut list);
        varint::encode(0, &mut list);
    }
    let mut payload = BytesMut::from(&payload_of_new()[..]);
    field(tag::DEAD, &list, &mut payload);
    assert_eq!(Hello::decode(&payload), Err(DecodeError::BadHello));
}

fn payload_of_new() -> Vec<u8> {
    payload(&[WHO_WEST, NEW])
}

#[test]
fn a_resume_window_beyond_an_hour_is_taken_as_an_hour() {
    for beyond in ["0d 04 8036ee81", "0d 08 ffffffffffffffff"] {
        let hello = Hello::decode(&with(0x0d, beyond)).unwrap();
        assert_eq!(hello.resume_window, Duration::from_secs(3600));
    }
}

#[test]
fn a_secret_is_never_printed() {
    let claim = SessionClaim::Begun { session: SessionId([1; 16]), secret: SessionSecret([0xab; 32]) };
    let text = format!("{claim:?}");
    assert!(text.ends_with("secret: SessionSecret(..) }"), "{text}");
}
