//! The network: connections that carry bytes until they are cut, and hellos on their way.

use std::task::Waker;

use bytes::Bytes;

use super::{ACCEPTOR, Connection, DIALER, Join, Pipe, World};
use crate::error::CarrierEnd;
use crate::id::CarrierNumber;
use crate::proto::session::Transmit;
use crate::wire::code::CloseCode;

impl World {
    /// The driver of one end writes a batch.
    pub(super) fn transmit(&mut self, index: usize, end: usize) -> bool {
        let Some(connection) = self.connections.get_mut(index).filter(|connection| connection.is_up(end))
        else {
            return false;
        };
        let mut out = Vec::new();
        let said = self.ends[end].session.poll_transmit(self.now, connection.number, &mut out, Waker::noop());
        match said {
            Transmit::Batch | Transmit::Last | Transmit::Farewell => {
                let peer = &mut connection.pipes[1 - end];
                // What an end writes after the other has let go of the connection comes nowhere.
                if connection.open[1 - end] {
                    for piece in &out {
                        peer.bytes.extend(piece.head());
                        peer.bytes.extend(&piece.payload()[..]);
                    }
                }
                if said == Transmit::Farewell {
                    // A carrier that was retired: what comes after its close is dropped.
                    let number = connection.number;
                    connection.open[end] = false;
                    self.ends[end].session.handle_carrier_lost(self.now, number, CarrierEnd::Eof);
                }
                true
            }
            Transmit::Idle => false,
            // The session holds it dead; its driver drops the connection.
            Transmit::Gone | Transmit::Fenced => {
                connection.open[end] = false;
                false
            }
        }
    }

    /// Up to `count` bytes arrive at one end.
    pub(super) fn deliver(&mut self, index: usize, end: usize, count: usize) -> bool {
        let Some(connection) = self.connections.get_mut(index).filter(|connection| connection.is_up(end))
        else {
            return false;
        };
        let pipe = &mut connection.pipes[end];
        let count = count.min(pipe.bytes.len());
        let bytes: Vec<u8> = pipe.bytes.drain(..count).collect();
        let mut input = &bytes[..];
        let mut frames = Vec::new();
        while let Some(decoded) = pipe.decoder.decode(&mut input).expect("what was sent is no frame") {
            frames.push(decoded);
        }
        if count > 0 {
            let session = &mut self.ends[end].session;
            session.handle_bytes(self.now, connection.number, count);
            session.handle_frames(self.now, connection.number, frames.drain(..));
        }
        count > 0
    }

    /// One end loses a connection. With `hard`, what was on the way to the other is lost, too.
    pub(super) fn cut(&mut self, hard: bool, index: usize, end: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let number = connection.number;
        if hard {
            connection.pipes.iter_mut().for_each(|pipe| pipe.bytes.clear());
        }
        if std::mem::replace(&mut connection.open[end], false) {
            self.ends[end].session.handle_carrier_lost(self.now, number, CarrierEnd::Eof);
        }
        // With the connection goes the answer on its way, or who waits for it.
        let unanswered = self.joins.iter().position(|join| join.number == number);
        if let Some(index) = unanswered.filter(|_| hard || end == DIALER) {
            self.give_up(index);
        }
    }

    /// One end leaves a connection in good order.
    pub(super) fn retire(&mut self, index: usize, end: usize) {
        let Some(connection) = self.connections.get(index).filter(|connection| connection.is_up(end)) else {
            return;
        };
        self.ends[end].session.retire_carrier(self.now, connection.number, CloseCode::REPLACED);
    }

    pub(super) fn join(&mut self) {
        let unsettled = self.ends.iter().map(|end| end.session.fallen.len()).sum::<usize>();
        // Beyond its bound on unsettled carriers a session ends, and rightly so.
        if unsettled + self.joins.len() >= MAX_UNSETTLED || self.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        let (number, dead) = self.ends[DIALER].session.prepare_join();
        self.joins.push(Join { number, dead, answer: None, wanted: true });
    }

    /// A joining hello comes to the acceptor, in time or not.
    pub(super) fn arrive(&mut self, index: usize) {
        let Some(join) = self.joins.get_mut(index).filter(|join| join.answer.is_none()) else { return };
        let mut answer = None;
        let greet = |counts| {
            answer = Some(counts);
            Bytes::new()
        };
        let joined = self.ends[ACCEPTOR].session.handle_join(self.now, join.number, &join.dead, greet);
        if joined.is_err() {
            // Refused: a later number was faster.
            return self.give_up_for_good(index);
        }
        let connection = Connection {
            number: join.number,
            pipes: <[Pipe; 2]>::default(),
            open: [join.wanted, true],
            answered: false,
        };
        self.connections.push(connection);
        join.answer = answer;
        if !join.wanted {
            self.joins.remove(index);
        }
    }

    /// The acceptor's hello comes to the dialer.
    pub(super) fn answer(&mut self, index: usize) {
        let answered = |join: &&Join| join.answer.is_some();
        if self.joins.get(index).filter(answered).is_none() {
            return;
        }
        let join = self.joins.remove(index);
        let connection = self.connection(join.number);
        self.connections[connection].answered = true;
        let dead = join.answer.unwrap_or_default();
        let up = self.ends[DIALER].session.handle_carrier_up(self.now, join.number, &dead);
        if up.is_err() {
            // The acceptor gave the carrier up, and said so over another, before its answer came.
            self.cut(false, connection, DIALER);
        }
    }

    /// The dialer waits no longer. A hello on its way may still arrive.
    pub(super) fn give_up(&mut self, index: usize) {
        let Some(join) = self.joins.get_mut(index).filter(|join| join.wanted) else { return };
        join.wanted = false;
        let (number, answered) = (join.number, join.answer.is_some());
        self.ends[DIALER].session.handle_join_failed(self.now, number);
        if answered {
            self.joins.remove(index);
            let index = self.connection(number);
            self.connections[index].open[DIALER] = false;
        }
    }

    pub(super) fn connection(&self, number: CarrierNumber) -> usize {
        let position = self.connections.iter().position(|connection| connection.number == number);
        position.expect("an admitted hello has a connection")
    }

    pub(super) fn give_up_for_good(&mut self, index: usize) {
        let number = self.joins[index].number;
        self.give_up(index);
        self.joins.retain(|join| join.number != number);
    }

    pub(super) fn join_at_once(&mut self) {
        let (number, dead) = self.ends[DIALER].session.prepare_join();
        self.joins.push(Join { number, dead, answer: None, wanted: true });
        self.arrive(self.joins.len() - 1);
        self.answer(self.joins.len() - 1);
    }
}

impl Connection {
    /// Whether an end reads and writes frames on it: the dialer does so once it has read the answer.
    fn is_up(&self, end: usize) -> bool {
        self.open[end] && (end == ACCEPTOR || self.answered)
    }
}

/// Connections of one input.
const MAX_CONNECTIONS: usize = 64;

/// Unsettled carriers, those being tried included: half of what a session takes.
const MAX_UNSETTLED: usize = 32;
