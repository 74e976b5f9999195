//! Look-ups of names, of which a hung name server cannot make too many.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::resolve::{Resolver, interleave};

/// The look-ups of a plane. Cheap to clone; all clones share them.
///
/// A look-up cannot be called off: the system's resolver holds a thread until it has an answer or gives up, which
/// takes half a minute when no server answers. So there is at most one under way for each name, which every attempt
/// that wants that name joins, and [`MAX_LOOKUPS`] in all; attempts wait beyond that, each within its own deadline.
/// Nothing is remembered: an attempt that finds no look-up under way begins one, so a site that moved is found.
/// Address literals take no part in this.
#[derive(Clone, Debug)]
pub(crate) struct Names(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    resolver: Arc<dyn Resolver>,
    under_way: Mutex<HashMap<Arc<str>, Told>>,
    places: Semaphore,
    /// Look-ups are tasks of their own, for they outlive the attempts that wait for them.
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// Where the attempts that wait for a name hear of it.
type Told = Arc<watch::Sender<Option<Answer>>>;

type Answer = Result<Arc<[SocketAddr]>, io::ErrorKind>;

impl Names {
    /// Look-ups by `resolver`, as tasks of `tasks` that end with `cancel`.
    pub(crate) fn new(resolver: Arc<dyn Resolver>, tasks: TaskTracker, cancel: CancellationToken) -> Self {
        let under_way = Mutex::default();
        Self(Arc::new(Shared { resolver, under_way, places: Semaphore::new(MAX_LOOKUPS), tasks, cancel }))
    }

    /// The addresses of `host`, families interleaved as RFC 8305 §4 has it, the resolver's favourite first.
    ///
    /// An address literal is taken as it is, without a resolver. Never an empty list, never more than
    /// [`MAX_ADDRESSES`](crate::net::resolve::MAX_ADDRESSES), none twice.
    ///
    /// # Errors
    /// What the resolver said; [`io::ErrorKind::NotFound`] when it found no address, and
    /// [`io::ErrorKind::Interrupted`] when it broke down or the plane ends.
    ///
    /// # Cancel safety
    /// Cancel safe. A look-up that has begun goes on to its end.
    pub(crate) async fn addresses(
        &self,
        host: &Arc<str>,
        port: u16,
    ) -> Result<Vec<SocketAddr>, io::ErrorKind> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, port)]);
        }
        let mut told = self.join(host);
        let answer = match told.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_) => None,
        };
        let found = answer.unwrap_or(Err(io::ErrorKind::Interrupted))?;
        let addresses = interleave(found.iter().map(|address| {
            let mut address = *address;
            address.set_port(port);
            address
        }));
        if addresses.is_empty() { Err(io::ErrorKind::NotFound) } else { Ok(addresses) }
    }

    /// Joins the look-up of a name that is under way, or begins one.
    fn join(&self, host: &Arc<str>) -> watch::Receiver<Option<Answer>> {
        let mut under_way = self.0.under_way();
        if let Some(told) = under_way.get(host) {
            return told.subscribe();
        }
        let (tell, told) = watch::channel(None);
        let tell = Arc::new(tell);
        under_way.insert(Arc::clone(host), Arc::clone(&tell));
        drop(under_way);
        let lookup = Lookup { names: Arc::clone(&self.0), host: Arc::clone(host), tell };
        self.0.tasks.spawn(lookup.run());
        told
    }
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Arc<str>, Told>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look-up. However it ends, a breakdown of the resolver included, the next attempt begins another.
struct Lookup {
    names: Arc<Shared>,
    host: Arc<str>,
    tell: Told,
}

impl Lookup {
    async fn run(self) {
        let names = Arc::clone(&self.names);
        let work = async {
            let place = self.place(&names.places).await?;
            let found = names.resolver.lookup(Arc::clone(&self.host)).await;
            drop(place);
            Some(found.map(Arc::from).map_err(|error| error.kind()))
        };
        if let Some(Some(answer)) = names.cancel.run_until_cancelled(work).await {
            let tell = Arc::clone(&self.tell);
            // Those who come from here on are not to be given an answer that was there before them.
            drop(self);
            tell.send_replace(Some(answer));
        }
    }

    /// A place among the look-ups of the plane; `None` once nobody waits for this one any more.
    async fn place<'a>(&self, places: &'a Semaphore) -> Option<SemaphorePermit<'a>> {
        loop {
            tokio::select! {
                place = places.acquire() => return place.ok(),
                () = self.tell.closed() => {
                    let mut under_way = self.names.under_way();
                    // Under the lock nobody can join.
                    if self.tell.receiver_count() == 0 {
                        under_way.remove(&self.host);
                        return None;
                    }
                }
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut under_way = self.names.under_way();
        // It may be that of a later one.
        if under_way.get(&self.host).is_some_and(|told| Arc::ptr_eq(told, &self.tell)) {
            under_way.remove(&self.host);
        }
    }
}

/// The most look-ups of a plane under way: a quarter of the 512 threads that tokio has for blocking work by default, and
/// beyond what a name server that answers within 100 ms would need for a thousand look-ups a second.
const MAX_LOOKUPS: usize = 128;

#[cfg(test)]
mod tests;
