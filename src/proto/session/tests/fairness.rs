//! Who gets how much of a carrier, by turns of the schedule: no clock is in it.

use super::*;

/// (Σx)² / n Σx²: 1 when all get the same, 1/n when one gets all.
fn index(parts: &[usize]) -> f64 {
    let (sum, squares) =
        parts.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + *x as f64, squares + (*x as f64).powi(2)));
    sum * sum / (parts.len() as f64 * squares)
}

impl Pair {
    /// Every stream's queue is full, one batch goes each way, everything is read; returns what each one moved.
    fn bulk(&mut self, streams: &[(StreamKey, StreamKey)]) -> Vec<usize> {
        for (near, _) in streams {
            while let Poll::Ready(Ok(room)) = self.dialer.poll_reserve(*near, 64 << 10, Waker::noop()) {
                self.dialer.write(*near, Bytes::from(vec![1; room])).unwrap();
            }
        }
        self.step();
        let read = |(_, far): &(StreamKey, StreamKey)| read_all(&mut self.acceptor, self.now, *far).len();
        streams.iter().map(read).collect()
    }
}

#[test]
fn streams_of_bulk_share_a_carrier_alike() {
    let mut pair = Pair::new();
    let streams: Vec<_> = (0..32).map(|_| pair.open()).collect();
    // The first came long before the others, and its window is the widest.
    (0..200).for_each(|_| drop(pair.bulk(&streams[..1])));
    (0..200).for_each(|_| drop(pair.bulk(&streams)));
    for _ in 0..20 {
        let mut moved = vec![0; streams.len()];
        for _ in 0..160 {
            pair.bulk(&streams).iter().zip(&mut moved).for_each(|(len, moved)| *moved += len);
        }
        assert!(index(&moved) >= 0.99, "{moved:?}");
    }
}

#[test]
fn a_byte_goes_with_the_next_batch_whatever_bulk_waits() {
    let mut pair = Pair::new();
    let streams: Vec<_> = (0..32).map(|_| pair.open()).collect();
    let (near, far) = pair.open();
    (0..200).for_each(|_| drop(pair.bulk(&streams)));
    for _ in 0..100 {
        pair.dialer.write(near, Bytes::from_static(b"x")).unwrap();
        pair.bulk(&streams);
        assert_eq!(read_all(&mut pair.acceptor, pair.now, far), b"x");
        // A stream that was fresh waits for its turn among the others once: 32 quanta, sixteen batches.
        (0..20).for_each(|_| drop(pair.bulk(&streams)));
    }
}

#[test]
fn a_flood_of_short_requests_leaves_bulk_more_than_half() {
    let mut pair = Pair::new();
    let bulk = [pair.open()];
    (0..200).for_each(|_| drop(pair.bulk(&bulk)));
    let alone: usize = (0..500).map(|_| pair.bulk(&bulk)[0]).sum();
    let (mut beside, mut answered) = (0, 0);
    for _ in 0..500 {
        // At 1 GB/s, 15,000 batches a second, these are 120,000 requests a second.
        let asked: Vec<_> = (0..8)
            .map(|_| pair.dialer.open(pair.now, request(), Bytes::from_static(&[2; 100])).unwrap())
            .collect();
        beside += pair.bulk(&bulk)[0];
        while let Some((far, _)) = pair.acceptor.poll_incoming() {
            assert!(pair.acceptor.accept(far));
            answered += read_all(&mut pair.acceptor, pair.now, far).len() / 100;
            pair.acceptor.release(far);
        }
        asked.into_iter().for_each(|near| pair.dialer.release(near));
    }
    assert!(beside * 2 >= alone, "{beside} beside, {alone} alone");
    assert!(answered >= 8 * 490, "{answered} answered");
}

#[test]
fn streams_that_are_all_new_leave_bulk_its_half() {
    let mut pair = Pair::new();
    let bulk = [pair.open()];
    (0..200).for_each(|_| drop(pair.bulk(&bulk)));
    let alone: usize = (0..200).map(|_| pair.bulk(&bulk)[0]).sum();
    let mut beside = 0;
    for _ in 0..200 {
        // With what an open may take along these fill every batch.
        let initial = Bytes::from_static(&[2; 16_384]);
        let asked: Vec<_> =
            (0..8).map(|_| pair.dialer.open(pair.now, request(), initial.clone()).unwrap()).collect();
        beside += pair.bulk(&bulk)[0];
        while let Some((far, _)) = pair.acceptor.poll_incoming() {
            assert!(pair.acceptor.accept(far));
            pair.acceptor.release(far);
        }
        asked.into_iter().for_each(|near| pair.dialer.finish(near));
    }
    assert!(beside * 5 >= alone * 2, "{beside} beside, {alone} alone");
}
