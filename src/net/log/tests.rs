use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::event::KeysRefusedReason;
use crate::id::Ordinal;
use crate::stats::RoundTrip;

const SESSION: SessionNumber = SessionNumber(3);
const LINK: LinkId = LinkId(7);

#[test]
fn the_all_clear_of_a_warning_is_heard_where_the_warning_was() {
    let (session, carrier) = (SESSION, CarrierNumber(0));
    let (last_received_ago, round_trip) = (Duration::ZERO, RoundTrip::default());
    let suspect = EventKind::CarrierSuspect { session, carrier, last_received_ago, round_trip };
    assert_eq!(level(&suspect), Level::WARN);
    assert_eq!(level(&EventKind::CarrierTrusted { session, carrier }), Level::INFO);
}

#[test]
fn what_is_of_a_session_or_a_link_is_written_with_its_number() {
    let standby = EventKind::SessionStandby { session: SESSION, standby: true, by_peer: false };
    let reason = KeysRefusedReason::Anonymous;
    let refused = EventKind::KeysRefused { session: SESSION, keys: Vec::new(), count: 1, reason };
    assert_eq!([session_of(&standby), session_of(&refused)], [Some(SESSION); 2]);
    let rotated = |link| EventKind::CredentialsRotated {
        link,
        access: None,
        name: Arc::from("east"),
        ordinal: Ordinal(2),
        serial: None,
        not_after: None,
    };
    assert_eq!([link_of(&rotated(Some(LINK))), link_of(&rotated(None))], [Some(LINK), None]);
    let overtaken = EventKind::DialOvertaken {
        link: LINK,
        name: "east".parse().unwrap(),
        group: "a".parse().unwrap(),
        endpoint: "east:1".into(),
        attempt: 1,
        reached: true,
        by: "east:2".into(),
        after: Duration::ZERO,
    };
    assert_eq!((link_of(&overtaken), level(&overtaken)), (Some(LINK), Level::DEBUG));
}
