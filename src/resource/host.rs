//! Hosts and ports of endpoints.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use rustls_pki_types::DnsName;

use crate::resource::fields::Fields;
use crate::resource::node::Node;

/// The host of an endpoint: a DNS name or an IP address.
///
/// The rule for names is the one certificates are verified by, so that a host that is taken can also be
/// verified. `Display` is the bare host, IPv6 without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a host is a name or an address")]
pub enum Host {
    /// A DNS name: at most 253 bytes, labels of at most 63 letters, digits, `-` or `_`, the last not all digits.
    Name(Arc<str>),
    /// An address literal.
    Ip(IpAddr),
}

impl Host {
    /// `host:port`, with IPv6 in brackets.
    pub(crate) fn with_port(&self, port: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{port}"),
            _ => write!(f, "{self}:{port}"),
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    /// Reads a DNS name or an IP literal, IPv6 with or without brackets.
    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError)?;
            return inner.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).map_err(|_| HostError);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip));
        }
        DnsName::try_from(text).map(|_| Self::Name(Arc::from(text))).map_err(|_| HostError)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => fmt::Display::fmt(ip, f),
        }
    }
}

/// A text is neither a DNS name nor an IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a DNS name or an IP address")]
pub struct HostError;

/// Reads a port given as text: 1..=65535 in digits, or `amqps`.
pub(crate) fn port(text: &str) -> Option<u16> {
    if text == "amqps" {
        return Some(AMQPS_PORT);
    }
    // No sign, and no leading zero: some would read such a number as octal.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

/// Reads a `host`.
pub(crate) fn read_host(fields: &mut Fields<'_, '_>) -> Option<Host> {
    if !fields.has("host") {
        fields.refuse("host", "is missing");
    }
    let text = fields.text("host")?;
    match text.parse::<Host>() {
        Ok(host) => Some(host),
        Err(problem) => {
            fields.refuse_text("host", &problem.to_string(), text);
            None
        }
    }
}

/// Reads a `port`: a number or text.
pub(crate) fn read_port(fields: &mut Fields<'_, '_>) -> Option<u16> {
    let Some(node) = fields.value("port") else {
        fields.refuse("port", "is missing");
        return None;
    };
    let number = match node {
        Node::Integer(number) => u16::try_from(*number).ok().filter(|&port| port != 0),
        Node::Text(text) => port(text),
        _ => None,
    };
    if number.is_none() {
        fields.refuse_found("port", "must be 1..=65535 or amqps", node);
    }
    number
}

/// The port IANA gives to `amqps`, which is what Skupper's router takes the word for.
const AMQPS_PORT: u16 = 5671;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_dns_name_or_an_ip_literal() {
        for (text, shown, with_port) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.1:1"),
            ("fd00::1", "fd00::1", "[fd00::1]:1"),
            ("[fd00::1]", "fd00::1", "[fd00::1]:1"),
            ("West.example.com", "West.example.com", "West.example.com:1"),
            ("a", "a", "a:1"),
            ("1.example.", "1.example.", "1.example.:1"),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!(host.to_string(), shown);
            struct Shown(Host);
            impl fmt::Display for Shown {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.with_port(1, f)
                }
            }
            assert_eq!(Shown(host).to_string(), with_port);
        }
    }

    #[test]
    fn anything_else_is_no_host() {
        let long = format!("{}.example", "a".repeat(64));
        for text in [
            "",
            " ",
            ".",
            "..",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a/b",
            "../etc",
            "host:443",
            "user@host",
            "999.1.1.1",
            "10.0.0",
            "[10.0.0.1]",
            "[fd00::1",
            "fd00::1]",
            "fe80::1%eth0",
            "http://west",
            "müller.example",
            "a\nb",
            "a\0",
            &long,
        ] {
            assert_eq!(text.parse::<Host>(), Err(HostError), "{text:?}");
        }
    }

    #[test]
    fn a_port_is_digits_within_bounds_or_amqps() {
        assert_eq!(port("55671"), Some(55671));
        assert_eq!(port("amqps"), Some(5671));
        for text in [
            "",
            "0",
            "65536",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "amqp",
            "https",
            "0x10",
            "0443",
            "99999999999999999999",
        ] {
            assert_eq!(port(text), None, "{text:?}");
        }
    }
}
