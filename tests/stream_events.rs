//! Events of streams, for those who asked: one when a stream is there and one when it is over, at both ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::relay::{Cut, Door};
use common::stage::{Diary, Stage, brisk, opening};
use common::{key, within};
use sitelink::{
    CloseCode, Destination, EventKind, LinkStream, OpenError, OpenRequest, SessionEnd, SessionNumber,
    StreamCode, StreamError, StreamId,
};

/// What is told of streams, in a form that can be compared.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Opened { session: SessionNumber, stream: StreamId, destination: Destination, by_peer: bool },
    Closed { session: SessionNumber, stream: StreamId, sent: u64, received: u64, error: Option<StreamError> },
}

fn told(kind: &EventKind) -> Option<Told> {
    match kind.clone() {
        EventKind::StreamOpened { session, stream, destination, by_peer } => {
            Some(Told::Opened { session, stream, destination, by_peer })
        }
        EventKind::StreamClosed { session, stream, traffic, error } => {
            assert_eq!(traffic.resent_bytes, 0);
            let (sent, received) = (traffic.sent_bytes, traffic.received_bytes);
            Some(Told::Closed { session, stream, sent, received, error })
        }
        _ => None,
    }
}

/// One stream from west to east, both ends of it, and the diaries of those who asked for streams.
struct Watched {
    stage: Stage,
    west: Diary,
    east: Diary,
    near: Option<LinkStream>,
    far: Option<LinkStream>,
    /// As either end names it: the session's number, and the stream.
    names: [(SessionNumber, StreamId); 2],
}

impl Watched {
    async fn new(stage: Stage) -> Self {
        let (west, east) = (Diary::with_streams(&stage.west), Diary::with_streams(&stage.east));
        let (near, far) = stage.stream().await;
        let names = [&near, &far].map(|end| (end.session(), end.id()));
        let mut watched = Self { stage, west, east, near: Some(near), far: Some(far), names };
        watched.says(b"hello").await;
        watched
    }

    fn ends(&mut self) -> (&mut LinkStream, &mut LinkStream) {
        (self.near.as_mut().unwrap(), self.far.as_mut().unwrap())
    }

    async fn says(&mut self, bytes: &'static [u8]) {
        let (near, far) = self.ends();
        near.send(Bytes::from_static(bytes)).await.unwrap();
        assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(bytes));
    }

    /// Lets go of both ends; of the stream was told that it was opened, and that it ended so: what west sent, what
    /// east sent, and the errors of both.
    async fn end_as(&mut self, bytes: [u64; 2], errors: [Option<StreamError>; 2]) {
        let opened = |diary: &Diary| diary.kinds().iter().filter_map(told).count();
        assert_eq!((opened(&self.west), opened(&self.east)), (1, 1), "it is not over");
        (self.near, self.far) = (None, None);
        let mut errors = errors.into_iter();
        for (end, diary) in [&mut self.west, &mut self.east].into_iter().enumerate() {
            let all = diary.many(2, |kind| told(kind).is_some()).await;
            let all: Vec<_> = all.iter().filter_map(|event| told(&event.kind)).collect();
            let (session, stream) = self.names[end];
            let destination = Destination::Key(key("k"));
            let (sent, received, error) = (bytes[end], bytes[1 - end], errors.next().unwrap());
            assert_eq!(
                all,
                [
                    Told::Opened { session, stream, destination, by_peer: end == 1 },
                    Told::Closed { session, stream, sent, received, error },
                ]
            );
        }
    }

    /// Whoever did not ask for streams is told of none: not until the session is over, and everything was told.
    async fn nothing_to_others(mut self) {
        self.stage.west.disconnect(self.names[0].0).await;
        for diary in [&mut self.stage.west_diary, &mut self.stage.east_diary] {
            diary.one(|kind| matches!(kind, EventKind::SessionDown { .. })).await;
            assert_eq!(diary.count(|kind| told(kind).is_some()), 0);
        }
        for diary in [&self.west, &self.east] {
            assert_eq!(diary.count(|kind| told(kind).is_some()), 2, "no more than the pair");
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_finished_both_ways_ends_without_an_error() {
    let mut watched = Watched::new(Stage::plain().await).await;
    let (near, far) = watched.ends();
    near.finish();
    assert_eq!(within(far.recv()).await, Ok(None));
    far.send(Bytes::from_static(b"good bye")).await.unwrap();
    far.finish();
    assert_eq!(within(near.recv()).await.unwrap().as_deref(), Some(&b"good bye"[..]));
    assert_eq!(within(near.recv()).await, Ok(None));
    watched.end_as([5, 8], [None, None]).await;
    watched.nothing_to_others().await;
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_with_the_code_at_the_other_end() {
    let mut watched = Watched::new(Stage::plain().await).await;
    let code = StreamCode::application(5);
    let (near, far) = watched.ends();
    near.reset(code);
    assert_eq!(within(far.recv()).await, Err(StreamError::Reset(code)));
    watched.end_as([5, 0], [Some(StreamError::Closed), Some(StreamError::Reset(code))]).await;
    watched.nothing_to_others().await;
}

#[tokio::test]
async fn a_stream_that_nobody_reads_any_more_ends_with_the_code_at_the_writer() {
    let mut watched = Watched::new(Stage::plain().await).await;
    let code = StreamCode::application(6);
    let (near, far) = watched.ends();
    far.stop(code);
    assert_eq!(within(near.stopped()).await, StreamError::Stopped(code));
    watched.end_as([5, 0], [Some(StreamError::Stopped(code)), Some(StreamError::Closed)]).await;
    watched.nothing_to_others().await;
}

#[tokio::test]
async fn a_stream_that_is_refused_was_never_there() {
    let stage = Stage::plain().await;
    let (west, east) = (Diary::with_streams(&stage.west), Diary::with_streams(&stage.east));
    let code = StreamCode::application(9);
    let (near, incoming) = opening(&stage.west, &stage.east, OpenRequest::to_key(key("k")), "k").await;
    incoming.refuse(code);
    assert_eq!(within(near).await.unwrap().unwrap_err(), OpenError::Refused(code));
    // One that is accepted after it is the first that is told of.
    let mut watched = Watched::new(stage).await;
    for (end, mut diary) in [west, east].into_iter().enumerate() {
        let first = told(&diary.one(|kind| told(kind).is_some()).await.kind);
        let ((session, stream), destination) = (watched.names[end], Destination::Key(key("k")));
        assert_eq!(first, Some(Told::Opened { session, stream, destination, by_peer: end == 1 }));
    }
    watched.end_as([5, 0], [Some(StreamError::Closed), Some(StreamError::Closed)]).await;
}

#[tokio::test]
async fn a_stream_whose_session_is_lost_ends_with_the_sessions_reason() {
    let mut config = brisk();
    config.session.resume_window = Duration::from_millis(200);
    let mut watched = Watched::new(Stage::new(config.clone(), config.clone()).await).await;
    watched.stage.relay.door(Door::Refusing);
    watched.stage.relay.cut(Cut::Reset);
    let expired = StreamError::SessionLost(SessionEnd::ResumeExpired(config.session.resume_window));
    let (near, far) = watched.ends();
    assert_eq!(within(near.recv()).await, Err(expired.clone()));
    assert_eq!(within(far.recv()).await, Err(expired.clone()));
    watched.end_as([5, 0], [Some(expired.clone()), Some(expired)]).await;
}

#[tokio::test]
async fn a_stream_whose_session_is_disconnected_ends_with_the_sessions_reason() {
    let mut watched = Watched::new(Stage::plain().await).await;
    watched.stage.west.disconnect(watched.names[0].0).await;
    let code = CloseCode::DISCONNECTED;
    let here = StreamError::SessionLost(SessionEnd::Closed(code));
    let there = StreamError::SessionLost(SessionEnd::PeerClosed(code));
    let (near, far) = watched.ends();
    assert_eq!(within(near.recv()).await, Err(here.clone()));
    assert_eq!(within(far.recv()).await, Err(there.clone()));
    watched.end_as([5, 0], [Some(here), Some(there)]).await;
    watched.nothing_to_others().await;
}
