//! Bundles that are taken and bundles that are refused.
