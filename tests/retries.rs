//! Which opens are tried again at another site, and which are not. Real sockets, real TLS, acceptors that do as told.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::pki::TestCa;
use common::raw::{self, RawPeer};
use common::stage::{brisk, plane_with, poll_until, single};
use common::{credentials, document, key, loopback, within};
use sitelink::wire::frame::{CloseScope, ControlChange, Frame};
use sitelink::wire::hello::{SessionClaim, SessionSecret};
use sitelink::{
    CloseCode, Destination, Instance, LinkStream, Manifest, OpenError, OpenRequest, Plane, PlaneConfig,
    SessionEnd, SessionId, StreamCode,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What an acceptor does with an open.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Accept,
    Refuse(StreamCode),
    /// Nothing.
    Keep,
    /// Ends the session.
    End,
}

/// What an acceptor has heard.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Open,
    Reset(StreamCode),
}

/// A site of one router that serves "app" and answers as it is told.
struct Site {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Site {
    async fn new(ca: &TestCa, number: u8, answer: Answer, max_streams: u64) -> Self {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let (address, bundle) = (listener.local_addr().unwrap(), ca.server(&["127.0.0.1"]));
        let answer = Arc::new(Mutex::new(answer));
        let (telling, heard) = mpsc::unbounded_channel();
        let answering = Arc::clone(&answer);
        tokio::task::spawn(async move {
            for session in 0.. {
                let Ok(mut peer) = RawPeer::accept(&listener, raw::server(&bundle)).await else { continue };
                let Some(Frame::Hello(theirs)) = peer.next().await else { continue };
                let begun =
                    SessionClaim::Begun { session: SessionId([session; 16]), secret: SessionSecret([2; 32]) };
                let mut ours = raw::hello(&format!("site-{number}"), theirs.carrier.0, begun);
                (ours.instance, ours.max_streams) = (Instance([number; 16]), max_streams);
                let serve = Frame::Control { sequence: 0, change: ControlChange::Serve(key("app")) };
                peer.send(&[Frame::Hello(Box::new(ours)), serve]).await;
                while let Some(frame) = peer.next().await {
                    let answer = *answering.lock().unwrap();
                    match frame {
                        Frame::Open { stream, .. } => {
                            let _ = telling.send(Heard::Open);
                            match answer {
                                Answer::Accept => peer.send(&[Frame::Accept { stream }]).await,
                                Answer::Refuse(code) => peer.send(&[Frame::Refuse { stream, code }]).await,
                                Answer::Keep => {}
                                Answer::End => {
                                    let (scope, code) = (CloseScope::Session, CloseCode::NORMAL);
                                    let detail = String::new();
                                    peer.send(&[Frame::Close { scope, code, retry_after_millis: 0, detail }])
                                        .await;
                                }
                            }
                        }
                        Frame::Reset { code, .. } => drop(telling.send(Heard::Reset(code))),
                        _ => {}
                    }
                }
            }
        });
        Self { address, answer, heard }
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often it was asked since this was last asked.
    fn asked(&mut self) -> usize {
        std::iter::from_fn(|| self.heard.try_recv().ok()).filter(|heard| *heard == Heard::Open).count()
    }
}

/// West, and sites at costs 1, 101, 201, …: an open is put to them in this order.
struct Field {
    ca: TestCa,
    west: Plane,
    sites: Vec<Site>,
}

impl Field {
    async fn new(answers: &[Answer]) -> Self {
        Self::with(answers, 100).await
    }

    async fn with(answers: &[Answer], max_streams: u64) -> Self {
        let mut config = single(brisk());
        // These acceptors acknowledge nothing.
        (config.liveness.suspect_floor, config.liveness.suspect_cap) =
            (Duration::from_secs(60), Duration::from_secs(60));
        let mut field =
            Self { ca: TestCa::new("ca"), west: plane_with("west", config).await, sites: Vec::new() };
        for answer in answers {
            field.add(*answer, max_streams).await;
        }
        field.candidates(answers.len()).await;
        field
    }

    async fn add(&mut self, answer: Answer, max_streams: u64) {
        let number = self.sites.len();
        let site = Site::new(&self.ca, u8::try_from(number).unwrap() + 1, answer, max_streams).await;
        let (name, cost) = (format!("site-{number}"), 1 + 100 * number);
        let text = document(&name, "127.0.0.1", site.address.port())
            .replace("spec:\n", &format!("spec:\n  cost: {cost}\n"));
        let spec = Manifest::parse(text, "test").link(&name).unwrap().clone();
        let client = credentials("client", &self.ca.client("west"));
        self.west.link(spec, client).await.unwrap();
        self.sites.push(site);
    }

    async fn candidates(&self, count: usize) {
        poll_until(|| self.open_counts().len() == count).await;
    }

    fn open_counts(&self) -> Vec<u64> {
        let view = self.west.explain(&Destination::Key(key("app")));
        view.candidates.iter().map(|candidate| candidate.open).collect()
    }

    async fn open(&self, request: OpenRequest) -> Result<LinkStream, OpenError> {
        within(self.west.open(request)).await
    }

    fn asked(&mut self) -> Vec<usize> {
        self.sites.iter_mut().map(Site::asked).collect()
    }
}

fn app() -> OpenRequest {
    OpenRequest::to_key(key("app"))
}

#[tokio::test]
async fn a_refusal_for_want_of_a_server_goes_on_to_the_next_site_each_asked_once() {
    let mut field = Field::new(&[Answer::Keep, Answer::Accept, Answer::Accept]).await;
    for code in [
        StreamCode::NOT_SERVED,
        StreamCode::BUSY,
        StreamCode::DRAINING,
        StreamCode::TIMED_OUT,
        StreamCode::STANDBY,
        StreamCode::UNREACHABLE,
    ] {
        field.sites[0].answers(Answer::Refuse(code));
        let stream = field.open(app()).await.unwrap();
        assert_eq!((field.asked(), field.open_counts()), (vec![1, 1, 0], vec![0, 1, 0]), "{code}");
        drop(stream);
        assert_eq!(field.open_counts(), [0, 0, 0], "{code}");
    }
}

#[tokio::test]
async fn when_all_have_refused_the_last_refusal_is_told_and_nobody_is_asked_again() {
    let refuse = Answer::Refuse;
    let mut field = Field::new(&[
        refuse(StreamCode::BUSY),
        refuse(StreamCode::NOT_SERVED),
        refuse(StreamCode::UNREACHABLE),
    ])
    .await;
    // Waiting is for a path; there are three.
    let begun = Instant::now();
    for request in [app(), app().wait_for_path(common::DEADLINE), app().idempotent()] {
        let refused = field.open(request).await.unwrap_err();
        assert_eq!(refused, OpenError::Refused(StreamCode::UNREACHABLE));
        assert_eq!((field.asked(), field.open_counts()), (vec![1; 3], vec![0; 3]));
    }
    assert!(begun.elapsed() < common::DEADLINE);
}

#[tokio::test]
async fn a_refusal_by_the_application_is_the_answer() {
    let mut field = Field::new(&[Answer::Keep, Answer::Accept]).await;
    for code in [StreamCode::REFUSED, StreamCode::CANCELLED, StreamCode::application(5)] {
        field.sites[0].answers(Answer::Refuse(code));
        assert_eq!(field.open(app()).await.unwrap_err(), OpenError::Refused(code));
        assert_eq!((field.asked(), field.open_counts()), (vec![1, 0], vec![0, 0]), "{code}");
    }
}

#[tokio::test]
async fn an_open_whose_session_dies_before_a_verdict_is_sent_to_nobody_else() {
    let mut field = Field::new(&[Answer::End, Answer::Accept]).await;
    let lost = field.open(app()).await.unwrap_err();
    assert_eq!(lost, OpenError::OutcomeUnknown(SessionEnd::PeerClosed(CloseCode::NORMAL)));
    assert_eq!(field.asked(), [1, 0]);
    field.candidates(2).await;
    assert_eq!(field.open_counts(), [0, 0]);
}

#[tokio::test]
async fn an_idempotent_open_whose_session_dies_goes_on_to_the_next_site() {
    let mut field = Field::new(&[Answer::End, Answer::Accept]).await;
    let _stream = field.open(app().idempotent()).await.unwrap();
    assert_eq!(field.asked(), [1, 1]);
}

#[tokio::test]
async fn an_idempotent_open_that_everybody_lost_says_so() {
    let mut field = Field::new(&[Answer::End]).await;
    let lost = field.open(app().idempotent()).await.unwrap_err();
    assert_eq!(lost, OpenError::OutcomeUnknown(SessionEnd::PeerClosed(CloseCode::NORMAL)));
    assert_eq!(field.asked(), [1]);
}

impl Field {
    /// Opens a stream on a session that ends before anything of it is sent: the plane's task that ends it is woken before
    /// the one that sends, and on one thread runs before it.
    async fn lose(&self, request: OpenRequest) -> Result<LinkStream, OpenError> {
        let chosen = self.west.explain(&Destination::Key(key("app"))).chosen.unwrap();
        // Whatever is under way comes to rest first.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        self.west.disconnect(chosen).await;
        self.open(request).await
    }
}

#[tokio::test]
async fn an_open_that_never_left_goes_on_to_the_next_site() {
    let mut field = Field::new(&[Answer::Accept, Answer::Accept]).await;
    let _stream = field.lose(app()).await.unwrap();
    assert_eq!(field.asked(), [0, 1]);
}

#[tokio::test]
async fn an_open_that_never_left_has_no_path_or_waits_for_the_session_to_come_back() {
    for (request, expected) in
        [(app(), Some(OpenError::NoPath)), (app().wait_for_path(common::DEADLINE), None)]
    {
        let mut field = Field::new(&[Answer::Accept]).await;
        assert_eq!(field.lose(request).await.err(), expected);
        assert_eq!(field.asked(), [usize::from(expected.is_none())]);
    }
}

#[tokio::test]
async fn an_open_refused_because_its_path_is_none_any_more_waits_for_another_if_it_may() {
    for code in [StreamCode::DRAINING, StreamCode::STANDBY] {
        let mut field = Field::new(&[Answer::Refuse(code)]).await;
        assert_eq!(field.open(app()).await.unwrap_err(), OpenError::Refused(code));
        // As long as it was told to, then it is told of the refusal.
        let brief = app().wait_for_path(Duration::from_millis(50));
        assert_eq!(field.open(brief).await.unwrap_err(), OpenError::Refused(code));
        assert_eq!(field.asked(), [2]);
        let west = field.west.clone();
        let waiting =
            tokio::task::spawn(async move { west.open(app().wait_for_path(common::DEADLINE)).await });
        assert_eq!(within(field.sites[0].heard.recv()).await, Some(Heard::Open));
        field.add(Answer::Accept, 100).await;
        within(waiting).await.unwrap().unwrap();
        let asked = field.asked();
        assert_eq!(asked[1], 1);
        // One that stands by may be asked again whenever anything has changed.
        assert!(asked[0] == 0 || code == StreamCode::STANDBY, "the first was asked once and no more: {code}");
    }
}

#[tokio::test]
async fn a_session_with_as_many_streams_as_its_peer_allows_is_passed_over() {
    let mut field = Field::with(&[Answer::Accept, Answer::Accept], 1).await;
    let first = field.open(app()).await.unwrap();
    let second = field.open(app()).await.unwrap();
    assert_eq!((field.asked(), field.open_counts()), (vec![1, 1], vec![1, 1]));
    assert_eq!(field.open(app()).await.unwrap_err(), OpenError::StreamLimit);
    assert_eq!((field.asked(), field.open_counts()), (vec![0, 0], vec![1, 1]));
    drop((first, second));
}

#[tokio::test]
async fn an_open_that_is_given_up_is_reset_and_counted_no_more_wherever_it_was() {
    // It waits for a verdict at the first site, or at the second after a refusal by the first.
    for (first, at) in [(Answer::Keep, 0), (Answer::Refuse(StreamCode::BUSY), 1)] {
        let mut field = Field::new(&[first, Answer::Keep]).await;
        let west = field.west.clone();
        let opening = tokio::task::spawn(async move { west.open(app()).await });
        assert_eq!(within(field.sites[at].heard.recv()).await, Some(Heard::Open));
        let mut expected = [0, 0];
        expected[at] = 1;
        assert_eq!(field.open_counts(), expected);
        opening.abort();
        assert_eq!(within(field.sites[at].heard.recv()).await, Some(Heard::Reset(StreamCode::CANCELLED)));
        assert_eq!(field.open_counts(), [0, 0]);
    }
}

#[tokio::test]
async fn a_shutdown_ends_an_open_that_waits_for_a_path() {
    let west = plane_with("west", PlaneConfig::default()).await;
    let waiting = tokio::task::spawn({
        let west = west.clone();
        async move { west.open(app().wait_for_path(common::DEADLINE)).await }
    });
    tokio::task::yield_now().await;
    within(west.shutdown(Duration::ZERO)).await;
    assert_eq!(within(waiting).await.unwrap().unwrap_err(), OpenError::ShutDown);
}
