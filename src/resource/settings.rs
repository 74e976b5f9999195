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
        fields.refuse_repeated();
        let mut settings = Self::default();
        let mut unknown = 0;
        for key in fields.keys() {
            match key {
                PROXY_CONFIGURATION => settings.proxy_configuration = fields.name(PROXY_CONFIGURATION),
                _ => {
                    unknown += 1;
                    if unknown <= MAX_UNKNOWN {
                        fields.warn(&label(key), "is no known setting and ignored");
                    }
                }
            }
        }
        if unknown > MAX_UNKNOWN {
            fields.warn("", format!("{} more are no known settings and ignored", unknown - MAX_UNKNOWN));
        }
        settings
    }
}

/// Skupper's key, the only one its code reads from a Link.
const PROXY_CONFIGURATION: &str = "proxy-configuration";

/// Unknown keys that are told one by one.
const MAX_UNKNOWN: usize = 16;
