//! The names of events.

use crate::event::EventKind;

impl EventKind {
    /// Its name, as it is serialized: `carrier_up` for [`EventKind::CarrierUp`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AccessDown { .. } => "access_down",
            Self::AccessUp { .. } => "access_up",
            Self::CarrierDown { .. } => "carrier_down",
            Self::CarrierReplacing { .. } => "carrier_replacing",
            Self::CarrierTrusted { .. } => "carrier_trusted",
            Self::CarrierSuspect { .. } => "carrier_suspect",
            Self::CarrierUp { .. } => "carrier_up",
            Self::CostChanged { .. } => "cost_changed",
            Self::CredentialsExpired { .. } => "credentials_expired",
            Self::CredentialsExpiring { .. } => "credentials_expiring",
            Self::CredentialsLoaded { .. } => "credentials_loaded",
            Self::CredentialsRefused { .. } => "credentials_refused",
            Self::CredentialsRevoked { .. } => "credentials_revoked",
            Self::CredentialsRotated { .. } => "credentials_rotated",
            Self::DialFailed { .. } => "dial_failed",
            Self::DialOvertaken { .. } => "dial_overtaken",
            Self::DocumentRefused { .. } => "document_refused",
            Self::DocumentWarning { .. } => "document_warning",
            Self::GroupDown { .. } => "group_down",
            Self::GroupUp { .. } => "group_up",
            Self::KeysRefused { .. } => "keys_refused",
            Self::Lagged { .. } => "lagged",
            Self::LinkChanged { .. } => "link_changed",
            Self::LinkConfigured { .. } => "link_configured",
            Self::LinkDraining { .. } => "link_draining",
            Self::LinkOperational { .. } => "link_operational",
            Self::LinkRefused { .. } => "link_refused",
            Self::LinkRemoved { .. } => "link_removed",
            Self::LinkResumed { .. } => "link_resumed",
            Self::PathLost { .. } => "path_lost",
            Self::PathSelected { .. } => "path_selected",
            Self::PeerRefused { .. } => "peer_refused",
            Self::RevocationListStale { .. } => "revocation_list_stale",
            Self::RotationCompleted { .. } => "rotation_completed",
            Self::RotationDelayed { .. } => "rotation_delayed",
            Self::SessionDown { .. } => "session_down",
            Self::SessionDraining { .. } => "session_draining",
            Self::SessionRecovering { .. } => "session_recovering",
            Self::SessionResumed { .. } => "session_resumed",
            Self::SessionStandby { .. } => "session_standby",
            Self::SessionUp { .. } => "session_up",
            Self::StreamClosed { .. } => "stream_closed",
            Self::StreamOpened { .. } => "stream_opened",
        }
    }
}
