//! What a leaf certificate says: names, serial number, validity.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

pub use crate::certificate::LeafSummary;
use crate::id::KeyPin;

impl LeafSummary {
    /// Reads the first certificate of `der`. Text is bounded and has no control characters.
    ///
    /// # Errors
    /// What is wrong, in words, when it cannot be read.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, Arc<str>> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| "not a readable X.509 certificate")?;
        let names = match certificate.subject_alternative_name() {
            Ok(extension) => extension.map_or_else(Vec::new, |names| hosts(&names.value.general_names)),
            Err(_) => return Err("its subject alternative name cannot be read".into()),
        };
        let validity = certificate.validity();
        Ok(Self::new(
            text_of(certificate.subject()),
            text_of(certificate.issuer()),
            serial_of(certificate.raw_serial()),
            (validity.not_before.timestamp(), validity.not_after.timestamp()),
            names,
            KeyPin(Sha256::digest(certificate.public_key().raw).into()),
        ))
    }
}

/// A text of a peer made fit for a message: at most [`MAX_NAME`] characters, control characters escaped.
pub(crate) fn bounded(text: &str) -> Arc<str> {
    let mut out = String::new();
    for character in text.chars().take(MAX_NAME) {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    match out.char_indices().nth(MAX_NAME) {
        Some((end, _)) => Arc::from(&out[..end]),
        None => out.into(),
    }
}

fn hosts(names: &[GeneralName<'_>]) -> Vec<Arc<str>> {
    names.iter().filter_map(host).take(MAX_NAMES).collect()
}

fn host(name: &GeneralName<'_>) -> Option<Arc<str>> {
    match name {
        GeneralName::DNSName(name) => Some(bounded(name)),
        GeneralName::IPAddress(octets) => {
            let address = if let Ok(v4) = <[u8; 4]>::try_from(*octets) {
                IpAddr::from(v4)
            } else {
                IpAddr::from(<[u8; 16]>::try_from(*octets).ok()?)
            };
            Some(address.to_string().into())
        }
        _ => None,
    }
}

/// Cut as names are where it is longer than any authority's.
fn serial_of(raw: &[u8]) -> Arc<str> {
    // DER puts a zero before a number whose first bit is set; it is no part of the number.
    let digits = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    match digits.get(..MAX_SERIAL) {
        Some(kept) if digits.len() > MAX_SERIAL => format!("{}…", hex(kept)).into(),
        _ => hex(digits).into(),
    }
}

/// RFC 4514 text of a name. Two names with different values never get the same text: it is what a
/// principal is compared by, so values are escaped, and a text that has to be cut ends in a digest.
pub(super) fn text_of(name: &X509Name<'_>) -> Arc<str> {
    let rdns: Vec<String> =
        name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    // RFC 4514 §2.1: the last comes first.
    let text = rdns.into_iter().rev().collect::<Vec<_>>().join(",");
    // One that is cut has the full length, so that no other has.
    if text.chars().count() < MAX_NAME {
        return text.into();
    }
    let digest = hex(&Sha256::digest(text.as_bytes())[..DIGEST]);
    let kept: String = text.chars().take(MAX_NAME - 1 - digest.len()).collect();
    format!("{kept}…{digest}").into()
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid);
    let key = short.map_or(oid.as_str(), |(_, short)| short);
    match attribute.as_str() {
        Ok(value) => format!("{key}={}", escaped(value)),
        // RFC 4514 §2.4: what is no string is given as hex; here tag and content, which is enough to compare.
        Err(_) => {
            let value = attribute.attr_value();
            format!("{key}=#{:02x}{}", value.tag().0, hex(value.data))
        }
    }
}

/// RFC 4514 §2.4, with control characters escaped as well.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (i, character) in value.chars().enumerate() {
        let at_edge = (i == 0 && matches!(character, ' ' | '#')) || (i == last && character == ' ');
        if at_edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            out.push('\\');
            out.push(character);
        } else if character.is_control() {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                out.push('\\');
                out.push_str(&hex(&[byte]));
            }
        } else {
            out.push(character);
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The longest text of a subject or an issuer, in characters. A longer one is cut and ends in `…` and 32
/// hex digits of the SHA-256 of the whole, so that two long names that begin alike stay two principals.
///
/// X.520 allows 64 characters for a common name; four such attributes fit.
pub const MAX_NAME: usize = 256;

/// The octets of a serial number that are told: three times what an authority may use (RFC 5280 §4.1.2.2).
const MAX_SERIAL: usize = 64;

/// How many host names of a certificate are told: those of a site with many ingresses, and a message
/// of a few KiB at most when a peer fills its certificate.
pub const MAX_NAMES: usize = 32;

/// Bytes of the digest at the end of a cut name: 128 bits, beyond what one can search for a collision.
const DIGEST: usize = 16;

/// Short names of attributes: RFC 4514 §3, and the e-mail address that OpenSSL puts into subjects.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, SerialNumber};

    use super::*;

    fn summary_of(subject: &[(DnType, &str)], names: Vec<SanType>) -> LeafSummary {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
        }
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from_slice(&[0xf0, 0x01]));
        params.not_before = rcgen::date_time_ymd(2001, 9, 9);
        params.not_after = rcgen::date_time_ymd(2033, 5, 18);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        LeafSummary::from_der(certificate.der()).unwrap()
    }

    #[test]
    fn a_summary_tells_names_serial_and_validity() {
        let names = vec![
            SanType::DnsName("east.example".try_into().unwrap()),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::URI("spiffe://east".try_into().unwrap()),
        ];
        let leaf = summary_of(&[(DnType::OrganizationName, "East"), (DnType::CommonName, "router")], names);
        assert_eq!(&*leaf.subject, "CN=router,O=East");
        assert_eq!(leaf.issuer, leaf.subject);
        assert_eq!(&*leaf.serial, "f001");
        assert_eq!((leaf.not_before, leaf.not_after), (999_993_600, 1_999_987_200));
        let found: Vec<&str> = leaf.names.iter().map(|name| &**name).collect();
        assert_eq!(found, ["east.example", "192.0.2.7", "2001:db8::7"]);
    }

    #[test]
    fn a_name_cannot_pose_as_another_by_its_punctuation() {
        let cases = [
            ("east,O=West", "CN=east\\,O=West"),
            (" east ", "CN=\\ east\\ "),
            ("#east", "CN=\\#east"),
            ("a+b\\c", "CN=a\\+b\\\\c"),
            ("a\nb", "CN=a\\0ab"),
        ];
        for (value, text) in cases {
            assert_eq!(&*summary_of(&[(DnType::CommonName, value)], vec![]).subject, text);
        }
    }

    #[test]
    fn a_long_name_is_cut_and_stays_apart_from_those_that_begin_alike() {
        let one = summary_of(&[(DnType::CommonName, &format!("{}1", "x".repeat(400)))], vec![]);
        let two = summary_of(&[(DnType::CommonName, &format!("{}2", "x".repeat(400)))], vec![]);
        assert_eq!(one.subject.chars().count(), MAX_NAME);
        assert_ne!(one.subject, two.subject);
        // One that is made to look like the cut one is as long, and so is cut itself.
        let copy = one.subject.strip_prefix("CN=").unwrap();
        assert_ne!(summary_of(&[(DnType::CommonName, copy)], vec![]).subject, one.subject);
    }

    #[test]
    fn what_is_no_certificate_is_told_so() {
        assert_eq!(
            &*LeafSummary::from_der(b"\x30\x03\x02\x01\x00").unwrap_err(),
            "not a readable X.509 certificate"
        );
    }

    #[test]
    fn a_bent_certificate_is_refused_or_read_but_never_panics() {
        let mut params =
            CertificateParams::new(vec!["east.example".to_owned(), "192.0.2.7".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[1]));
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        for at in 0..der.len() {
            for byte in [0, 1, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut bent = der.clone();
                bent[at] = byte;
                if let Ok(leaf) = LeafSummary::from_der(&bent) {
                    assert!(leaf.subject.chars().count() <= MAX_NAME);
                }
            }
            assert!(LeafSummary::from_der(&der[..at]).is_err());
        }
    }

    #[test]
    fn a_bounded_text_has_no_control_character_and_an_end() {
        assert_eq!(&*bounded("a\u{1b}[2J"), "a\\u{1b}[2J");
        assert_eq!(bounded(&"\u{1b}".repeat(1000)).chars().count(), MAX_NAME);
    }
}
