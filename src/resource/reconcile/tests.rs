use proptest::prelude::*;

use super::*;

/// A file of documents: links with their costs and the names of their credentials.
fn file(source: &str, text: &str) -> Manifest {
    Manifest::parse(text, source)
}

fn link(name: &str, cost: u32) -> String {
    format!(
        "---\napiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata: {{name: {name}, generation: {cost}}}\n\
         spec: {{cost: {cost}, tlsCredentials: {name}-tls, endpoints: [{{name: inter-router, host: h, port: 1}}]}}\n"
    )
}

/// A proxy: a Secret that needs no certificates.
fn proxy(name: &str, port: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/basic-auth\n\
         stringData: {{host: proxy, port: \"{port}\"}}\n"
    )
}

const BROKEN_LINK: &str = "---\napiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata: {name: west}\n\
                           spec: {cost: \"5\", endpoints: []}\n";

const NONSENSE: &str = "---\n{{{\n";

fn reading(files: &[(&str, &str)]) -> Reading {
    let mut reading = Reading::default();
    files.iter().for_each(|(source, text)| reading.manifest.merge(file(source, text)));
    reading
}

/// What stands: name, cost, file, and whether it is held.
fn standing(documents: &Documents) -> Vec<(String, u32, String, bool)> {
    let links = documents
        .links()
        .map(|link| (link.value.key.to_string(), link.value.cost.get(), link.source.to_string(), link.held));
    links.collect()
}

fn refusals(documents: &Documents) -> Vec<String> {
    documents.refused().iter().map(ToString::to_string).collect()
}

#[test]
fn what_stands_after_each_reading() {
    let (west, west7) = (link("west", 1), link("west", 7));
    let both = format!("{west}{NONSENSE}");
    let twice = "Link west: metadata.name: already given in";
    let bad_cost = "Link west: spec.cost: must be 1..=2147483647, found \"5\"";
    // Name; the reading that follows one in which `m` held the link; what stands; the refusals' beginnings.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<(u32, &'a str, bool)>, &'a [String]);
    let rows: &[Row<'_>] = &[
        ("the same", &[("m", &west)], Some((1, "m", false)), &[]),
        ("changed", &[("m", &west7)], Some((7, "m", false)), &[]),
        ("gone", &[("m", "")], None, &[]),
        ("its file gone", &[], None, &[]),
        ("broken", &[("m", BROKEN_LINK)], Some((1, "m", true)), &[bad_cost.into()]),
        ("its file nonsense", &[("m", NONSENSE)], Some((1, "m", true)), &["document 1 of m".into()]),
        ("beside nonsense", &[("m", &both)], Some((1, "m", false)), &["document 2 of m".into()]),
        ("another file nonsense", &[("a", NONSENSE)], None, &["document 1 of a".into()]),
        ("renamed", &[("z", &west)], Some((1, "z", false)), &[]),
        ("renamed and broken", &[("z", BROKEN_LINK)], Some((1, "m", true)), &[bad_cost.into()]),
        (
            "a later rival",
            &[("m", &west), ("z", &west7)],
            Some((1, "m", false)),
            &[format!("{twice} m, which stands")],
        ),
        (
            "a rival that is read first",
            &[("a", &west7), ("m", &west)],
            Some((1, "m", false)),
            &[format!("{twice} m, which stands")],
        ),
        (
            "broken, with a rival",
            &[("a", &west7), ("m", BROKEN_LINK)],
            Some((1, "m", true)),
            &[bad_cost.into(), format!("{twice} m, which stands")],
        ),
        ("gone, with a rival", &[("a", &west7), ("m", "")], Some((7, "a", false)), &[]),
    ];
    for (name, after, stands, refused) in rows {
        let mut documents = Documents::default();
        documents.update(reading(&[("m", &west)]));
        documents.update(reading(after));
        let expected: Vec<_> = stands
            .iter()
            .map(|(cost, file, held)| ("west".to_owned(), *cost, (*file).to_owned(), *held))
            .collect();
        assert_eq!(standing(&documents), expected, "{name}");
        let told = refusals(&documents);
        assert_eq!(told.len(), refused.len(), "{name}: {told:?}");
        for (told, expected) in told.iter().zip(*refused) {
            assert!(told.starts_with(expected), "{name}: {told:?}");
        }
    }
}

#[test]
fn what_came_from_a_lost_folder_stays_whatever_is_in_the_name_of_the_folder() {
    for folder in ["/bob's", "/a\"b", "/tab\there", "/e\u{301}"] {
        let mut documents = Documents::default();
        documents.update(reading(&[(&format!("{folder}/x"), &link("west", 1))]));
        let mut lost = reading(&[]);
        lost.lost.push((folder.into(), ErrorKind::NotFound));
        documents.update(lost);
        assert_eq!(documents.links().map(|link| link.held).collect::<Vec<_>>(), [true], "{folder:?}");
    }
}

#[test]
fn what_came_from_a_folder_that_is_lost_stays() {
    let mut documents = Documents::default();
    documents.update(reading(&[("/a/x", &link("west", 1)), ("/b/y", &link("east", 1))]));
    let mut lost = reading(&[]);
    lost.lost.push(("/a".into(), ErrorKind::NotFound));
    documents.update(lost);
    assert_eq!(standing(&documents), [("west".to_owned(), 1, "/a/x".to_owned(), true)]);
    assert_eq!(refusals(&documents), ["/a: cannot be read: entity not found"]);
}

#[test]
fn a_secret_that_is_broken_or_given_twice_is_the_one_before() {
    // Name, the files that follow, the port of the proxy then.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<u16>);
    let rows: &[Row<'_>] = &[
        ("changed", &[("m", &proxy("p", "2"))], Some(2)),
        ("broken", &[("m", &proxy("p", "none"))], Some(1)),
        ("renamed and broken", &[("z", &proxy("p", "none"))], Some(1)),
        ("gone", &[("m", "")], None),
        ("its file nonsense", &[("m", NONSENSE)], Some(1)),
        ("a rival that is read first", &[("a", &proxy("p", "2")), ("m", &proxy("p", "1"))], Some(1)),
    ];
    for (name, after, port) in rows {
        let mut documents = Documents::default();
        documents.update(reading(&[("m", &proxy("p", "1"))]));
        documents.update(reading(after));
        let found = documents.secret(&"".into(), &"p".into()).and_then(SecretSpec::proxy);
        assert_eq!(found.map(|proxy| proxy.port), *port, "{name}");
    }
}

type Machine = Reconciler<u32, &'static str>;

/// Reconciles with folders that hold what is said.
fn reconcile(
    machine: &mut Machine,
    documents: &Documents,
    folder: Option<Result<u32, &'static str>>,
) -> Vec<Change<u32, &'static str>> {
    machine.reconcile(documents, |_, _| Err("no Secret here"), |_, _| folder)
}

/// The credentials of the only link that a change keeps.
fn credentials(changes: &[Change<u32, &'static str>]) -> Option<Result<u32, &'static str>> {
    match changes {
        [Change::Keep(wanted)] => wanted.credentials,
        _ => panic!("{changes:?}"),
    }
}

#[test]
fn credentials_that_are_broken_or_gone_are_the_ones_before_as_long_as_the_link_names_them() {
    let mut documents = Documents::default();
    documents.update(reading(&[("m", &link("west", 1))]));
    let mut machine = Machine::default();
    assert_eq!(reconcile(&mut machine, &documents, None), [], "nobody knows yet");
    assert_eq!(credentials(&reconcile(&mut machine, &documents, Some(Err("none")))), Some(Err("none")));
    assert_eq!(credentials(&reconcile(&mut machine, &documents, Some(Ok(1)))), Some(Ok(1)));
    assert_eq!(reconcile(&mut machine, &documents, Some(Ok(1))), []);
    assert_eq!(reconcile(&mut machine, &documents, Some(Err("broken"))), []);
    assert_eq!(machine.problems().values().collect::<Vec<_>>(), [&"broken"]);
    assert_eq!(reconcile(&mut machine, &documents, None), []);
    assert_eq!(credentials(&reconcile(&mut machine, &documents, Some(Ok(2)))), Some(Ok(2)));
    assert!(machine.problems().is_empty());
    documents.update(reading(&[("m", &link("west", 1).replace("west-tls", "other"))]));
    assert_eq!(credentials(&reconcile(&mut machine, &documents, Some(Err("none")))), Some(Err("none")));
}

#[test]
fn a_proxy_that_is_gone_is_the_one_before_and_never_none() {
    let with_proxy = link("west", 1).replace("spec: {", "spec: {settings: {proxy-configuration: p}, ");
    let mut documents = Documents::default();
    documents.update(reading(&[("m", &with_proxy), ("s", &proxy("p", "1"))]));
    let mut machine = Machine::default();
    reconcile(&mut machine, &documents, Some(Ok(1)));
    documents.update(reading(&[("m", &with_proxy)]));
    assert_eq!(reconcile(&mut machine, &documents, Some(Ok(1))), []);
    documents.update(reading(&[("m", &with_proxy), ("s", &proxy("p", "2"))]));
    let changes = reconcile(&mut machine, &documents, Some(Ok(1)));
    let [Change::Keep(wanted)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(wanted.proxy.as_ref().map(|proxy| proxy.port), Some(2));
}

/// What one file of a folder may hold.
#[derive(Clone, Debug)]
enum Held {
    Absent,
    Links(Vec<(u8, u32)>),
    Broken(u8),
    Nonsense,
}

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![
        2 => Just(Held::Absent),
        6 => proptest::collection::vec((0..4_u8, 1..4_u32), 0..4).prop_map(Held::Links),
        1 => (0..4_u8).prop_map(Held::Broken),
        1 => Just(Held::Nonsense),
    ]
}

fn manifest(files: &[Held]) -> Reading {
    let mut reading = Reading::default();
    for (index, held) in files.iter().enumerate() {
        let text = match held {
            Held::Absent => continue,
            Held::Links(links) => links.iter().map(|(name, cost)| link(&format!("l{name}"), *cost)).collect(),
            Held::Broken(name) => BROKEN_LINK.replace("west", &format!("l{name}")),
            Held::Nonsense => NONSENSE.to_owned(),
        };
        reading.manifest.merge(file(&format!("f{index}"), &text));
    }
    reading
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a folder changes: the changes made one by one give what stands, a second look gives none, what can be read
    /// is in force, what was in force leaves only when it can be seen to be gone, and an incumbent stays.
    #[test]
    fn the_changes_give_what_stands_and_nothing_else(
        folders in proptest::collection::vec(proptest::collection::vec(held(), 3), 1..8),
    ) {
        let mut documents = Documents::default();
        let mut machine = Machine::default();
        let mut made: BTreeMap<LinkKey, LinkSpec> = BTreeMap::new();
        for folder in folders {
            let before: BTreeMap<_, _> =
                documents.links().map(|link| (link.value.key.clone(), link.clone())).collect();
            let read = manifest(&folder);
            let found: BTreeSet<_> = read.manifest.links().map(|link| link.key.clone()).collect();
            let in_file = |source: &str, key: &LinkKey| match &folder[usize::from(source.as_bytes()[1] - b'0')] {
                Held::Links(links) => links.iter().any(|(name, _)| key.name.as_str() == format!("l{name}")),
                _ => false,
            };
            let unclear = folder.iter().any(|held| matches!(held, Held::Nonsense | Held::Broken(_)));
            documents.update(read.clone());
            for change in reconcile(&mut machine, &documents, Some(Ok(1))) {
                match change {
                    Change::Keep(wanted) => {
                        prop_assert_ne!(made.get(&wanted.spec.key), Some(&wanted.spec), "a change that is none");
                        made.insert(wanted.spec.key.clone(), wanted.spec.clone());
                    }
                    Change::Leave(key) => prop_assert!(made.remove(&key).is_some(), "{key} was never kept"),
                }
            }
            let now: BTreeMap<_, _> =
                documents.links().map(|link| (link.value.key.clone(), link.clone())).collect();
            let stands = now.iter().map(|(key, link)| (key.clone(), link.value.clone())).collect();
            prop_assert_eq!(&made, &stands);
            prop_assert_eq!(reconcile(&mut machine, &documents, Some(Ok(1))), []);
            for key in &found {
                prop_assert!(now.contains_key(key), "{} can be read and is not in force", key);
            }
            for (key, old) in &before {
                match now.get(key) {
                    None => prop_assert!(!found.contains(key)),
                    Some(new) if in_file(&old.source, key) => {
                        prop_assert_eq!(&new.source, &old.source, "the incumbent made way");
                        prop_assert!(!new.held);
                    }
                    Some(new) if new.held => {
                        prop_assert_eq!(&new.value, &old.value);
                        prop_assert!(unclear, "{} is held for no reason", key);
                    }
                    Some(_) => prop_assert!(found.contains(key)),
                }
            }
            // The same reading again changes nothing.
            let once = documents.clone();
            documents.update(read);
            prop_assert_eq!(standing(&documents), standing(&once));
            prop_assert_eq!(refusals(&documents), refusals(&once));
        }
    }
}
