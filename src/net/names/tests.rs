use std::time::Duration;

use super::*;
use crate::error::{DialError, Phase};
use crate::net::connect::within;
use crate::net::resolve::{Addresses, SystemResolver};

/// Answers what it is told to, when it is told to; counts what it is asked.
#[derive(Debug, Default)]
struct Oracle {
    asked: Mutex<Vec<Arc<str>>>,
    /// Names whose look-up hangs until a permit is there.
    hung: HashMap<&'static str, Arc<Semaphore>>,
    /// What the next look-ups of a name find; then nothing.
    known: Mutex<HashMap<&'static str, Vec<SocketAddr>>>,
}

impl Oracle {
    fn asked(&self) -> Vec<Arc<str>> {
        self.asked.lock().unwrap().clone()
    }

    fn tell(&self, host: &'static str, address: &str) {
        self.known.lock().unwrap().insert(host, vec![address.parse().unwrap()]);
    }
}

impl Resolver for Arc<Oracle> {
    fn lookup(&self, host: Arc<str>) -> Addresses {
        self.asked.lock().unwrap().push(Arc::clone(&host));
        let oracle = Self::clone(self);
        Box::pin(async move {
            assert_ne!(&*host, "broken", "a resolver that breaks down");
            if &*host == "never" {
                std::future::pending::<()>().await;
            }
            if let Some(gate) = oracle.hung.get(&*host) {
                gate.acquire().await.unwrap().forget();
            }
            Ok(oracle.known.lock().unwrap().get(&*host).cloned().unwrap_or_default())
        })
    }
}

fn names(oracle: &Arc<Oracle>) -> Names {
    Names::new(Arc::new(Arc::clone(oracle)), TaskTracker::new(), CancellationToken::new())
}

/// An oracle with one name that hangs, and what lets it go on.
fn hanging() -> (Arc<Oracle>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let oracle = Oracle { hung: HashMap::from([("hung", Arc::clone(&gate))]), ..Oracle::default() };
    oracle.tell("hung", "10.0.0.1:0");
    oracle.tell("fine", "10.0.0.2:0");
    (Arc::new(oracle), gate)
}

async fn find(names: &Names, host: &str) -> Result<Vec<SocketAddr>, io::ErrorKind> {
    names.addresses(&host.into(), 7).await
}

fn found(address: &str) -> Result<Vec<SocketAddr>, io::ErrorKind> {
    Ok(vec![address.parse().unwrap()])
}

/// An attempt whose deadline is over at once.
async fn impatient(names: &Names, host: &str) {
    let after = Duration::from_millis(1);
    let outcome = within(Phase::Resolve, after, async { Ok(find(names, host).await) });
    assert_eq!(outcome.await, Err(DialError::TimedOut { phase: Phase::Resolve, after }));
}

#[tokio::test]
async fn a_literal_needs_no_resolver() {
    let oracle = Arc::default();
    let names = names(&oracle);
    assert_eq!(find(&names, "127.0.0.1").await, found("127.0.0.1:7"));
    assert_eq!(find(&names, "::1").await, found("[::1]:7"));
    assert!(oracle.asked().is_empty());
}

#[tokio::test]
async fn the_port_is_the_endpoints_and_nothing_found_is_not_found() {
    let (oracle, _gate) = hanging();
    let names = names(&oracle);
    assert_eq!(find(&names, "fine").await, found("10.0.0.2:7"));
    assert_eq!(find(&names, "nowhere").await, Err(io::ErrorKind::NotFound));
}

#[tokio::test]
async fn the_systems_resolver_knows_this_machine() {
    let names = Names::new(Arc::new(SystemResolver), TaskTracker::new(), CancellationToken::new());
    let addresses = find(&names, "localhost").await.unwrap();
    assert!(
        addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 7),
        "{addresses:?}"
    );
}

#[tokio::test]
async fn every_attempt_looks_the_name_up_anew() {
    let (oracle, _gate) = hanging();
    let names = names(&oracle);
    assert_eq!(find(&names, "fine").await, found("10.0.0.2:7"));
    oracle.tell("fine", "10.0.0.3:0");
    assert_eq!(find(&names, "fine").await, found("10.0.0.3:7"));
    assert_eq!(oracle.asked().len(), 2);
}

#[tokio::test]
async fn a_hung_name_is_looked_up_once_however_often_it_is_wanted() {
    let (oracle, gate) = hanging();
    let names = names(&oracle);
    for _ in 0..100 {
        impatient(&names, "hung").await;
    }
    assert_eq!(oracle.asked(), [Arc::from("hung")]);
    // Two attempts that wait when it answers after all both hear of it.
    let both = async { tokio::join!(find(&names, "hung"), find(&names, "hung")) };
    let release = async { gate.add_permits(1) };
    let ((first, second), ()) = tokio::join!(both, release);
    assert_eq!((first, second), (found("10.0.0.1:7"), found("10.0.0.1:7")));
    assert_eq!(oracle.asked().len(), 1);
    // Nothing is remembered.
    gate.add_permits(1);
    assert_eq!(find(&names, "hung").await, found("10.0.0.1:7"));
    assert_eq!(oracle.asked().len(), 2);
}

#[tokio::test]
async fn a_hung_name_does_not_delay_another() {
    let (oracle, _gate) = hanging();
    let names = names(&oracle);
    impatient(&names, "hung").await;
    assert_eq!(find(&names, "fine").await, found("10.0.0.2:7"));
}

#[tokio::test]
async fn look_ups_are_bounded_and_those_nobody_waits_for_are_not_begun() {
    let (mut oracle, _gate) = hanging();
    let gate = Arc::new(Semaphore::new(0));
    let all: Vec<&'static str> =
        (0..MAX_LOOKUPS + 72).map(|index| &*format!("hung-{index}").leak()).collect();
    let hung = &mut Arc::get_mut(&mut oracle).unwrap().hung;
    all.iter().for_each(|name| drop(hung.insert(name, Arc::clone(&gate))));
    let names = names(&oracle);
    for name in &all {
        impatient(&names, name).await;
    }
    // Those that find no place go with those who wanted them, and hold nothing.
    while names.0.under_way().len() > MAX_LOOKUPS {
        tokio::task::yield_now().await;
    }
    assert_eq!(oracle.asked().len(), MAX_LOOKUPS);
    // A literal goes past them all, and one of the places is enough for everybody else.
    assert_eq!(find(&names, "127.0.0.1").await, found("127.0.0.1:7"));
    let (late, ()) = tokio::join!(find(&names, "fine"), async { gate.add_permits(1) });
    assert_eq!(late, found("10.0.0.2:7"));
}

#[tokio::test]
async fn a_resolver_that_breaks_down_is_asked_again() {
    let oracle = Arc::default();
    let names = names(&oracle);
    for _ in 0..2 {
        assert_eq!(find(&names, "broken").await, Err(io::ErrorKind::Interrupted));
    }
    assert_eq!(oracle.asked().len(), 2);
}

#[tokio::test]
async fn a_plane_that_ends_waits_for_no_look_up() {
    let oracle: Arc<Oracle> = Arc::default();
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let names = Names::new(Arc::new(Arc::clone(&oracle)), tasks.clone(), cancel.clone());
    let (outcome, ()) = tokio::join!(find(&names, "never"), async {
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
    });
    assert_eq!(outcome, Err(io::ErrorKind::Interrupted));
    assert!(names.0.under_way().is_empty());
}
