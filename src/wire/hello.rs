//! The hello: the first frame of a carrier, both ways.
//!
//! Its payload is four bytes of magic, then fields in any order, each a tag, a length and that many
//! bytes. A tag that is not known is skipped, so that a later version may say more.

use std::fmt;
use std::time::Duration;

use bytes::{BufMut, BytesMut};

use crate::id::{
    CarrierNumber, Cost, GroupName, Instance, LinkName, LinkRole, Ordinal, RouterName, SessionId, SiteId,
    SiteName,
};
use crate::wire::reader::{Reader, text};
use crate::wire::{DecodeError, MIN_WINDOW, varint};

/// Who a peer is and what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Optional abilities, one bit each; those that both ends name are used.
    pub features: u64,
    /// The sender's site.
    pub site_id: SiteId,
    /// The sender's site, for people.
    pub site_name: SiteName,
    /// The sender's router within its site.
    pub router: RouterName,
    /// This run of it.
    pub instance: Instance,
    /// The role of this link.
    pub role: LinkRole,
    /// The dialer's name of the link; empty from an acceptor.
    pub link: LinkName,
    /// The group dialed; empty from an acceptor.
    pub group: GroupName,
    /// The sender's cost of this link; the larger of both ends' is in force.
    pub cost: Cost,
    /// How many streams the receiver of this hello may open at first.
    pub max_streams: u64,
    /// How many bytes the receiver of this hello may send on a new stream at first; at least 16,384.
    pub initial_window: u64,
    /// The sender's credentials ordinal.
    pub ordinal: Ordinal,
    /// How long the sender keeps a session without a carrier; the smaller of both ends' is in force.
    pub resume_window: Duration,
    /// The carrier's number, chosen by the dialer and repeated by the acceptor.
    pub carrier: CarrierNumber,
    /// The session this carrier is of.
    pub session: SessionClaim,
    /// The carriers of the session that the sender holds dead.
    pub dead: Vec<DeadCarrier>,
}

impl Hello {
    /// Appends the payload.
    ///
    /// Durations are written in whole milliseconds. Of [`dead`](Self::dead) the first [`MAX_DEAD`] are
    /// written, since more would be refused. An acceptor puts the carriers it has unsettled first and those
    /// it only answers for behind them: what is cut is then asked for again by the next hello.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        debug_assert!(self.dead.len() <= MAX_DEAD, "{} dead carriers in a hello", self.dead.len());
        out.put_slice(&MAGIC);
        number_field(tag::FEATURES, self.features, out);
        field(tag::SITE_ID, self.site_id.as_str().as_bytes(), out);
        field(tag::SITE_NAME, self.site_name.as_str().as_bytes(), out);
        field(tag::ROUTER, self.router.as_str().as_bytes(), out);
        field(tag::INSTANCE, &self.instance.0, out);
        let role = match self.role {
            LinkRole::InterRouter => ROLE_INTER_ROUTER,
            LinkRole::Edge => ROLE_EDGE,
        };
        field(tag::ROLE, &[role], out);
        if !self.link.as_str().is_empty() {
            field(tag::LINK, self.link.as_str().as_bytes(), out);
        }
        if !self.group.as_str().is_empty() {
            field(tag::GROUP, self.group.as_str().as_bytes(), out);
        }
        number_field(tag::COST, self.cost.get().into(), out);
        number_field(tag::MAX_STREAMS, self.max_streams, out);
        number_field(tag::INITIAL_WINDOW, self.initial_window, out);
        number_field(tag::ORDINAL, self.ordinal.0, out);
        let resume_millis = u64::try_from(self.resume_window.as_millis()).unwrap_or(u64::MAX);
        number_field(tag::RESUME_WINDOW, resume_millis, out);
        number_field(tag::CARRIER, self.carrier.0.into(), out);
        self.session.encode(out);
        if !self.dead.is_empty() {
            let mut list = BytesMut::new();
            for dead in self.dead.iter().take(MAX_DEAD) {
                varint::encode(dead.number.0.into(), &mut list);
                varint::encode(dead.received, &mut list);
            }
            field(tag::DEAD, &list, out);
        }
    }

    /// Reads a payload.
    ///
    /// A resume window above [`MAX_RESUME_WINDOW`] is taken as that: the smaller of both ends' stands
    /// anyhow. Counts and windows need no upper bound, because they allow and oblige to nothing.
    ///
    /// # Errors
    /// [`DecodeError::BadHello`], whatever is wrong with it.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Fields::parse(payload).and_then(Fields::hello).map_err(|_| DecodeError::BadHello)
    }
}

/// The fields of a hello as they come.
#[derive(Default)]
struct Fields {
    features: Option<u64>,
    site_id: Option<SiteId>,
    site_name: Option<SiteName>,
    router: Option<RouterName>,
    instance: Option<Instance>,
    role: Option<LinkRole>,
    link: Option<LinkName>,
    group: Option<GroupName>,
    cost: Option<Cost>,
    max_streams: Option<u64>,
    initial_window: Option<u64>,
    ordinal: Option<Ordinal>,
    resume_window: Option<Duration>,
    carrier: Option<CarrierNumber>,
    session: Option<SessionClaim>,
    dead: Option<Vec<DeadCarrier>>,
}

impl Fields {
    fn parse(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        if reader.array()? != MAGIC {
            return Err(DecodeError::BadHello);
        }
        let mut fields = Self::default();
        while !reader.is_empty() {
            let tag = reader.number()?;
            let length = reader.number()?;
            fields.take(tag, reader.bytes(length)?)?;
        }
        Ok(fields)
    }

    fn take(&mut self, tag: u64, value: &[u8]) -> Result<(), DecodeError> {
        match tag {
            tag::FEATURES => once(&mut self.features, number(value)?),
            tag::SITE_ID => once(&mut self.site_id, text(value)?),
            tag::SITE_NAME => once(&mut self.site_name, text(value)?),
            tag::ROUTER => once(&mut self.router, text(value)?),
            tag::INSTANCE => once(&mut self.instance, Instance(array(value)?)),
            tag::ROLE => once(&mut self.role, role(value)?),
            tag::LINK => once(&mut self.link, text(value)?),
            tag::GROUP => once(&mut self.group, text(value)?),
            tag::COST => {
                let cost = u32::try_from(number(value)?).map_err(|_| DecodeError::BadHello)?;
                once(&mut self.cost, Cost::new(cost).map_err(|_| DecodeError::BadHello)?)
            }
            tag::MAX_STREAMS => once(&mut self.max_streams, number(value)?),
            tag::INITIAL_WINDOW => match number(value)? {
                0..MIN_WINDOW => Err(DecodeError::BadHello),
                window => once(&mut self.initial_window, window),
            },
            tag::ORDINAL => once(&mut self.ordinal, Ordinal(number(value)?)),
            tag::RESUME_WINDOW => {
                let window = Duration::from_millis(number(value)?).min(MAX_RESUME_WINDOW);
                once(&mut self.resume_window, window)
            }
            tag::CARRIER => {
                let number = u32::try_from(number(value)?).map_err(|_| DecodeError::BadHello)?;
                once(&mut self.carrier, CarrierNumber(number))
            }
            tag::SESSION => once(&mut self.session, SessionClaim::decode(value)?),
            tag::DEAD => once(&mut self.dead, dead(value)?),
            _ => Ok(()),
        }
    }

    fn hello(self) -> Result<Hello, DecodeError> {
        Ok(Hello {
            features: required(self.features)?,
            site_id: required(self.site_id)?,
            site_name: required(self.site_name)?,
            router: required(self.router)?,
            instance: required(self.instance)?,
            role: required(self.role)?,
            link: self.link.map_or_else(|| text(b""), Ok)?,
            group: self.group.map_or_else(|| text(b""), Ok)?,
            cost: required(self.cost)?,
            max_streams: required(self.max_streams)?,
            initial_window: required(self.initial_window)?,
            ordinal: required(self.ordinal)?,
            resume_window: required(self.resume_window)?,
            carrier: required(self.carrier)?,
            session: required(self.session)?,
            dead: self.dead.unwrap_or_default(),
        })
    }
}

/// Which session a hello is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "crate-internal vocabulary: every match must see every kind")]
pub enum SessionClaim {
    /// Dialer: begin a new session.
    New,
    /// Dialer: join this session.
    Join {
        /// The session.
        session: SessionId,
        /// HMAC-SHA-256 over the connection's exporter and the carrier's number.
        proof: [u8; 32],
    },
    /// Acceptor: the session begun now.
    Begun {
        /// Its id.
        session: SessionId,
        /// The secret that joining proofs are keyed with.
        secret: SessionSecret,
    },
    /// Acceptor: the session joined.
    Joined {
        /// Its id.
        session: SessionId,
    },
}

impl SessionClaim {
    fn encode(&self, out: &mut BytesMut) {
        let mut value = [0; 1 + 16 + 32];
        let length = match self {
            Self::New => {
                value[0] = CLAIM_NEW;
                1
            }
            Self::Join { session, proof } => {
                value[0] = CLAIM_JOIN;
                value[1..17].copy_from_slice(&session.0);
                value[17..].copy_from_slice(proof);
                value.len()
            }
            Self::Begun { session, secret } => {
                value[0] = CLAIM_BEGUN;
                value[1..17].copy_from_slice(&session.0);
                value[17..].copy_from_slice(&secret.0);
                value.len()
            }
            Self::Joined { session } => {
                value[0] = CLAIM_JOINED;
                value[1..17].copy_from_slice(&session.0);
                17
            }
        };
        field(tag::SESSION, &value[..length], out);
    }

    fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let claim = match reader.byte()? {
            CLAIM_NEW => Self::New,
            CLAIM_JOIN => Self::Join { session: SessionId(reader.array()?), proof: reader.array()? },
            CLAIM_BEGUN => {
                Self::Begun { session: SessionId(reader.array()?), secret: SessionSecret(reader.array()?) }
            }
            CLAIM_JOINED => Self::Joined { session: SessionId(reader.array()?) },
            _ => return Err(DecodeError::BadHello),
        };
        reader.end()?;
        Ok(claim)
    }
}

/// The 256-bit secret of a session. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret(pub [u8; 32]);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

/// A carrier its sender holds dead, and how far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadCarrier {
    /// The carrier.
    pub number: CarrierNumber,
    /// Its logged bytes that the sender of this hello received into the session.
    pub received: u64,
}

fn field(tag: u64, value: &[u8], out: &mut BytesMut) {
    varint::encode(tag, out);
    varint::encode(value.len() as u64, out);
    out.put_slice(value);
}

fn number_field(tag: u64, value: u64, out: &mut BytesMut) {
    varint::encode(tag, out);
    varint::encode(varint::size(value) as u64, out);
    varint::encode(value, out);
}

/// A field that comes twice is refused: two readers might take different ones.
fn once<T>(field: &mut Option<T>, value: T) -> Result<(), DecodeError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(DecodeError::BadHello),
    }
}

fn required<T>(field: Option<T>) -> Result<T, DecodeError> {
    field.ok_or(DecodeError::BadHello)
}

fn number(value: &[u8]) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(value);
    let number = reader.number()?;
    reader.end()?;
    Ok(number)
}

fn array<const N: usize>(value: &[u8]) -> Result<[u8; N], DecodeError> {
    value.try_into().map_err(|_| DecodeError::BadHello)
}

fn role(value: &[u8]) -> Result<LinkRole, DecodeError> {
    match value {
        [ROLE_INTER_ROUTER] => Ok(LinkRole::InterRouter),
        [ROLE_EDGE] => Ok(LinkRole::Edge),
        _ => Err(DecodeError::BadHello),
    }
}

fn dead(value: &[u8]) -> Result<Vec<DeadCarrier>, DecodeError> {
    let mut reader = Reader::new(value);
    let mut list: Vec<DeadCarrier> = Vec::new();
    while !reader.is_empty() {
        let dead = DeadCarrier { number: CarrierNumber(reader.number32()?), received: reader.number()? };
        if list.len() == MAX_DEAD || list.iter().any(|earlier| earlier.number == dead.number) {
            return Err(DecodeError::BadHello);
        }
        list.push(dead);
    }
    Ok(list)
}

mod tag {
    pub(super) const FEATURES: u64 = 0x01;
    pub(super) const SITE_ID: u64 = 0x02;
    pub(super) const SITE_NAME: u64 = 0x03;
    pub(super) const ROUTER: u64 = 0x04;
    pub(super) const INSTANCE: u64 = 0x05;
    pub(super) const ROLE: u64 = 0x06;
    pub(super) const LINK: u64 = 0x07;
    pub(super) const GROUP: u64 = 0x08;
    pub(super) const COST: u64 = 0x09;
    pub(super) const MAX_STREAMS: u64 = 0x0a;
    pub(super) const INITIAL_WINDOW: u64 = 0x0b;
    pub(super) const ORDINAL: u64 = 0x0c;
    pub(super) const RESUME_WINDOW: u64 = 0x0d;
    pub(super) const CARRIER: u64 = 0x0e;
    pub(super) const SESSION: u64 = 0x0f;
    pub(super) const DEAD: u64 = 0x10;
}

/// The most dead carriers a hello may list: eight carriers may be up at once, so eight losses of each
/// are told before one hello gets through; a list of 64 still fits [`MAX_HELLO`](crate::wire::kind::MAX_HELLO).
pub const MAX_DEAD: usize = 64;

/// The longest resume window that is believed: an hour, after which an application has given up, and
/// for which no peer may make this end hold a session's memory without a connection.
pub const MAX_RESUME_WINDOW: Duration = Duration::from_secs(3600);

/// So that a reader of bytes sees at once what they are, and what is no hello is not taken for one.
const MAGIC: [u8; 4] = *b"SLNK";

const ROLE_INTER_ROUTER: u8 = 0;
const ROLE_EDGE: u8 = 1;

const CLAIM_NEW: u8 = 0;
const CLAIM_JOIN: u8 = 1;
const CLAIM_BEGUN: u8 = 2;
const CLAIM_JOINED: u8 = 3;

#[cfg(test)]
mod tests;
