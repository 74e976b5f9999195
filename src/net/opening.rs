//! Opening a stream: choose a path, ask, and try the next candidate where that is safe.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::error::OpenError;
use crate::event::Destination;
use crate::id::SessionNumber;
use crate::net::clock;
use crate::net::hub::Hub;
use crate::net::shared::SessionHandle;
use crate::net::tally::Tally;
use crate::proto::later::later;
use crate::proto::session::{OpenFailure, OpenRequest, StreamKey};
use crate::wire::code::StreamCode;
use crate::wire::frame::OpenTo;

/// What is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Where to.
    pub(crate) destination: Destination,
    /// For the acceptor.
    pub(crate) metadata: Bytes,
    /// Goes with the open.
    pub(crate) initial: Bytes,
    /// Nothing follows it: the writing half ends with it.
    pub(crate) finished: bool,
    /// How long a path may be waited for.
    pub(crate) wait: Duration,
    /// The caller says that opening twice does no harm.
    pub(crate) idempotent: bool,
}

/// A stream that was accepted.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: SessionHandle,
    pub(crate) key: StreamKey,
    pub(crate) tally: Tally,
}

/// Opens a stream. Each candidate is asked at most once, but for those that stood by, when paths have changed. Waits for
/// one, as long as is wanted, while all that were asked have turned out to be no path any more; a refusal of any other
/// kind is not waited on.
///
/// # Errors
/// As [`OpenError`] says; after several candidates, the last one's refusal.
///
/// # Cancel safety
/// Dropping the future resets a stream that was asked for.
pub(crate) async fn open(hub: &Hub, wanted: Wanted) -> Result<Opened, OpenError> {
    let deadline = later(clock::now(), wanted.wait);
    let mut asked = Vec::new();
    // Those of them that stood by, which may be over when anything has changed.
    let mut stood_by = Vec::new();
    // Whether paths have changed since the first of them was asked.
    let mut changed = false;
    // Whether a path refused it: then waiting for another one is the caller's business.
    let mut refused = false;
    let mut refusal = OpenError::NoPath;
    // Hears what changes between two rounds.
    let mut between: Option<Pin<Box<Notified<'_>>>> = None;
    loop {
        let news = hub.path_news.notified();
        tokio::pin!(news);
        // Enabled before the look, so that no change is missed between the two.
        news.as_mut().enable();
        if let Some(mut before) = between.take() {
            changed |= has_come(before.as_mut()).await;
        }
        if hub.closing.is_cancelled() {
            return Err(OpenError::ShutDown);
        }
        let Some((session, tally)) = choose(hub, &wanted.destination, &mut asked) else {
            if refused || clock::now() >= deadline {
                return Err(refusal);
            }
            tokio::select! {
                () = async { if !std::mem::take(&mut changed) { news.as_mut().await } } => {
                    asked.retain(|number| !stood_by.contains(number));
                    stood_by.clear();
                    continue;
                }
                () = hub.closing.cancelled() => return Err(OpenError::ShutDown),
                () = tokio::time::sleep_until(Instant::from_std(deadline)) => return Err(refusal),
            }
        };
        asked.push(session.number());
        match ask(&session, &wanted).await {
            Ok(key) => return Ok(Opened { session, key, tally }),
            Err(failure) => {
                refused |= !was_no_path(&failure);
                if matches!(failure, OpenFailure::Refused(StreamCode::STANDBY)) {
                    stood_by.push(session.number());
                }
                match judge(failure, wanted.idempotent)? {
                    // It says less than what another has said.
                    OpenError::NoPath => {}
                    said => refusal = said,
                }
                // What changed while it was asked would be news to nobody: the next round waits for later changes.
                let mut next = Box::pin(hub.path_news.notified());
                next.as_mut().enable();
                changed |= has_come(news.as_mut()).await;
                between = Some(next);
            }
        }
    }
}

/// Whether the news has come, without waiting for it.
async fn has_come(mut news: Pin<&mut Notified<'_>>) -> bool {
    poll_fn(|cx| Poll::Ready(news.as_mut().poll(cx).is_ready())).await
}

/// Chooses and counts in one step. A session that has just ended, of which the paths have not heard yet, is passed
/// over.
fn choose(
    hub: &Hub,
    destination: &Destination,
    asked: &mut Vec<SessionNumber>,
) -> Option<(SessionHandle, Tally)> {
    loop {
        let number = hub.paths().choose(destination, asked)?;
        let tally = Tally::new(Arc::clone(&hub.paths), destination.clone(), number);
        if let Some(session) = hub.session(number) {
            return Some((session, tally));
        }
        asked.push(number);
    }
}

async fn ask(session: &SessionHandle, wanted: &Wanted) -> Result<StreamKey, OpenFailure> {
    let to = match &wanted.destination {
        Destination::Key(key) => OpenTo::Key(key.clone()),
        Destination::Site(_) => OpenTo::Site,
    };
    let request = OpenRequest { to, metadata: wanted.metadata.clone() };
    let key = session.with(|session| {
        let key = session.open(clock::now(), request, wanted.initial.clone())?;
        if wanted.finished {
            session.finish(key);
        }
        Ok(key)
    })?;
    let asking = Asking { session: Some(session), key };
    poll_fn(|cx| session.with(|session| session.poll_verdict(key, cx.waker()))).await?;
    Ok(asking.granted())
}

/// What a failure means: `Ok` with the refusal if the next candidate may be asked, `Err` if not.
fn judge(failure: OpenFailure, idempotent: bool) -> Result<OpenError, OpenError> {
    match failure {
        // For want of a server, in one way or another: another site may have one.
        OpenFailure::Refused(
            code @ (StreamCode::NOT_SERVED
            | StreamCode::BUSY
            | StreamCode::DRAINING
            | StreamCode::TIMED_OUT
            | StreamCode::STANDBY
            | StreamCode::UNREACHABLE),
        ) => Ok(OpenError::Refused(code)),
        OpenFailure::Refused(code) => Err(OpenError::Refused(code)),
        OpenFailure::NeverSent(_) => Ok(OpenError::NoPath),
        OpenFailure::Draining => Ok(OpenError::Refused(StreamCode::DRAINING)),
        OpenFailure::Limit => Ok(OpenError::StreamLimit),
        OpenFailure::Unknown(end) if idempotent => Ok(OpenError::OutcomeUnknown(end)),
        OpenFailure::Unknown(end) => Err(OpenError::OutcomeUnknown(end)),
    }
}

/// Whether the session it was asked on is no path any more, of which the paths had not heard yet.
fn was_no_path(failure: &OpenFailure) -> bool {
    match failure {
        OpenFailure::NeverSent(_) | OpenFailure::Draining | OpenFailure::Unknown(_) => true,
        OpenFailure::Refused(code) => matches!(*code, StreamCode::DRAINING | StreamCode::STANDBY),
        OpenFailure::Limit => false,
    }
}

/// A stream that was asked for; lets go of it unless it was granted.
struct Asking<'a> {
    session: Option<&'a SessionHandle>,
    key: StreamKey,
}

impl Asking<'_> {
    fn granted(mut self) -> StreamKey {
        self.session = None;
        self.key
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            session.with(|session| session.release(self.key));
        }
    }
}
