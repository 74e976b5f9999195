//! The private door for fuzz targets and the replay of their corpus: no part of the public promise.

pub use crate::proto::session::entries::{fuzz_hostile, fuzz_operations, hostile_seeds, operations_seeds};
pub use crate::resource::entries::fuzz_document;
pub use crate::tls::entries::fuzz_certificate;
pub use crate::wire::entries::{fuzz_decoder, fuzz_hello};
