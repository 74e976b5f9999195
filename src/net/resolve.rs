//! From a host to the addresses to try, in the order in which to try them.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// The addresses of `host`, families interleaved as RFC 8305 §4 has it, the resolver's favourite first.
///
/// An address literal is taken as it is, without a resolver. Never an empty list, never more than
/// [`MAX_ADDRESSES`], none twice. Nothing is remembered: a name is looked up anew by every call, so a site that
/// moved is found. The look-up runs on tokio's threads for blocking work; when this future is dropped the system's
/// resolver ends in its own time and its answer is thrown away.
///
/// # Errors
/// What the system said; [`io::ErrorKind::NotFound`] when the resolver answered that there is none, or could not
/// tell.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, io::ErrorKind> {
    if let Ok(literal) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| kind_of(&error))?;
    let addresses = interleave(found);
    if addresses.is_empty() { Err(io::ErrorKind::NotFound) } else { Ok(addresses) }
}

/// The resolver's own verdicts have no number of the operating system and no kind of their own.
fn kind_of(error: &io::Error) -> io::ErrorKind {
    match error.raw_os_error() {
        Some(_) => error.kind(),
        None => io::ErrorKind::NotFound,
    }
}

/// One of each family in turn, beginning with the family of the first, each family in its own order.
fn interleave(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
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
const MAX_ADDRESSES: usize = 32;

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
    async fn a_literal_needs_no_resolver() {
        assert_eq!(resolve("127.0.0.1", 7).await, Ok(addresses(&["127.0.0.1:7"])));
        assert_eq!(resolve("::1", 7).await, Ok(addresses(&["[::1]:7"])));
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_is_not_found() {
        let label = "x".repeat(64);
        assert_eq!(resolve(&label, 7).await, Err(io::ErrorKind::NotFound));
    }
}
