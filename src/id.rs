//! Names and ids: the words every floor shares.
//!
//! Each is a parsed type: a value that exists is valid. Text ids are shared (`Arc<str>`), so
//! cloning one costs an atomic increment.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Defines a text id: non-empty (or not, as said), at most 255 bytes, without control characters.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, min $min:literal) => {
        $(#[$doc])*
        ///
        /// At most [`MAX_TEXT_ID`] bytes of UTF-8 without control characters. Cloning is cheap.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text.
            ///
            /// # Errors
            /// [`IdError`] when the text is too short, too long, or holds a control character.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                valid_text($what, text, $min)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;

            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

text_id!(
    /// The id of a site: stable over restarts, usually a UUID, unique in the network.
    SiteId, "site id", min 1
);
text_id!(
    /// The name of a site, for people.
    SiteName, "site name", min 1
);
text_id!(
    /// The stable name of one router of a site.
    RouterName, "router name", min 1
);
text_id!(
    /// The name under which sites serve an application address.
    RoutingKey, "routing key", min 1
);
text_id!(
    /// The group of an endpoint: endpoints of one group reach one and the same router. May be empty.
    GroupName, "group", min 0
);
text_id!(
    /// The name of a Link document within its namespace, or the empty text on the accepting side.
    LinkName, "link name", min 0
);

/// A text was refused as an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct IdError {
    what: &'static str,
    problem: &'static str,
}

/// One run of a router: 128 random bits made at start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(pub [u8; 16]);

/// One session, chosen at random by the accepting side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// Hex of the 16 bytes, the form both ids have in logs, events and JSON.
macro_rules! hex_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
hex_id!(Instance);
hex_id!(KeyPin);
hex_id!(SessionId);

/// Defines a number id with `Display` as the bare number.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}
number_id!(
    /// A link this plane was asked to keep, unique in the life of the plane.
    LinkId(u64)
);
number_id!(
    /// A link access (a listening side) of this plane, unique in the life of the plane.
    AccessId(u64)
);
number_id!(
    /// A carrier of a session. The dialer numbers them upward from 0; none is used twice.
    CarrierNumber(u32)
);
number_id!(
    /// A stream of a session: 62 bits, even when the dialing side opened it, odd otherwise; never reused.
    StreamId(u64)
);
number_id!(
    /// Counts the rotations of a credentials bundle, each end its own.
    Ordinal(u64)
);
number_id!(
    /// A session as this plane counts them, for events and status; never sent to a peer.
    SessionNumber(u64)
);

/// What a link costs; lower is better, in units of open streams.
///
/// 1..=2147483647, as in Skupper. The default is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Cost(u32);

impl Cost {
    /// The cost of a link that says nothing.
    pub const DEFAULT: Self = Self(1);
    /// The largest cost: Skupper's router keeps costs in 31 bits.
    pub const MAX: u32 = 2_147_483_647;

    /// Parses a cost.
    ///
    /// # Errors
    /// [`IdError`] when it is 0 or above [`Cost::MAX`].
    pub fn new(cost: u32) -> Result<Self, IdError> {
        match cost {
            1..=Self::MAX => Ok(Self(cost)),
            _ => Err(IdError { what: "cost", problem: "must be 1..=2147483647" }),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a router is in the network, and which kind of endpoint it therefore dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[expect(clippy::exhaustive_enums, reason = "the two router modes of Skupper, closed by its protocol")]
pub enum RouterRole {
    /// Links to other interior routers and may have link access.
    Interior,
    /// Has one active uplink to an interior router and no link access.
    Edge,
}

impl RouterRole {
    /// The kind of link this router dials.
    #[must_use]
    pub fn link_role(self) -> LinkRole {
        match self {
            Self::Interior => LinkRole::InterRouter,
            Self::Edge => LinkRole::Edge,
        }
    }
}

/// The role of a link: the endpoint name a dialer looks for, and what a link access is configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "the two link roles of Skupper, closed by its protocol")]
pub enum LinkRole {
    /// Between two interior routers.
    InterRouter,
    /// From an edge router to an interior one.
    Edge,
}

impl LinkRole {
    /// The endpoint name of this role: `inter-router` or `edge`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InterRouter => "inter-router",
            Self::Edge => "edge",
        }
    }
}

impl fmt::Display for LinkRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LinkRole {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text {
            "inter-router" => Ok(Self::InterRouter),
            "edge" => Ok(Self::Edge),
            _ => Err(IdError { what: "role", problem: "must be inter-router or edge" }),
        }
    }
}

/// Which end of a session this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[expect(clippy::exhaustive_enums, reason = "a session has two ends")]
pub enum Side {
    /// The end that dials the carriers.
    Dialer,
    /// The end that accepts them.
    Acceptor,
}

/// A public key: the SHA-256 of its `SubjectPublicKeyInfo`. It stays the same when a certificate is renewed for the
/// same key.
///
/// Written as 64 hex digits, which is what this prints of a certificate:
/// `openssl x509 -in tls.crt -noout -pubkey | openssl pkey -pubin -outform der | sha256sum`
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPin(pub [u8; 32]);

impl FromStr for KeyPin {
    type Err = IdError;

    /// Takes 64 hex digits of either case; colons between bytes are allowed.
    fn from_str(text: &str) -> Result<Self, IdError> {
        // One more than a pin has is enough to see that it is none.
        let digits: String = text.chars().filter(|sign| *sign != ':').take(65).collect();
        let mut pin = [0; 32];
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(IdError { what: "key pin", problem: "must be the 64 hex digits of a SHA-256" });
        }
        for (byte, at) in pin.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_default();
        }
        Ok(Self(pin))
    }
}

/// Who the certificate says a peer is: issuer and subject of the verified leaf.
///
/// `Anonymous` is a peer without a client certificate, let in only where the access says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Principal {
    /// No client certificate was shown.
    Anonymous,
    /// The verified leaf's names, as RFC 4514 text.
    Certificate {
        /// Who issued the leaf.
        issuer: Arc<str>,
        /// Whom the leaf names.
        subject: Arc<str>,
    },
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Certificate { issuer, subject } => write!(f, "{subject} (issued by {issuer})"),
        }
    }
}

fn valid_text(what: &'static str, text: &str, min: usize) -> Result<(), IdError> {
    let problem = if text.len() < min {
        "must not be empty"
    } else if text.len() > MAX_TEXT_ID {
        "is longer than 255 bytes"
    } else if text.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(());
    };
    Err(IdError { what, problem })
}

/// The longest text id in bytes: its length fits one byte, and it is above the 253 of a DNS name
/// and a Kubernetes name, which is where such names come from.
pub const MAX_TEXT_ID: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_id_refuses_what_would_not_travel() {
        assert!(SiteId::new("").is_err());
        assert!(SiteId::new("a\nb").is_err());
        assert!(SiteId::new("x".repeat(256)).is_err());
        assert_eq!(SiteId::new("x".repeat(255)).unwrap().as_str().len(), 255);
        assert_eq!(GroupName::new("").unwrap().as_str(), "");
    }

    #[test]
    fn a_cost_has_skuppers_bounds() {
        assert!(Cost::new(0).is_err());
        assert!(Cost::new(Cost::MAX + 1).is_err());
        assert_eq!(Cost::new(Cost::MAX).unwrap().get(), Cost::MAX);
    }

    #[test]
    fn a_pin_reads_what_it_writes() {
        let pin = KeyPin(std::array::from_fn(|i| u8::try_from(i * 7).unwrap()));
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(pin.to_string().to_uppercase().parse(), Ok(pin));
        let colons: Vec<String> = pin.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(colons.join(":").parse(), Ok(pin));
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let good = "ab".repeat(32);
        for text in
            ["", "ab", &good[1..], &format!("{good}0"), &format!("{good}00"), &format!("{}g0", &good[2..])]
        {
            assert!(text.parse::<KeyPin>().is_err(), "{text:?}");
        }
        assert!(format!("{good}{}", "z".repeat(1 << 20)).parse::<KeyPin>().is_err());
    }
}
