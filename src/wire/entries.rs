//! The door through which fuzzing reaches the codec. Each function panics only when a law is broken.

use bytes::BytesMut;

use crate::wire::DecodeError;
use crate::wire::decoder::{Decoded, Decoder};
use crate::wire::encode::data_header;
use crate::wire::frame::Frame;
use crate::wire::hello::Hello;

/// Decodes bytes cut in two ways and compares; then writes each frame again and reads it back.
///
/// The first two bytes choose the cuts, the rest is the input.
pub fn fuzz_decoder(data: &[u8]) {
    let [first, second, input @ ..] = data else {
        return;
    };
    let whole = decode_in_pieces(input, &[input.len()]);
    let one = usize::from(*first) + 1;
    let other = usize::from(*second) * 7 + 1;
    assert_eq!(whole, decode_in_pieces(input, &[one, other]), "another cut, other frames");
    assert_eq!(whole, decode_in_pieces(input, &[1]), "byte by byte, other frames");

    let counted: u64 = whole.frames.iter().map(|decoded| decoded.logged_bytes).sum();
    assert!(counted <= input.len() as u64, "more counted than came");
    for decoded in whole.frames {
        same_again(decoded.frame);
    }
}

/// Reads a hello, writes it again and compares.
pub fn fuzz_hello(data: &[u8]) {
    let Ok(hello) = Hello::decode(data) else {
        return;
    };
    let mut payload = BytesMut::new();
    hello.encode(&mut payload);
    assert_eq!(Hello::decode(&payload), Ok(hello), "a hello read back is another");
}

/// What came of decoding an input.
#[derive(Debug, PartialEq)]
struct Outcome {
    frames: Vec<Decoded>,
    error: Option<DecodeError>,
    /// Whether a part of a frame was left.
    partial: bool,
}

/// Decodes an input cut into pieces of the given lengths, taken in turn.
fn decode_in_pieces(mut input: &[u8], lengths: &[usize]) -> Outcome {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for length in lengths.iter().cycle() {
        let (mut piece, rest) = input.split_at((*length).min(input.len()));
        input = rest;
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(decoded)) => frames.push(decoded),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.decode(&mut piece), Err(error), "an error was forgotten");
                    return Outcome { frames, error: Some(error), partial: false };
                }
            }
        }
        assert!(piece.is_empty(), "bytes left though a frame is incomplete");
        if input.is_empty() {
            break;
        }
    }
    Outcome { frames, error: None, partial: !decoder.is_empty() }
}

/// Writes a decoded frame and reads it back: it must be the same one.
fn same_again(frame: Frame) {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    if let Frame::Data { stream, payload } = &frame {
        let header = data_header(*stream, payload.len());
        let header = header.as_ref();
        assert_eq!(bytes[..header.len()], *header, "the two ways to write data differ");
        assert_eq!(bytes[header.len()..], **payload, "the two ways to write data differ");
    }
    let again = decode_in_pieces(&bytes, &[bytes.len()]);
    assert_eq!((again.error, again.partial), (None, false), "what was written is no frame");
    assert_eq!(again.frames.len(), 1, "one frame was written");
    assert_eq!(again.frames[0].frame, frame, "a frame read back is another");
}
