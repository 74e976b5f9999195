//! Who knows the addresses of a name, and the order in which to try them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::{fmt, io};

/// Looks host names up, in place of the operating system.
///
/// For routers that have a resolver of their own, and for tests. Given to
/// [`PlaneBuilder::resolver`](crate::PlaneBuilder::resolver); the default is [`SystemResolver`]. Address literals never
/// get here.
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `host`, best first. Their ports do not matter: the endpoint's is set.
    ///
    /// Called once for all the attempts that want the name at the same time, and for at most 128 names at once. An
    /// attempt that has waited for longer than its deadline gives up, but the future is kept until it ends, and until
    /// then that name is not looked up anew; so it must end some time. It is dropped when the plane ends.
    ///
    /// # Errors
    /// Whatever is the matter; its kind is told in the dial error.
    fn lookup(&self, host: Arc<str>) -> Addresses;
}

/// The answer of a [`Resolver`].
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The resolver of the operating system: `getaddrinfo`, and thereby `/etc/hosts`, `/etc/resolv.conf` and what else the
/// administrator has set up.
///
/// A look-up takes one of tokio's threads for blocking work, for as long as the system pleases; a runtime that shuts
/// down waits for it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn lookup(&self, host: Arc<str>) -> Addresses {
        Box::pin(async move {
            let found = tokio::net::lookup_host((&*host, 0)).await.map_err(|error| kind_of(&error))?;
            Ok(found.collect())
        })
    }
}

/// The resolver's own verdicts have no number of the operating system and no kind of their own.
fn kind_of(error: &io::Error) -> io::ErrorKind {
    match error.raw_os_error() {
        Some(_) => error.kind(),
        None => io::ErrorKind::NotFound,
    }
}

/// One of each family in turn, beginning with the family of the first, each family in its own order.
pub(crate) fn interleave(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut distinct: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
        // The names that matter have a handful; a hostile one must not make the check above dear.
        if distinct.len() == 4 * MAX_ADDRESSES {
            break;
        }
    }
    let six_first = distinct.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        distinct.into_iter().partition(|address| address.is_ipv6() == six_first);
    let mut second = second.into_iter();
    let mut mixed = Vec::new();
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed.truncate(MAX_ADDRESSES);
    mixed
}

/// The most addresses of a name that are tried: one started each 250 ms, they take 8 s of the 10 s that
/// connecting has by default.
pub(crate) const MAX_ADDRESSES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_favourite_comes_first() {
        let cases: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (&["1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
            (
                &["[2::1]:1", "[2::2]:1", "[2::3]:1", "1.1.1.1:1"],
                &["[2::1]:1", "1.1.1.1:1", "[2::2]:1", "[2::3]:1"],
            ),
            (
                &["1.1.1.1:1", "[2::1]:1", "[2::2]:1", "[2::3]:1"],
                &["1.1.1.1:1", "[2::1]:1", "[2::2]:1", "[2::3]:1"],
            ),
            (&["1.1.1.1:1", "1.1.1.1:1", "[2::1]:1"], &["1.1.1.1:1", "[2::1]:1"]),
        ];
        for (found, expected) in cases {
            assert_eq!(interleave(addresses(found).into_iter()), addresses(expected));
        }
    }

    #[test]
    fn a_name_with_a_thousand_addresses_is_cut() {
        let many = (0..1000).map(|port| SocketAddr::new([127, 0, 0, 1].into(), port));
        assert_eq!(interleave(many).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_is_not_found() {
        let label = "x".repeat(64);
        let error = SystemResolver.lookup(label.into()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
