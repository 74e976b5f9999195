use std::sync::Arc;

use super::*;
use crate::config::PlaneConfig;
use crate::id::{
    AccessId, CarrierNumber, Cost, GroupName, Instance, LinkId, LinkName, LinkRole, Ordinal, RouterName,
    RouterRole, SiteId, SiteName,
};
use crate::proto::facts::Local;
use crate::proto::roster::Beginning;
use crate::proto::some_moment;

const LIMIT: usize = 3;

fn config() -> FleetConfig {
    let local = Local {
        site_id: SiteId::new("home").unwrap(),
        site_name: SiteName::new("home").unwrap(),
        router: RouterName::new("r0").unwrap(),
        instance: Instance([0; 16]),
        role: RouterRole::Interior,
    };
    FleetConfig { accepted_sessions: LIMIT, ..FleetConfig::new(local, &PlaneConfig::default()) }
}

fn certificate(subject: &str) -> Principal {
    Principal::Certificate { issuer: "CN=ca".into(), subject: Arc::from(subject) }
}

/// An arrival from site "west", router "r1", instance 1, principal "west", link "l", group "", beginning a session.
fn arrival() -> Arrival {
    let hello = Hello {
        features: 0,
        site_id: SiteId::new("west").unwrap(),
        site_name: SiteName::new("west").unwrap(),
        router: RouterName::new("r1").unwrap(),
        instance: Instance([1; 16]),
        role: LinkRole::InterRouter,
        link: LinkName::new("l").unwrap(),
        group: GroupName::new("").unwrap(),
        cost: Cost::DEFAULT,
        max_streams: 1,
        initial_window: 16_384,
        ordinal: Ordinal(0),
        resume_window: Duration::from_secs(30),
        carrier: CarrierNumber(0),
        session: SessionClaim::New,
        dead: Vec::new(),
    };
    let address = "192.0.2.1:5671".parse().unwrap();
    Arrival {
        cost: Cost::DEFAULT,
        access: AccessId(1),
        role: LinkRole::InterRouter,
        hello: Box::new(hello),
        principal: certificate("west"),
        certificate: None,
        ordinal: Ordinal(1),
        local: address,
        remote: address,
        fresh_id: SessionId([9; 16]),
        fresh_secret: SessionSecret([9; 32]),
    }
}

fn arrival_with(change: impl FnOnce(&mut Arrival)) -> Arrival {
    let mut arrival = arrival();
    change(&mut arrival);
    arrival
}

fn join_with(change: impl FnOnce(&mut Arrival)) -> Arrival {
    arrival_with(|arrival| {
        arrival.hello.session = SessionClaim::Join { session: SessionId([5; 16]), proof: [0; 32] };
        change(arrival);
    })
}

/// Takes an arrival in as a session with id 5.
fn add(roster: &mut Roster, arrival: &Arrival, origin: Option<LinkId>) -> SessionNumber {
    let secret = SessionSecret([5; 32]);
    let origin = match origin {
        Some(link) => Origin::Dialed { link },
        None => Origin::Accepted { access: arrival.access, secret },
    };
    let beginning = Beginning {
        id: SessionId([5; 16]),
        origin,
        name: arrival.hello.link.clone(),
        group: arrival.hello.group.clone(),
        hello: &arrival.hello,
        principal: arrival.principal.clone(),
        own_cost: Cost::DEFAULT,
        resume_window: Duration::ZERO,
        standby: false,
    };
    roster.insert(some_moment(), beginning).number
}

fn code_of(ruling: &Ruling) -> Option<CloseCode> {
    match ruling {
        Ruling::Refuse(refusal) => Some(refusal.code),
        Ruling::Begin { .. } | Ruling::Join { .. } => None,
    }
}

#[test]
fn who_may_begin_beside_a_live_session_of_west() {
    let displaced =
        |end, code| Ruling::Begin { displaced: vec![Displaced { session: SessionNumber(1), end, code }] };
    let replaced = CloseCode::REPLACED;
    let beside = Ruling::Begin { displaced: Vec::new() };
    let admitted: [(&str, Arrival, Ruling); 7] = [
        (
            "the same group anew takes its own place",
            arrival(),
            displaced(SessionEnd::Closed(replaced), replaced),
        ),
        (
            "a new instance takes the place of the old one",
            arrival_with(|a| a.hello.instance = Instance([2; 16])),
            displaced(SessionEnd::Replaced { instance: Instance([2; 16]) }, replaced),
        ),
        (
            "another group stands beside",
            arrival_with(|a| a.hello.group = "b".parse().unwrap()),
            beside.clone(),
        ),
        ("another link stands beside", arrival_with(|a| a.hello.link = "m".parse().unwrap()), beside.clone()),
        (
            "another router of the site stands beside, whatever its principal",
            arrival_with(|a| {
                a.hello.router = "r2".parse().unwrap();
                a.principal = certificate("other");
            }),
            beside.clone(),
        ),
        (
            "another site stands beside",
            arrival_with(|a| a.hello.site_id = "north".parse().unwrap()),
            beside.clone(),
        ),
        (
            "another router of our own site is a peer like any",
            arrival_with(|a| a.hello.site_id = "home".parse().unwrap()),
            beside,
        ),
    ];
    for (name, arrival, expected) in admitted {
        let mut roster = Roster::default();
        add(&mut roster, &self::arrival(), None);
        assert_eq!(judge(&config(), &roster, &Trust::default(), &arrival, |_| false), expected, "{name}");
    }
}

#[test]
fn who_may_not_begin() {
    let refused: [(&str, Arrival, CloseCode); 8] = [
        ("this instance", arrival_with(|a| a.hello.instance = Instance([0; 16])), CloseCode::SELF_LINK),
        ("another role", arrival_with(|a| a.hello.role = LinkRole::Edge), CloseCode::ROLE_REFUSED),
        (
            "our own site and router",
            arrival_with(|a| {
                a.hello.site_id = "home".parse().unwrap();
                a.hello.router = "r0".parse().unwrap();
            }),
            CloseCode::SITE_ID_CONFLICT,
        ),
        (
            "another principal",
            arrival_with(|a| a.principal = certificate("other")),
            CloseCode::SITE_ID_CONFLICT,
        ),
        (
            "another principal with another instance",
            arrival_with(|a| {
                a.principal = certificate("other");
                a.hello.instance = Instance([2; 16]);
            }),
            CloseCode::SITE_ID_CONFLICT,
        ),
        ("anonymous", arrival_with(|a| a.principal = Principal::Anonymous), CloseCode::SITE_ID_CONFLICT),
        (
            "anonymous, another router of a live site",
            arrival_with(|a| {
                a.principal = Principal::Anonymous;
                a.hello.router = "r7".parse().unwrap();
            }),
            CloseCode::SITE_ID_CONFLICT,
        ),
        (
            "an acceptor's hello",
            arrival_with(|a| a.hello.session = SessionClaim::Joined { session: SessionId([5; 16]) }),
            CloseCode::BAD_HELLO,
        ),
    ];
    for (name, arrival, expected) in refused {
        let mut roster = Roster::default();
        add(&mut roster, &self::arrival(), None);
        assert_eq!(
            code_of(&judge(&config(), &roster, &Trust::default(), &arrival, |_| true)),
            Some(expected),
            "{name}"
        );
    }
}

#[test]
fn principals_are_not_compared_with_those_of_dialed_sessions() {
    let mut roster = Roster::default();
    add(&mut roster, &arrival_with(|a| a.principal = certificate("as a server")), Some(LinkId(1)));
    assert_eq!(
        judge(&config(), &roster, &Trust::default(), &arrival(), |_| false),
        Ruling::Begin { displaced: Vec::new() }
    );
}

#[test]
fn a_certificate_takes_the_name_from_an_anonymous_peer() {
    let mut roster = Roster::default();
    let session = add(&mut roster, &arrival_with(|a| a.principal = Principal::Anonymous), None);
    let code = CloseCode::SITE_ID_CONFLICT;
    let expected =
        Ruling::Begin { displaced: vec![Displaced { session, end: SessionEnd::Closed(code), code }] };
    assert_eq!(judge(&config(), &roster, &Trust::default(), &arrival(), |_| false), expected);
}

#[test]
fn a_certificate_takes_its_site_from_an_anonymous_peer_whatever_router_that_calls_itself() {
    let mut roster = Roster::default();
    let squatter = arrival_with(|a| {
        a.principal = Principal::Anonymous;
        a.hello.router = RouterName::new("r2").unwrap();
    });
    let session = add(&mut roster, &squatter, None);
    let code = CloseCode::SITE_ID_CONFLICT;
    let expected =
        Ruling::Begin { displaced: vec![Displaced { session, end: SessionEnd::Closed(code), code }] };
    assert_eq!(judge(&config(), &roster, &Trust::default(), &arrival(), |_| false), expected);
}

#[test]
fn a_session_that_its_dialer_drains_is_left_to_end_by_itself() {
    let mut roster = Roster::default();
    let session = add(&mut roster, &arrival(), None);
    roster.member_mut(session).unwrap().peer_draining = true;
    assert_eq!(
        judge(&config(), &roster, &Trust::default(), &arrival(), |_| false),
        Ruling::Begin { displaced: Vec::new() }
    );
}

#[test]
fn a_full_access_says_when_to_come_back_but_still_lets_a_place_be_taken_over() {
    let mut roster = Roster::default();
    for site in ["west", "north", "south"] {
        add(&mut roster, &arrival_with(|a| a.hello.site_id = site.parse().unwrap()), None);
    }
    let fourth = arrival_with(|a| a.hello.site_id = "far".parse().unwrap());
    let Ruling::Refuse(refusal) = judge(&config(), &roster, &Trust::default(), &fourth, |_| false) else {
        panic!("let in")
    };
    assert_eq!((refusal.code, refusal.retry_after), (CloseCode::BUSY, Some(BUSY_RETRY_AFTER)));
    assert!(matches!(
        judge(&config(), &roster, &Trust::default(), &arrival(), |_| false),
        Ruling::Begin { .. }
    ));
}

#[test]
fn who_may_join() {
    let cases: [(&str, Arrival, bool, Option<CloseCode>); 5] = [
        ("its own dialer", join_with(|_| {}), true, None),
        (
            "an unknown session",
            join_with(|a| {
                a.hello.session = SessionClaim::Join { session: SessionId([6; 16]), proof: [0; 32] }
            }),
            true,
            Some(CloseCode::SESSION_GONE),
        ),
        (
            "another principal",
            join_with(|a| a.principal = certificate("other")),
            true,
            Some(CloseCode::OTHER_PRINCIPAL),
        ),
        (
            "another instance",
            join_with(|a| a.hello.instance = Instance([2; 16])),
            true,
            Some(CloseCode::OTHER_INSTANCE),
        ),
        ("a wrong proof", join_with(|_| {}), false, Some(CloseCode::BAD_PROOF)),
    ];
    for (name, arrival, proof_ok, expected) in cases {
        let mut roster = Roster::default();
        let session = add(&mut roster, &self::arrival(), None);
        let ruling = judge(&config(), &roster, &Trust::default(), &arrival, |secret| {
            assert_eq!(secret.0, [5; 32]);
            proof_ok
        });
        match expected {
            None => assert_eq!(ruling, Ruling::Join { session }, "{name}"),
            Some(code) => {
                let Ruling::Refuse(refusal) = ruling else { panic!("{name}: let in") };
                assert_eq!(refusal.code, code, "{name}");
            }
        }
    }
}

#[test]
fn a_session_whose_end_is_decided_can_neither_be_joined_nor_stand_in_the_way() {
    let mut roster = Roster::default();
    let session = add(&mut roster, &arrival(), None);
    roster.member_mut(session).unwrap().ending = true;
    let joining = judge(&config(), &roster, &Trust::default(), &join_with(|_| {}), |_| true);
    assert_eq!(code_of(&joining), Some(CloseCode::SESSION_GONE));
    let other = arrival_with(|a| a.principal = certificate("other"));
    assert_eq!(
        judge(&config(), &roster, &Trust::default(), &other, |_| true),
        Ruling::Begin { displaced: Vec::new() }
    );
}
