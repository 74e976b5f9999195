//! The private door for fuzz targets, the replay of their corpus and benchmarks: no part of the public promise.

pub use crate::proto::paths::entries::Choosing;
pub use crate::proto::session::entries::{
    Busy, Reading, fuzz_hostile, fuzz_operations, hostile_seeds, operations_seeds,
};
pub use crate::resource::entries::fuzz_document;
pub use crate::tls::entries::fuzz_certificate;
pub use crate::wire::entries::{fuzz_decoder, fuzz_hello};
