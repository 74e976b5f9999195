//! Codes on the wire: why a carrier or session was closed, why a stream was refused or reset.
//!
//! Numbers are frozen once released; an unknown one is kept and shown as its number.

use std::fmt;

/// Defines an open set of codes: a number with names for the known ones.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $konst:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub u32);

        impl $name {
            $($(#[$vdoc])* pub const $konst: Self = Self($value);)*

            /// Every named code, in order of number.
            pub const ALL: &'static [Self] = &[$(Self::$konst),*];

            /// The name of a known code, in words.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "code {:#x}", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x}: {self})", stringify!($name), self.0)
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

codes! {
    /// Why a carrier or a session was closed or refused by its peer.
    CloseCode {
        /// Nothing is wrong: the session ended because its owner was done with it.
        NORMAL = 0x00, "closed normally";
        /// The router shuts down.
        SHUTDOWN = 0x01, "shutting down";
        /// The session was drained.
        DRAINED = 0x02, "drained";
        /// A newer carrier, session or instance took this one's place.
        REPLACED = 0x03, "replaced";
        /// Nothing was received for too long.
        DEAD = 0x04, "no sign of life";
        /// The link was removed or the peer disconnected by an operator.
        DISCONNECTED = 0x05, "disconnected by its operator";
        /// Bytes that are no frame.
        MALFORMED = 0x10, "malformed frame";
        /// A frame beyond its limit.
        TOO_LARGE = 0x11, "frame beyond its limit";
        /// A critical frame kind this end does not know.
        UNKNOWN_KIND = 0x12, "unknown frame kind";
        /// A frame where it may not be.
        UNEXPECTED = 0x13, "unexpected frame";
        /// More data than the credit allowed.
        FLOW_CONTROL = 0x14, "credit exceeded";
        /// More streams than allowed.
        STREAM_LIMIT = 0x15, "too many streams";
        /// Too many cheap frames for too little work.
        FLOOD = 0x16, "too many frames for too little work";
        /// A stream finished at another length than was received.
        FINAL_SIZE = 0x17, "stream ended at another length";
        /// An acknowledgement of what was never sent.
        BAD_ACK = 0x18, "acknowledged what was not sent";
        /// Too many routing keys.
        KEY_LIMIT = 0x19, "too many routing keys";
        /// A hello that cannot be read, or lacks a part.
        BAD_HELLO = 0x20, "bad hello";
        /// The session to join is not known here.
        SESSION_GONE = 0x21, "session unknown";
        /// The proof of a joining carrier does not hold.
        BAD_PROOF = 0x22, "joining proof does not hold";
        /// A joining carrier shows another principal than the session's first.
        OTHER_PRINCIPAL = 0x23, "another principal than the session's";
        /// The carrier reached another instance than the session's.
        OTHER_INSTANCE = 0x24, "another instance than the session's";
        /// The (site, router) is live under another principal.
        SITE_ID_CONFLICT = 0x25, "site id in use by another principal";
        /// This access does not take links of that role.
        ROLE_REFUSED = 0x26, "role not taken here";
        /// The principal may not link here.
        NOT_AUTHORIZED = 0x27, "principal may not link here";
        /// Too many peers, carriers or handshakes; may carry a retry-after.
        BUSY = 0x28, "too busy";
        /// The same instance is already linked by another group of this link.
        DUPLICATE = 0x29, "duplicate of another group's session";
        /// The peer is this very instance.
        SELF_LINK = 0x2a, "linked to itself";
        /// The hello did not come in time.
        HELLO_TIMEOUT = 0x2b, "no hello in time";
        /// A certificate has expired.
        EXPIRED = 0x2c, "certificate expired";
        /// The credentials were revoked.
        REVOKED = 0x2d, "credentials revoked";
        /// A fault of this end, not the peer's.
        INTERNAL = 0x3f, "internal error";
    }
}

codes! {
    /// Why a stream was refused, reset, or its reading stopped.
    ///
    /// Numbers from [`StreamCode::FIRST_APPLICATION`] up are the application's own.
    StreamCode {
        /// The application gave the stream up (dropped it).
        CANCELLED = 0x00, "cancelled";
        /// Nobody serves the routing key here.
        NOT_SERVED = 0x01, "routing key not served";
        /// Too many streams wait to be accepted.
        BUSY = 0x02, "too busy";
        /// The router drains.
        DRAINING = 0x03, "draining";
        /// Nobody accepted the stream in time, or it was idle for too long.
        TIMED_OUT = 0x04, "timed out";
        /// This end of the session is on standby.
        STANDBY = 0x05, "standby";
        /// The application behind the stream could not be reached.
        UNREACHABLE = 0x06, "application not reachable";
        /// The application's own connection was reset.
        APPLICATION_RESET = 0x07, "application connection reset";
        /// Refused by the application.
        REFUSED = 0x08, "refused by the application";
    }
}

impl StreamCode {
    /// The first number that is the application's own; those below are this protocol's.
    pub const FIRST_APPLICATION: u32 = 0x100;

    /// An application's own code.
    #[must_use]
    pub fn application(code: u32) -> Self {
        Self(code.saturating_add(Self::FIRST_APPLICATION))
    }
}
