#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sitelink::entries::fuzz_certificate(data));
