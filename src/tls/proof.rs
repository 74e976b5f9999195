//! The proof by which a carrier joins a session.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::id::{CarrierNumber, SessionId};
use crate::wire::hello::SessionSecret;

/// HMAC-SHA-256 that ties a carrier to its session and to the one TLS connection it runs over.
///
/// The key is the session's secret; the message is [`PROOF_LABEL`], the connection's exporter, the
/// session's id and the carrier's number (big-endian). The parts have fixed lengths, so no two inputs
/// share a message. A proof from another connection does not hold here, since its exporter differs;
/// neither does one for another number.
pub(crate) fn join_proof(
    secret: &SessionSecret,
    exporter: &[u8; EXPORTER_LEN],
    session: SessionId,
    carrier: CarrierNumber,
) -> [u8; 32] {
    // HMAC pads a key that is shorter than the hash's block with zeros (RFC 2104 §2). Padded here, the
    // key has a length that cannot be refused.
    let mut block = [0; 64];
    block[..32].copy_from_slice(&secret.0);
    Hmac::<Sha256>::new(&block.into())
        .chain_update(PROOF_LABEL)
        .chain_update(exporter)
        .chain_update(session.0)
        .chain_update(carrier.0.to_be_bytes())
        .finalize()
        .into_bytes()
        .into()
}

/// Whether a proof holds, in a time that does not depend on where it is wrong.
pub(crate) fn verify_join_proof(
    secret: &SessionSecret,
    exporter: &[u8; EXPORTER_LEN],
    session: SessionId,
    carrier: CarrierNumber,
    proof: &[u8; 32],
) -> bool {
    join_proof(secret, exporter, session, carrier).ct_eq(proof).into()
}

/// The label under which the exporter of a TLS connection is taken (RFC 8446 §7.5), without context.
/// `EXPORTER-` is the prefix for labels that IANA need not know (RFC 5705 §4 asks for one of one's own).
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-sitelink-join";

/// The length of the exporter in bytes: that of the hash, 256 bits as the secret has.
pub(crate) const EXPORTER_LEN: usize = 32;

/// Begins every proof's message, so that the session secret can serve another purpose one day.
const PROOF_LABEL: &[u8] = b"sitelink/1 join";

#[cfg(test)]
mod tests {
    use super::*;

    fn counting<const N: usize>(from: u8) -> [u8; N] {
        std::array::from_fn(|i| from + u8::try_from(i).unwrap())
    }

    fn proof() -> [u8; 32] {
        join_proof(&SessionSecret(counting(0)), &counting(0x40), SessionId(counting(0x80)), CarrierNumber(7))
    }

    #[test]
    fn a_proof_has_its_golden_bytes() {
        // python3: hmac.new(bytes(range(32)), b"sitelink/1 join" + bytes(range(0x40, 0x60))
        //   + bytes(range(0x80, 0x90)) + struct.pack(">I", 7), "sha256").hexdigest()
        let hex: String = proof().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "d5c9caa94a8f26e9ccdcb3223c3c82eaf3040d20ca858fcd6359bc71e35c47c8");
    }

    #[test]
    fn the_proof_of_the_specification_holds() {
        let (secret, exporter) = (SessionSecret(counting(0x30)), counting(0x70));
        let proof = join_proof(&secret, &exporter, SessionId(counting(0x20)), CarrierNumber(2));
        let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        let (_, specified) =
            include_str!("../../docs/protocol.md").split_once("\nProof, with secret").unwrap();
        assert!(specified.contains(&format!("\n{hex}\n")), "{hex}");
    }

    #[test]
    fn a_proof_holds_for_its_own_inputs_alone() {
        let (secret, exporter) = (SessionSecret(counting(0)), counting(0x40));
        let (session, carrier) = (SessionId(counting(0x80)), CarrierNumber(7));
        assert!(verify_join_proof(&secret, &exporter, session, carrier, &proof()));

        let mut bent = proof();
        bent[31] ^= 1;
        let cases = [
            (SessionSecret(counting(1)), exporter, session, carrier, proof()),
            (secret.clone(), counting(0x41), session, carrier, proof()),
            (secret.clone(), exporter, SessionId(counting(0x81)), carrier, proof()),
            (secret.clone(), exporter, session, CarrierNumber(8), proof()),
            (secret, exporter, session, carrier, bent),
        ];
        for (secret, exporter, session, carrier, proof) in cases {
            assert!(!verify_join_proof(&secret, &exporter, session, carrier, &proof));
        }
    }
}
