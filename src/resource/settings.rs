//! The `settings` of a Link.

use std::sync::Arc;

use crate::resource::fields::Fields;
use crate::resource::report::label;

/// What a Link's `settings` say, parsed.
///
/// An unknown key is a warning, not a refusal: Skupper ignores it, and a document must work as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `proxy-configuration`: the name of a `kubernetes.io/basic-auth` Secret of the Link's namespace that
    /// says through which HTTP proxy to dial. An RFC 1123 name. Default: none, dial directly.
    pub proxy_configuration: Option<Arc<str>>,
}

impl Settings {
    /// Reads `spec.settings`; what is wrong goes to the report.
    pub(crate) fn read(fields: &mut Fields<'_, '_>) -> Self {
        let mut settings = Self::default();
        for key in fields.keys() {
            match key {
                PROXY_CONFIGURATION => settings.proxy_configuration = fields.name(PROXY_CONFIGURATION),
                _ => fields.warn(&label(key), "is no known setting and ignored"),
            }
        }
        settings
    }
}

/// Skupper's key, the only one its code reads from a Link.
const PROXY_CONFIGURATION: &str = "proxy-configuration";
