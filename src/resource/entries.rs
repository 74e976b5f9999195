//! The private door for fuzzing.

use crate::resource::manifest::Manifest;
use crate::resource::report::MAX_FOUND;

/// Reads any bytes as documents and renders all that is said of them.
///
/// # Panics
/// When a text is longer than any refusal may be. Never for another cause: that is the finding.
pub fn fuzz_document(data: &[u8]) {
    let manifest = Manifest::parse(data, "fuzz");
    let refusals = manifest.refused().iter().map(ToString::to_string);
    let warnings = manifest.warnings().iter().map(ToString::to_string);
    for text in refusals.chain(warnings) {
        assert!(text.len() <= MAX_TEXT, "a remark of {} bytes", text.len());
    }
    for link in manifest.links() {
        assert!(manifest.links().filter(|other| other.key == link.key).count() == 1, "{} twice", link.key);
    }
    drop(format!("{manifest:?}"));
}

/// Kind, namespace, name, field and value, each within [`MAX_FOUND`] characters or a legal name, and words.
const MAX_TEXT: usize = 4 * 4 * MAX_FOUND + 4 * 253 + 512;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_fixture_cut_at_any_place_and_with_any_byte_changed_is_read_without_a_finding() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/links");
        for entry in fs::read_dir(folder).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            // Key material is long and dull: the first kilobytes have every kind of syntax.
            let bytes = &bytes[..bytes.len().min(1500)];
            for at in (0..bytes.len()).step_by(7) {
                fuzz_document(&bytes[..at]);
                let mut changed = bytes.to_vec();
                changed[at] = changed[at].wrapping_mul(31).wrapping_add(17);
                fuzz_document(&changed);
            }
        }
    }
}
