//! Wakers collected under the session's lock, to be woken outside it.

use std::task::Waker;

/// A few wakers; more than four cost an allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    few: [Option<Waker>; 4],
    more: Vec<Waker>,
}

impl Wakers {
    /// Takes a waker out of its place, if there is one.
    pub(crate) fn take(&mut self, place: &mut Option<Waker>) {
        let Some(waker) = place.take() else { return };
        match self.few.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(waker),
            None => self.more.push(waker),
        }
    }

    /// Wakes all. Call it with no lock held: a waker may run anything.
    pub(crate) fn wake(self) {
        self.few.into_iter().flatten().chain(self.more).for_each(Waker::wake);
    }

    /// Whether there is nobody to wake.
    pub(crate) fn is_empty(&self) -> bool {
        self.few[0].is_none() && self.more.is_empty()
    }
}

/// Puts a waker into its place unless the one there would wake the same task.
pub(crate) fn register(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(there) if there.will_wake(waker) => {}
        _ => *place = Some(waker.clone()),
    }
}
