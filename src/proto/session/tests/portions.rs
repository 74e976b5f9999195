//! What is read at once and handed over in portions, each answered before the next, as the driver does it.

use super::*;

/// All that a session has to say, as bytes.
fn said(session: &mut Session, now: Instant, carrier: CarrierNumber) -> Vec<u8> {
    let batches =
        std::iter::from_fn(|| Some(batch(session, now, carrier)).filter(|pieces| !pieces.is_empty()));
    batches.flatten().flat_map(|piece| [piece.head(), piece.payload()].concat()).collect()
}

fn decode_all(decoder: &mut Decoder, mut input: &[u8]) -> Vec<Decoded> {
    std::iter::from_fn(|| decoder.decode(&mut input).unwrap()).collect()
}

#[test]
fn single_bytes_that_come_by_dozens_and_are_echoed_in_portions_do_not_end_a_session_as_a_flood() {
    // Of 49 frames the second portion of 32 leaves one: three answers, each of which could acknowledge what it answers.
    const STREAMS: usize = 49;
    // Each such acknowledgement costs its sender a token, and the whole answer earns the other end one.
    const TICKS: u64 = flood::CAPACITY + 1000;
    let mut pair = Pair::new();
    let streams: Vec<_> = (0..STREAMS).map(|_| pair.open()).collect();
    for _ in 0..TICKS {
        let Pair { now, dialer, acceptor, carrier, decoders } = &mut pair;
        for (near, _) in &streams {
            dialer.write(*near, Bytes::from_static(b"x")).unwrap();
        }
        let asked = said(dialer, *now, *carrier);
        acceptor.handle_bytes(*now, *carrier, asked.len());
        let (mut frames, mut portion) = (decode_all(&mut decoders[0], &asked), 16);
        while !frames.is_empty() {
            let next = portion.min(frames.len());
            acceptor.handle_frames(*now, *carrier, frames.drain(..next));
            acceptor.frames_wait(*now, *carrier, !frames.is_empty());
            for (_, far) in &streams {
                if !read_all(acceptor, *now, *far).is_empty() {
                    acceptor.write(*far, Bytes::from_static(b"x")).unwrap();
                }
            }
            let answered = said(acceptor, *now, *carrier);
            dialer.handle_bytes(*now, *carrier, answered.len());
            dialer.handle_frames(*now, *carrier, decode_all(&mut decoders[1], &answered).into_iter());
            portion *= 2;
        }
        assert_eq!((dialer.ended(), acceptor.ended()), (None, None));
        for (near, _) in &streams {
            assert_eq!(read_all(dialer, *now, *near), b"x");
        }
    }
}
