//! What the far end says: frames that are right, or wrong on purpose.

use bytes::{Bytes, BytesMut};

use super::{FarStream, World, key, script};
use crate::id::{CarrierNumber, Cost, Side, StreamId};
use crate::proto::session::entries::Input;
use crate::wire::MIN_WINDOW;
use crate::wire::code::{CloseCode, StreamCode};
use crate::wire::frame::{CloseScope, ControlChange, Frame, OpenTo};

impl World {
    pub(super) fn send_frame(&mut self, operation: u8, input: &mut Input<'_>) {
        let index = input.below(self.carriers.len());
        let Some(frame) = self.frame(operation, index, input) else { return };
        self.send(index, &frame);
        self.last = Some((index, frame));
    }

    pub(super) fn send(&mut self, index: usize, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.deliver(index, &bytes);
    }

    pub(super) fn send_again(&mut self, times: usize) {
        let Some((index, frame)) = self.last.take() else { return };
        for _ in 0..times {
            if self.session.ended().is_some() {
                break;
            }
            self.send(index, &frame);
        }
        self.last = Some((index, frame));
    }

    /// A known stream, or any at all.
    pub(super) fn stream(&self, input: &mut Input<'_>) -> StreamId {
        match input.byte() {
            240.. => StreamId(input.number()),
            choice => {
                let known = usize::from(choice) % self.streams.len().max(1);
                self.streams.keys().nth(known).copied().unwrap_or(StreamId(0))
            }
        }
    }

    pub(super) fn frame(&mut self, operation: u8, index: usize, input: &mut Input<'_>) -> Option<Frame> {
        Some(match operation {
            script::OPEN => self.open_frame(input),
            script::ACCEPTED => Frame::Accept { stream: self.stream(input) },
            script::REFUSED => Frame::Refuse { stream: self.stream(input), code: StreamCode::BUSY },
            script::SEND => self.data_frame(input),
            script::FINISH => {
                let stream = self.stream(input);
                let sent = self.streams.get(&stream).map_or(0, |far| far.sent);
                let total = if input.byte() >= 240 { input.number() } else { sent };
                Frame::Finish { stream, total }
            }
            script::RESET => {
                Frame::Reset { stream: self.stream(input), code: StreamCode(u32::from(input.byte())) }
            }
            script::STOP => {
                Frame::Stop { stream: self.stream(input), code: StreamCode(u32::from(input.byte())) }
            }
            script::CREDIT => {
                let (stream, limit) = (self.stream(input), input.number());
                let far = self.streams.entry(stream).or_default();
                far.granted = far.granted.max(limit);
                Frame::Credit { stream, limit }
            }
            script::WINDOW => {
                let (stream, answers) = (self.stream(input), input.bool());
                let far = self.streams.entry(stream).or_default();
                let limit = match input.byte() {
                    192.. => input.number(),
                    choice if answers => far.allowed.max(far.sent).min(far.sent + (u64::from(choice) << 9)),
                    choice => u64::from(choice) << 10,
                };
                if answers { Frame::Kept { stream, limit } } else { Frame::Shrink { stream, limit } }
            }
            script::MAX_STREAMS => Frame::MaxStreams { limit: input.number() },
            script::CONTROL => self.control_frame(input),
            script::CARRIER_DEAD => {
                let count = self.dead_list(input).into_iter().next()?;
                Frame::CarrierDead { carrier: count.number, received: count.received }
            }
            script::RETIRE => Frame::Retire { carrier: CarrierNumber(u32::from(input.byte())) },
            script::REQUEST => Frame::RequestCarrier {
                carrier: CarrierNumber(u32::from(input.byte())),
                code: CloseCode(u32::from(input.byte())),
                deadline_millis: input.number(),
            },
            script::ACK => {
                let far = self.carriers.get(index)?;
                let received = match input.byte() {
                    250.. => input.number(),
                    back => far.ends[far.ends.len().saturating_sub(usize::from(back) + 1)],
                };
                Frame::Ack { received, delay_micros: input.number() }
            }
            script::PING => Frame::Ping { token: input.number() },
            script::PONG => Frame::Pong { token: input.number() },
            script::UNKNOWN => Frame::Unknown { kind: 0x80 | input.byte() },
            script::CLOSE => Frame::Close {
                scope: if input.bool() { CloseScope::Session } else { CloseScope::Carrier },
                code: CloseCode(u32::from(input.byte())),
                retry_after_millis: 0,
                detail: String::new(),
            },
            _ => return None,
        })
    }

    pub(super) fn open_frame(&mut self, input: &mut Input<'_>) -> Frame {
        let stream = match input.byte() {
            240.. => self.stream(input),
            ahead => {
                let index = self.next_stream + u64::from(ahead >> 6);
                self.next_stream = index + 1;
                StreamId(index * 2 + u64::from(self.side == Side::Dialer))
            }
        };
        let destination = match input.byte() {
            0..128 => OpenTo::Site,
            name => OpenTo::Key(key(name)),
        };
        self.streams
            .insert(stream, FarStream { allowed: MIN_WINDOW, granted: MIN_WINDOW, ..FarStream::default() });
        Frame::Open { stream, destination, metadata: Bytes::from(vec![0; usize::from(input.byte()) * 16]) }
    }

    pub(super) fn data_frame(&mut self, input: &mut Input<'_>) -> Frame {
        let stream = self.stream(input);
        let far = self.streams.entry(stream).or_default();
        let wanted = 1 + (usize::from(input.byte()) << 6);
        let room = usize::try_from(far.allowed.saturating_sub(far.sent)).unwrap_or(usize::MAX);
        let len = if input.byte() >= 240 { wanted } else { wanted.min(room).max(1) };
        far.sent += len as u64;
        Frame::Data { stream, payload: Bytes::from(vec![0; len.min(MAX_LEN)]) }
    }

    pub(super) fn control_frame(&mut self, input: &mut Input<'_>) -> Frame {
        let sequence = match input.byte() {
            240.. => input.number(),
            ahead => {
                self.sequence += 1;
                self.sequence - 1 + u64::from(ahead >> 6)
            }
        };
        let change = match input.below(5) {
            0 => ControlChange::Serve(key(input.byte())),
            1 => ControlChange::Withdraw(key(input.byte())),
            2 => ControlChange::Cost(Cost::new(u32::from(input.byte()) + 1).unwrap_or(Cost::DEFAULT)),
            3 => ControlChange::Active(input.bool()),
            _ => ControlChange::Drain,
        };
        Frame::Control { sequence, change }
    }
}

/// The longest data frame whatever the stream's id.
const MAX_LEN: usize = 16_000;
