#![no_main]

use std::time::Instant;

// The machines count from any instant and read no clock.
libfuzzer_sys::fuzz_target!(|data: &[u8]| sitelink::entries::fuzz_operations(Instant::now(), data));
