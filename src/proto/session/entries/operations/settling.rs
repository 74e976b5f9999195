//! The laws that hold after every step, and when all is done.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ACCEPTOR, DIALER, World, key, script};
use crate::id::RoutingKey;
use crate::proto::session::entries::LIMITS;

impl World {
    /// The laws that hold after every step.
    pub(super) fn audit(&mut self) {
        for (side, end) in self.ends.iter_mut().enumerate() {
            assert_eq!(end.session.ended(), None, "the session of end {side} ended");
            while end.session.poll_event().is_some() {}
            while let Some((key, served)) = end.session.poll_key() {
                if served {
                    end.told.insert(key)
                } else {
                    end.told.remove(&key)
                };
            }
            end.session.take_wakers().wake();
            assert!(end.session.unaccepted <= LIMITS.unaccepted);
        }
    }

    /// Heals the wire and lets everything come to its end.
    pub(super) fn finish(mut self) {
        self.heal();
        for _ in 0..SETTLING {
            for end in 0..2 {
                self.judge(end, true);
            }
            for index in 0..self.flows.len() {
                self.read(0, index);
                self.read(1, index);
                self.finish_way(0, index);
                self.finish_way(1, index);
            }
            if !self.exchange() && self.is_settled() {
                break;
            }
            self.tick(Duration::from_millis(10));
            self.audit();
        }
        for (index, flow) in self.flows.iter().enumerate() {
            for (end, way) in flow.ways.iter().enumerate() {
                assert!(
                    flow.is_settled(way),
                    "flow {index}, end {end}: {} of {} came",
                    way.read,
                    way.written
                );
            }
        }
        self.let_go();
    }

    /// Every connection that one end has lost is lost to the other, no hello is on its way, and a carrier is up.
    pub(super) fn heal(&mut self) {
        while let Some(last) = self.joins.len().checked_sub(1) {
            self.give_up_for_good(last);
        }
        for index in 0..self.connections.len() {
            if self.connections[index].open != [true, true] {
                self.cut(true, index, DIALER);
                self.cut(true, index, ACCEPTOR);
            }
        }
        if self.ends.iter().any(|end| end.session.carriers.is_empty()) {
            self.join_at_once();
        }
        self.audit();
    }

    /// Everything that can move moves; says whether anything did.
    pub(super) fn exchange(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.connections.len() {
            for end in 0..2 {
                moved |= self.transmit(index, end);
                moved |= self.deliver(index, 1 - end, usize::MAX);
            }
        }
        moved
    }

    pub(super) fn is_settled(&self) -> bool {
        self.flows.iter().all(|flow| flow.ways.iter().all(|way| flow.is_settled(way)))
    }

    /// Applications let go of everything: after a keepalive nothing may be left at either end.
    pub(super) fn let_go(&mut self) {
        for index in 0..self.flows.len() {
            self.tear(script::RELEASE, 0, index);
            self.tear(script::RELEASE, 1, index);
        }
        // A hello that was lost after a later one had come is settled by the next one only.
        self.join_at_once();
        for _ in 0..LETTING_GO {
            for end in 0..2 {
                self.judge(end, false);
                for index in 0..self.flows.len() {
                    self.tear(script::RELEASE, end, index);
                }
            }
            self.exchange();
            self.tick(Duration::from_millis(400));
            self.audit();
        }
        for (side, end) in self.ends.iter().enumerate() {
            let other = &self.ends[1 - side];
            assert_eq!(end.session.stream_count(), 0, "end {side} keeps streams");
            assert!(
                end.session.fallen.is_empty(),
                "end {side} keeps dead carriers: {:?}",
                end.session.fallen
            );
            assert!(end.session.is_idle(), "end {side} waits for acknowledgements");
            assert_eq!(end.session.pool_used(), 0, "end {side} keeps windows");
            let served: BTreeSet<RoutingKey> = other.serves.iter().map(|choice| key(*choice)).collect();
            assert_eq!(end.told, served, "end {side} was told other keys than are served");
        }
    }
}

/// Rounds of 10 ms in which everything must have arrived: 48 streams with 64 KiB each way, and a keepalive.
const SETTLING: usize = 1000;

/// Rounds of 400 ms in which everything must be gone: two keepalives.
const LETTING_GO: usize = 8;
