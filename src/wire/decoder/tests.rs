use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::id::{CarrierNumber, Cost, Instance, LinkRole, Ordinal, RoutingKey, SessionId};
use crate::wire::code::{CloseCode, StreamCode};
use crate::wire::frame::{CloseScope, ControlChange, OpenTo};
use crate::wire::hello::{DeadCarrier, Hello, SessionClaim, SessionSecret};
use crate::wire::{MAX_DETAIL, MAX_METADATA, MAX_PAYLOAD, entries};

/// Decodes an input cut as said until it ends or fails.
fn decode(mut input: &[u8], cuts: &[usize]) -> (Vec<Decoded>, Result<bool, DecodeError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    let mut cuts = cuts.iter().cycle();
    while !input.is_empty() {
        let (mut piece, rest) = input.split_at((*cuts.next().unwrap()).min(input.len()));
        input = rest;
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(decoded)) => frames.push(decoded),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (frames, Ok(decoder.is_empty()))
}

fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = payload.len().to_be_bytes();
    [&[kind, a, b, c], payload].concat()
}

fn refused(kind: u8, payload: &[u8]) -> DecodeError {
    let bytes = raw(kind, payload);
    let whole = decode(&bytes, &[bytes.len()]);
    assert_eq!(whole, decode(&bytes, &[1]), "kind {kind:#x}");
    assert_eq!(whole.0, []);
    whole.1.expect_err("refused")
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..64u64, 64..16_384u64, 16_384..=varint::MAX, Just(varint::MAX)]
}

fn stream() -> impl Strategy<Value = StreamId> {
    number().prop_map(StreamId)
}

fn name<T: for<'a> TryFrom<&'a str, Error: std::fmt::Debug> + std::fmt::Debug>(
    pattern: &'static str,
) -> impl Strategy<Value = T> {
    pattern.prop_map(|text| T::try_from(text.as_str()).unwrap())
}

fn key() -> impl Strategy<Value = RoutingKey> {
    prop_oneof![name("[a-zé🦀]{1,40}"), name("x{255}")]
}

fn code() -> impl Strategy<Value = StreamCode> {
    any::<u32>().prop_map(StreamCode)
}

fn cost() -> impl Strategy<Value = Cost> {
    (1..=Cost::MAX).prop_map(|cost| Cost::new(cost).unwrap())
}

fn change() -> impl Strategy<Value = ControlChange> {
    prop_oneof![
        key().prop_map(ControlChange::Serve),
        key().prop_map(ControlChange::Withdraw),
        cost().prop_map(ControlChange::Cost),
        Just(ControlChange::Drain),
        any::<bool>().prop_map(ControlChange::Active),
    ]
}

fn claim() -> impl Strategy<Value = SessionClaim> {
    let session = || any::<[u8; 16]>().prop_map(SessionId);
    prop_oneof![
        Just(SessionClaim::New),
        (session(), any::<[u8; 32]>()).prop_map(|(session, proof)| SessionClaim::Join { session, proof }),
        (session(), any::<[u8; 32]>())
            .prop_map(|(session, secret)| SessionClaim::Begun { session, secret: SessionSecret(secret) }),
        session().prop_map(|session| SessionClaim::Joined { session }),
    ]
}

fn dead() -> impl Strategy<Value = Vec<DeadCarrier>> {
    proptest::collection::btree_map(any::<u32>(), number(), 0..=64).prop_map(|counts| {
        let carrier = |(number, received)| DeadCarrier { number: CarrierNumber(number), received };
        counts.into_iter().map(carrier).collect()
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    let who =
        (name("[a-z]{1,36}"), name("[ -~é🦀]{1,40}"), name("[a-z]{1,63}"), any::<[u8; 16]>(), any::<bool>());
    let link = (name("[a-z]{0,63}"), name("[a-z]{0,63}"), cost(), number());
    let numbers = (number(), number(), 16_384..=varint::MAX, number(), 0..=3_600_000u64, any::<u32>());
    (who, link, numbers, claim(), dead()).prop_map(|(who, link, numbers, session, dead)| Hello {
        features: numbers.0,
        site_id: who.0,
        site_name: who.1,
        router: who.2,
        instance: Instance(who.3),
        role: if who.4 { LinkRole::Edge } else { LinkRole::InterRouter },
        link: link.0,
        group: link.1,
        cost: link.2,
        max_streams: numbers.1,
        initial_window: numbers.2,
        ordinal: Ordinal(numbers.3),
        resume_window: Duration::from_millis(numbers.4),
        carrier: CarrierNumber(numbers.5),
        session,
        dead,
    })
}

fn bytes(range: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), range).prop_map(Bytes::from)
}

fn stream_frame() -> impl Strategy<Value = Frame> {
    let destination = prop_oneof![key().prop_map(OpenTo::Key), Just(OpenTo::Site)];
    prop_oneof![
        (stream(), destination, prop_oneof![bytes(0..=40), bytes(MAX_METADATA..=MAX_METADATA)])
            .prop_map(|(stream, destination, metadata)| Frame::Open { stream, destination, metadata }),
        stream().prop_map(|stream| Frame::Accept { stream }),
        (stream(), code()).prop_map(|(stream, code)| Frame::Refuse { stream, code }),
        (stream(), prop_oneof![bytes(1..=100), bytes(16_000..=MAX_PAYLOAD - 8)])
            .prop_map(|(stream, payload)| Frame::Data { stream, payload }),
        (stream(), number()).prop_map(|(stream, total)| Frame::Finish { stream, total }),
        (stream(), code()).prop_map(|(stream, code)| Frame::Reset { stream, code }),
        (stream(), code()).prop_map(|(stream, code)| Frame::Stop { stream, code }),
        (stream(), number()).prop_map(|(stream, limit)| Frame::Credit { stream, limit }),
        (stream(), number()).prop_map(|(stream, limit)| Frame::Shrink { stream, limit }),
        (stream(), number()).prop_map(|(stream, limit)| Frame::Kept { stream, limit }),
        number().prop_map(|limit| Frame::MaxStreams { limit }),
    ]
}

fn session_frame() -> impl Strategy<Value = Frame> {
    let scope = prop_oneof![Just(CloseScope::Carrier), Just(CloseScope::Session)];
    prop_oneof![
        (number(), change()).prop_map(|(sequence, change)| Frame::Control { sequence, change }),
        (any::<u32>(), number())
            .prop_map(|(carrier, received)| Frame::CarrierDead { carrier: CarrierNumber(carrier), received }),
        any::<u32>().prop_map(|carrier| Frame::Retire { carrier: CarrierNumber(carrier) }),
        (any::<u32>(), any::<u32>(), number()).prop_map(|(carrier, code, deadline_millis)| {
            Frame::RequestCarrier { carrier: CarrierNumber(carrier), code: CloseCode(code), deadline_millis }
        }),
        hello().prop_map(|hello| Frame::Hello(Box::new(hello))),
        (number(), number()).prop_map(|(received, delay_micros)| Frame::Ack { received, delay_micros }),
        number().prop_map(|token| Frame::Ping { token }),
        number().prop_map(|token| Frame::Pong { token }),
        (scope, any::<u32>(), number(), "[a-zé ]{0,60}").prop_map(
            |(scope, code, retry_after_millis, detail)| {
                Frame::Close { scope, code: CloseCode(code), retry_after_millis, detail }
            }
        ),
        (0x80..=0xffu8).prop_map(|kind| Frame::Unknown { kind }),
    ]
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    vec(prop_oneof![2 => stream_frame(), 1 => session_frame()], 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn frames_cut_anyhow_come_out_as_they_went_in(frames in frames(), cuts in vec(1..3000usize, 1..20)) {
        let mut bytes = BytesMut::new();
        let mut lengths = Vec::new();
        for frame in &frames {
            let before = bytes.len();
            frame.encode(&mut bytes);
            lengths.push((bytes.len() - before) as u64);
        }
        let (decoded, end) = decode(&bytes, &cuts);
        prop_assert_eq!(end, Ok(true));
        prop_assert_eq!(decoded.len(), frames.len());
        for ((decoded, frame), length) in decoded.iter().zip(&frames).zip(lengths) {
            prop_assert_eq!(&decoded.frame, frame);
            let logged = kind::is_logged(frame.kind());
            prop_assert_eq!(decoded.logged_bytes, if logged { length } else { 0 });
        }
    }

    #[test]
    fn garbage_breaks_no_law(data in vec(any::<u8>(), 0..300)) {
        entries::fuzz_decoder(&data);
        entries::fuzz_hello(&data);
    }

    #[test]
    fn damaged_frames_break_no_law(
        frames in frames(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cuts in any::<[u8; 2]>(),
    ) {
        let mut data = BytesMut::from(&cuts[..]);
        frames.iter().for_each(|frame| frame.encode(&mut data));
        for (at, byte) in damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        entries::fuzz_decoder(&data);
    }
}

#[test]
fn one_byte_beyond_its_limit_refuses_a_frame_by_its_header_alone() {
    let table = [
        (kind::OPEN, 8 + 2 + 255 + 4096),
        (kind::ACCEPT, 8),
        (kind::REFUSE, 16),
        (kind::DATA, MAX_PAYLOAD),
        (kind::FINISH, 16),
        (kind::RESET, 16),
        (kind::STOP, 16),
        (kind::CREDIT, 16),
        (kind::MAX_STREAMS, 8),
        (kind::CONTROL, 8 + 1 + 255),
        (kind::CARRIER_DEAD, 16),
        (kind::SHRINK, 16),
        (kind::KEPT, 16),
        (kind::RETIRE, 8),
        (kind::REQUEST_CARRIER, 24),
        (kind::HELLO, 4096),
        (kind::ACK, 16),
        (kind::PING, 8),
        (kind::PONG, 8),
        (kind::CLOSE, 17 + MAX_DETAIL),
        (0x80, MAX_PAYLOAD),
        (0xff, MAX_PAYLOAD),
    ];
    for (kind, limit) in table {
        let header = |length: usize| raw(kind, &vec![0; length])[..HEADER].to_vec();
        let (none, at_limit) = decode(&header(limit), &[1]);
        assert_eq!((none, at_limit), (vec![], Ok(false)), "kind {kind:#x} at its limit");
        for cuts in [1, HEADER] {
            let (none, beyond) = decode(&header(limit + 1), &[cuts]);
            assert_eq!((none, beyond), (vec![], Err(DecodeError::TooLarge)), "kind {kind:#x} beyond");
        }
        let (_, huge) = decode(&[kind, 0xff, 0xff, 0xff], &[HEADER]);
        assert_eq!(huge, Err(DecodeError::TooLarge));
    }
}

#[test]
fn an_unknown_kind_is_skipped_only_when_its_bit_says_so() {
    for kind in [0x00, 0x10, 0x3f, 0x45, 0x7f] {
        assert_eq!(refused(kind, b"x"), DecodeError::UnknownKind, "kind {kind:#x}");
    }
    for (kind, logged_bytes) in [(0x80, 4 + 300), (0xbf, 4 + 300), (0xc0, 0), (0xff, 0)] {
        let mut bytes = raw(kind, &[7; 300]);
        bytes.extend(raw(kind::PING, &[1]));
        for cut in [1, 5, bytes.len()] {
            let (frames, end) = decode(&bytes, &[cut]);
            assert_eq!(end, Ok(true));
            assert_eq!(frames[0], Decoded { frame: Frame::Unknown { kind }, logged_bytes });
            assert_eq!(frames[1].frame, Frame::Ping { token: 1 });
        }
    }
}

#[test]
fn a_payload_that_is_not_what_its_kind_holds_is_malformed() {
    let table: &[(u8, &[u8])] = &[
        (kind::OPEN, &[]),
        (kind::OPEN, &[0]),                             // no destination
        (kind::OPEN, &[0, 2]),                          // no such destination
        (kind::OPEN, &[0, 0]),                          // no key
        (kind::OPEN, &[0, 0, 0]),                       // an empty key
        (kind::OPEN, &[0, 0, 2, b'k']),                 // a key cut short
        (kind::OPEN, &[0, 0, 1, b'\n']),                // a control character
        (kind::OPEN, &[0, 0, 1, 0xff]),                 // not UTF-8
        (kind::ACCEPT, &[]),                            // no stream
        (kind::ACCEPT, &[0x40]),                        // a number cut short
        (kind::ACCEPT, &[0, 0]),                        // something after the end
        (kind::REFUSE, &[0]),                           // no code
        (kind::RESET, &[0, 0xc0, 0, 0, 1, 0, 0, 0, 0]), // a code beyond 32 bits
        (kind::STOP, &[0, 0, 0]),
        (kind::DATA, &[]),           // no stream
        (kind::DATA, &[0]),          // no data
        (kind::DATA, &[0x40, 0]),    // no data after a longer id
        (kind::DATA, &[0xc0, 0, 0]), // an id cut short
        (kind::FINISH, &[0]),        // no total
        (kind::FINISH, &[0, 0, 0]),
        (kind::CREDIT, &[0]),
        (kind::CREDIT, &[0, 0, 0]),
        (kind::MAX_STREAMS, &[]),
        (kind::MAX_STREAMS, &[0, 0]),
        (kind::CONTROL, &[0]),    // no change
        (kind::CONTROL, &[0, 5]), // no such change
        (kind::CONTROL, &[0, 0]), // an empty key
        (kind::CONTROL, &[0, 1, b'\0']),
        (kind::CONTROL, &[0, 2]),                               // no cost
        (kind::CONTROL, &[0, 2, 0]),                            // a cost of 0
        (kind::CONTROL, &[0, 2, 0xc0, 0, 0, 0, 0x80, 0, 0, 0]), // a cost beyond 31 bits
        (kind::CONTROL, &[0, 2, 1, 0]),
        (kind::CONTROL, &[0, 3, 0]),
        (kind::CONTROL, &[0, 4]),
        (kind::CONTROL, &[0, 4, 2]), // neither active nor on standby
        (kind::CONTROL, &[0, 4, 1, 0]),
        (kind::SHRINK, &[0]),
        (kind::KEPT, &[0, 0, 0]),
        (kind::CARRIER_DEAD, &[0]),
        (kind::CARRIER_DEAD, &[0xc0, 0, 0, 1, 0, 0, 0, 0, 0]), // a carrier beyond 32 bits
        (kind::RETIRE, &[]),
        (kind::RETIRE, &[0, 0]),
        (kind::RETIRE, &[0xc0, 0, 0, 1, 0, 0, 0, 0]), // a carrier beyond 32 bits
        (kind::REQUEST_CARRIER, &[0, 3]),             // no deadline
        (kind::REQUEST_CARRIER, &[0, 0xc0, 0, 0, 1, 0, 0, 0, 0, 0]), // a code beyond 32 bits
        (kind::REQUEST_CARRIER, &[0, 3, 0, 0]),
        (kind::ACK, &[0]),
        (kind::ACK, &[0, 0, 0]),
        (kind::PING, &[]),
        (kind::PONG, &[0, 0]),
        (kind::CLOSE, &[]),
        (kind::CLOSE, &[2, 0, 0]), // no such scope
        (kind::CLOSE, &[0, 0]),    // no retry-after
    ];
    for (kind, payload) in table {
        assert_eq!(refused(*kind, payload), DecodeError::Malformed, "kind {kind:#x} {payload:x?}");
    }
}

#[test]
fn a_part_longer_than_it_may_be_is_too_large_though_the_frame_is_not() {
    let metadata = [&[0, 1][..], &[0; MAX_METADATA + 1]].concat();
    assert_eq!(refused(kind::OPEN, &metadata), DecodeError::TooLarge);
    let detail = [&[0, 0, 0][..], &[b'x'; MAX_DETAIL + 1]].concat();
    assert_eq!(refused(kind::CLOSE, &detail), DecodeError::TooLarge);
}

#[test]
fn a_close_keeps_its_code_whatever_its_text() {
    let payload = [&[1, 0x10, 0][..], b"a\x1b[2J\n\xff\xc2\x85\xe2\x82z"].concat();
    let (frames, end) = decode(&raw(kind::CLOSE, &payload), &[usize::MAX]);
    assert_eq!(end, Ok(true));
    assert_eq!(
        frames[0].frame,
        Frame::Close {
            scope: CloseScope::Session,
            code: CloseCode::MALFORMED,
            retry_after_millis: 0,
            detail: "a?[2J????z".to_owned(),
        }
    );
}

#[test]
fn a_long_detail_is_cut_between_characters() {
    let close = |detail: String| Frame::Close {
        scope: CloseScope::Carrier,
        code: CloseCode::NORMAL,
        retry_after_millis: 0,
        detail,
    };
    let mut bytes = BytesMut::new();
    close(format!("x{}", "é".repeat(60))).encode(&mut bytes);
    let (frames, _) = decode(&bytes, &[usize::MAX]);
    assert_eq!(frames[0].frame, close(format!("x{}", "é".repeat(59))));
}

#[test]
fn after_an_error_nothing_is_decoded_any_more() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.decode(&mut &[0x3f, 0, 0, 0][..]), Err(DecodeError::UnknownKind));
    assert_eq!(decoder.decode(&mut &raw(kind::PING, &[1])[..]), Err(DecodeError::UnknownKind));
    assert!(!decoder.is_empty());
}

#[test]
fn a_cut_frame_is_told_from_a_clean_end() {
    let bytes = raw(kind::DATA, b"\x00hello");
    for cut in 0..=bytes.len() {
        let mut decoder = Decoder::new();
        let decoded = decoder.decode(&mut &bytes[..cut]).unwrap();
        assert_eq!(decoder.is_empty(), cut == 0 || decoded.is_some(), "cut at {cut}");
    }
}

#[test]
fn a_split_data_frame_is_held_in_a_buffer_of_its_exact_size() {
    let bytes = raw(kind::DATA, &[&[0x40, 0x40][..], &[9; 5000]].concat());
    let mut decoder = Decoder::new();
    assert_eq!(decoder.decode(&mut &bytes[..1000]), Ok(None));
    let State::DataPayload { bytes: held, length, .. } = &decoder.state else {
        panic!("{decoder:?}");
    };
    assert_eq!((held.len(), held.capacity(), *length), (1000 - 6, 5000, 5000));
}

#[test]
fn a_data_frame_written_in_two_parts_is_the_frame() {
    for id in [0, 63, 64, 16_383, 16_384, 1 << 30, varint::MAX] {
        let stream = StreamId(id);
        let longest = crate::wire::encode::max_data(stream);
        for length in [1, 100, longest] {
            let payload = Bytes::from(vec![5; length]);
            let mut parts = BytesMut::new();
            parts.put_slice(crate::wire::encode::data_header(stream, length).as_ref());
            assert_eq!(parts.len(), crate::wire::encode::data_overhead(stream));
            parts.put_slice(&payload);
            let mut whole = BytesMut::new();
            Frame::Data { stream, payload }.encode(&mut whole);
            assert_eq!(parts, whole);
        }
        assert_eq!(crate::wire::encode::data_overhead(stream) + longest, 16_384);
    }
}
