//! The `settings` of a Link.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::resource::fields::Fields;
use crate::resource::node::Node;
use crate::resource::report::label;

/// What a Link's `settings` say, parsed.
///
/// `proxy-configuration` is Skupper's; the others are about the sockets that the link's carriers are dialed on, and
/// this crate's own. Skupper ignores them, as it ignores every key it does not know. An unknown key is a warning
/// here, not a refusal: a document must work as it is. A known key with a value out of its bounds refuses the Link.
///
/// Values are text, as in every `settings` of Kubernetes; a number may stand without quotes. Empty text is as good as
/// no setting. A *duration* is a whole number with its unit, `ms`, `s`, `m` or `h`, or in seconds without one: `250ms`,
/// `10s`, `10`. A *size* is a whole number of bytes, or with the unit `Ki` or `Mi`: `65536`, `64Ki`.
///
/// A changed setting is used from the next dial on; what is up stays as it is, but for carriers through another proxy
/// (`proxy-configuration`), which are replaced one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `bind-address`: the local address to dial from, an IP literal. Default: what the routing table says.
    ///
    /// For a router with several uplinks, or whose peers let in only one of its addresses. Addresses of the other
    /// family are then not dialed. An address that this machine does not have is a
    /// [`DialError::Bind`](crate::DialError::Bind) at each attempt, not a refusal: it may come.
    pub bind_address: Option<IpAddr>,
    /// `connect-timeout`: how long TCP may take to connect, all addresses of the host together. A duration,
    /// 100ms..=5m. Default: [`Deadlines::connect`](crate::config::Deadlines::connect), 10 s.
    ///
    /// Longer for a link over a satellite, shorter where an alternate is known to answer.
    pub connect_timeout: Option<Duration>,
    /// `keepalive`: the silence after which the kernel probes a connection, and the time between two probes. A
    /// duration, 1s..=2h, of which the kernel counts whole seconds. Default: a third of
    /// [`Liveness::dead`](crate::config::Liveness::dead), 10 s.
    ///
    /// The link has pings of its own, once a second; this is for what stands in between and forgets connections that
    /// are idle while a process is paused.
    pub keepalive: Option<Duration>,
    /// `proxy-configuration`: the name of a `kubernetes.io/basic-auth` Secret of the Link's namespace that
    /// says through which HTTP proxy to dial. An RFC 1123 name. Default: none, dial directly.
    ///
    /// A Link that names a proxy is never dialed without it: while the Secret is missing it is not configured.
    pub proxy_configuration: Option<Arc<str>>,
    /// `receive-buffer`: the kernel's receive buffer of a connection. A size, 16Ki..=64Mi. Default: the kernel tunes
    /// it, which is right nearly everywhere; a fixed size ends that.
    ///
    /// Raising it beyond the system's limit (`net.core.rmem_max`) has no effect and is no error.
    pub receive_buffer: Option<u32>,
    /// `send-buffer`: the kernel's send buffer of a connection. As [`Settings::receive_buffer`]; the limit is
    /// `net.core.wmem_max`.
    pub send_buffer: Option<u32>,
    /// `tcp-user-timeout`: how long the kernel waits for the acknowledgement of what was sent before it gives the
    /// connection up (`TCP_USER_TIMEOUT`, on Linux). A duration, 10s..=1h. Default:
    /// [`Liveness::dead`](crate::config::Liveness::dead), 30 s.
    ///
    /// Not below 10 s: peers that are paused but healthy would be cut.
    pub tcp_user_timeout: Option<Duration>,
}

impl Settings {
    /// Reads `spec.settings`; what is wrong goes to the report.
    pub(crate) fn read(fields: &mut Fields<'_, '_>) -> Self {
        fields.refuse_repeated();
        let mut settings = Self::default();
        let mut unknown = 0;
        for key in fields.keys() {
            match key {
                BIND_ADDRESS => settings.bind_address = bind_address(fields),
                CONNECT_TIMEOUT => settings.connect_timeout = within(fields, key, &CONNECT_BOUNDS),
                KEEPALIVE => settings.keepalive = within(fields, key, &KEEPALIVE_BOUNDS),
                PROXY_CONFIGURATION => settings.proxy_configuration = fields.name(PROXY_CONFIGURATION),
                RECEIVE_BUFFER => settings.receive_buffer = within(fields, key, &BUFFER_BOUNDS),
                SEND_BUFFER => settings.send_buffer = within(fields, key, &BUFFER_BOUNDS),
                TCP_USER_TIMEOUT => settings.tcp_user_timeout = within(fields, key, &USER_TIMEOUT_BOUNDS),
                _ => {
                    unknown += 1;
                    if unknown <= MAX_UNKNOWN {
                        fields.warn(&label(key), "is no known setting and ignored");
                    }
                }
            }
        }
        if unknown > MAX_UNKNOWN {
            fields.warn("", format!("{} more are no known settings and ignored", unknown - MAX_UNKNOWN));
        }
        settings
    }
}

/// What a setting may be, and how that is said.
struct Bounds<T> {
    range: RangeInclusive<T>,
    rule: &'static str,
    /// Reads a whole number and the unit behind it.
    read: fn(u64, &str) -> Option<T>,
}

/// Reads a setting that is a number with a unit.
fn within<T: PartialOrd>(fields: &mut Fields<'_, '_>, key: &str, bounds: &Bounds<T>) -> Option<T> {
    let node = fields.value(key)?;
    let value = match node {
        Node::Integer(number) => u64::try_from(*number).ok().and_then(|number| (bounds.read)(number, "")),
        Node::Text(text) if text.is_empty() => return None,
        Node::Text(text) => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = text.split_at(digits);
            number.parse().ok().and_then(|number| (bounds.read)(number, unit))
        }
        _ => None,
    };
    let value = value.filter(|value| bounds.range.contains(value));
    if value.is_none() {
        fields.refuse_found(key, bounds.rule, node);
    }
    value
}

fn bind_address(fields: &mut Fields<'_, '_>) -> Option<IpAddr> {
    let text = fields.text(BIND_ADDRESS).filter(|text| !text.is_empty())?;
    let address =
        text.parse().ok().filter(|address: &IpAddr| !address.is_unspecified() && !address.is_multicast());
    if address.is_none() {
        fields.refuse_text(BIND_ADDRESS, "must be the IP address of an interface", text);
    }
    address
}

fn duration(number: u64, unit: &str) -> Option<Duration> {
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

fn size(number: u64, unit: &str) -> Option<u32> {
    let bytes = match unit {
        "" => Some(number),
        "Ki" => number.checked_mul(1 << 10),
        "Mi" => number.checked_mul(1 << 20),
        _ => None,
    };
    bytes.and_then(|bytes| u32::try_from(bytes).ok())
}

const BIND_ADDRESS: &str = "bind-address";
const CONNECT_TIMEOUT: &str = "connect-timeout";
const KEEPALIVE: &str = "keepalive";
/// Skupper's key, the only one its code reads from a Link.
const PROXY_CONFIGURATION: &str = "proxy-configuration";
const RECEIVE_BUFFER: &str = "receive-buffer";
const SEND_BUFFER: &str = "send-buffer";
const TCP_USER_TIMEOUT: &str = "tcp-user-timeout";

/// From a round trip within a continent to the patience of TCP itself: with Linux's six repetitions of the first packet it
/// gives up after 127 s.
const CONNECT_BOUNDS: Bounds<Duration> = Bounds {
    range: Duration::from_millis(100)..=Duration::from_secs(300),
    rule: "must be a duration of 100ms..=5m",
    read: duration,
};

/// From what the kernel can count to its own default.
const KEEPALIVE_BOUNDS: Bounds<Duration> = Bounds {
    range: Duration::from_secs(1)..=Duration::from_secs(7200),
    rule: "must be a duration of 1s..=2h",
    read: duration,
};

/// From the greatest time after which a silent peer is merely suspect to beyond what TCP waits for by itself, a quarter of
/// an hour.
const USER_TIMEOUT_BOUNDS: Bounds<Duration> = Bounds {
    range: Duration::from_secs(10)..=Duration::from_secs(3600),
    rule: "must be a duration of 10s..=1h",
    read: duration,
};

/// From one record of TLS to what 10 Gbit/s need at 50 ms.
const BUFFER_BOUNDS: Bounds<u32> =
    Bounds { range: 16 << 10..=64 << 20, rule: "must be a size of 16Ki..=64Mi", read: size };

/// Unknown keys that are told one by one.
const MAX_UNKNOWN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::manifest::Manifest;

    fn document(settings: &str) -> Manifest {
        let text = format!(
            "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata: {{name: east}}\nspec:\n  tlsCredentials: east\n  \
             endpoints: [{{name: inter-router, host: east, port: '1'}}]\n  settings: {settings}\n"
        );
        Manifest::parse(text, "test")
    }

    fn read(settings: &str) -> Settings {
        let manifest = document(settings);
        assert_eq!(manifest.refused(), [], "{settings}");
        assert_eq!(manifest.warnings(), [], "{settings}");
        manifest.link("east").unwrap().settings.clone()
    }

    #[test]
    fn every_setting_is_read() {
        let settings = read(
            "{bind-address: fd00::1, connect-timeout: 250ms, keepalive: '15', proxy-configuration: p, \
             receive-buffer: 1Mi, send-buffer: '65536', tcp-user-timeout: 2m}",
        );
        let expected = Settings {
            bind_address: Some("fd00::1".parse().unwrap()),
            connect_timeout: Some(Duration::from_millis(250)),
            keepalive: Some(Duration::from_secs(15)),
            proxy_configuration: Some("p".into()),
            receive_buffer: Some(1 << 20),
            send_buffer: Some(65_536),
            tcp_user_timeout: Some(Duration::from_secs(120)),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_number_needs_no_quotes_and_empty_text_is_no_setting() {
        assert_eq!(read("{keepalive: 15}").keepalive, Some(Duration::from_secs(15)));
        assert_eq!(read("{send-buffer: 16384}").send_buffer, Some(16_384));
        assert_eq!(read("{bind-address: '', keepalive: '', proxy-configuration: ''}"), Settings::default());
        assert_eq!(read("{keepalive: null}"), Settings::default());
    }

    #[test]
    fn bounds_are_inclusive() {
        for (settings, expected) in
            [("{keepalive: 1s}", 1), ("{keepalive: 2h}", 7200), ("{keepalive: 1000ms}", 1)]
        {
            assert_eq!(read(settings).keepalive, Some(Duration::from_secs(expected)), "{settings}");
        }
        assert_eq!(read("{connect-timeout: 100ms}").connect_timeout, Some(Duration::from_millis(100)));
        assert_eq!(read("{receive-buffer: 64Mi}").receive_buffer, Some(64 << 20));
    }

    #[test]
    fn a_value_out_of_bounds_refuses_the_link_with_path_and_value() {
        let cases = [
            ("bind-address", "uplink1", "must be the IP address of an interface, found \"uplink1\""),
            ("bind-address", "0.0.0.0", "must be the IP address of an interface, found \"0.0.0.0\""),
            ("bind-address", "10.0.0.1/24", "must be the IP address of an interface, found \"10.0.0.1/24\""),
            ("connect-timeout", "99ms", "must be a duration of 100ms..=5m, found \"99ms\""),
            ("connect-timeout", "301", "must be a duration of 100ms..=5m, found 301"),
            ("keepalive", "-1", "must be a duration of 1s..=2h, found -1"),
            ("keepalive", "1.5s", "must be a duration of 1s..=2h, found \"1.5s\""),
            ("keepalive", "1 s", "must be a duration of 1s..=2h, found \"1 s\""),
            ("keepalive", "s", "must be a duration of 1s..=2h, found \"s\""),
            ("keepalive", "true", "must be a duration of 1s..=2h, found true"),
            ("keepalive", "5124095576030431h", "must be a duration of 1s..=2h, found \"5124095576030431h\""),
            ("tcp-user-timeout", "9999ms", "must be a duration of 10s..=1h, found \"9999ms\""),
            ("send-buffer", "16383", "must be a size of 16Ki..=64Mi, found 16383"),
            ("send-buffer", "64KB", "must be a size of 16Ki..=64Mi, found \"64KB\""),
            ("receive-buffer", "65Mi", "must be a size of 16Ki..=64Mi, found \"65Mi\""),
            (
                "receive-buffer",
                "17592186044417Mi",
                "must be a size of 16Ki..=64Mi, found \"17592186044417Mi\"",
            ),
        ];
        for (key, value, message) in cases {
            let manifest = document(&format!("{{{key}: {value}}}"));
            assert!(manifest.link("east").is_err(), "{key}: {value}");
            let [refusal] = manifest.refused() else { panic!("{key}: {value}: {:?}", manifest.refused()) };
            assert_eq!(refusal.to_string(), format!("Link east: spec.settings.{key}: {message}"));
        }
    }

    #[test]
    fn an_unknown_setting_is_a_warning() {
        let manifest = document("{keep-alive: 5}");
        let [warning] = manifest.warnings() else { panic!("{:?}", manifest.warnings()) };
        let expected = "Link east: spec.settings.keep-alive: is no known setting and ignored";
        assert_eq!(warning.to_string(), expected);
        assert_eq!(manifest.link("east").unwrap().settings, Settings::default());
    }
}
