//! Documents are followed while they change: each change is applied as the smallest one that does it, and what is
//! broken harms nothing.
//!
//! Each row runs twice: with the system's notices, and by the clock alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use common::pki::{Bundle, TestCa};
use common::stage::{Diary, WAYS, brisk, listen, pair, plane_with, poll_until, single, watching};
use common::{document, loopback, within};
use sitelink::config::FileNotices;
use sitelink::resource::status::Reason;
use sitelink::{
    Access, CredentialsError, EventKind, Following, LinkId, LinkStatus, LinkStream, Ordinal, Plane,
    PlaneError, Resources,
};
use tempfile::TempDir;

/// West follows a folder; east may be linked to.
struct Scene {
    ca: TestCa,
    west: Plane,
    east: Plane,
    access: Access,
    folder: TempDir,
    following: Following,
    diary: Diary,
}

impl Scene {
    /// With these files from the beginning: name and text, given the address of east.
    async fn new(
        notices: FileNotices,
        files: impl Fn(&TestCa, SocketAddr) -> Vec<(&'static str, String)>,
    ) -> Self {
        let ca = TestCa::new("ca");
        let (west, east) =
            (plane_with("west", single(watching(notices))).await, plane_with("east", brisk()).await);
        let access = listen(&east, loopback(), &ca).await;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("documents")).unwrap();
        fs::create_dir(folder.path().join("certs")).unwrap();
        for (name, text) in files(&ca, access.address()) {
            fs::write(folder.path().join("documents").join(name), text).unwrap();
        }
        let diary = Diary::of(&west);
        let resources = Resources::at(folder.path().join("documents"))
            .credentials(folder.path().join("certs"))
            .grace(Duration::ZERO);
        let following = within(west.follow(resources)).await.unwrap();
        Self { ca, west, east, access, folder, following, diary }
    }

    /// A link to east and its Secret, up, and a stream over it.
    async fn linked(notices: FileNotices) -> (Self, (LinkStream, LinkStream)) {
        let files =
            |ca: &TestCa, to| vec![("link.yaml", link(to, 1)), ("secret.yaml", secret(&ca.client("west")))];
        let mut scene = Self::new(notices, files).await;
        scene.diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let stream = pair(&scene.west, &scene.east, "k").await;
        (scene, stream)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("documents").join(name)
    }

    fn certs(&self, name: &str) -> PathBuf {
        self.folder.path().join("certs").join(name)
    }

    /// Writes as careful programs do: beside, then renamed.
    fn put(&self, name: &str, text: &str) {
        let beside = self.folder.path().join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn to(&self) -> SocketAddr {
        self.access.address()
    }

    /// The only link that is followed.
    fn id(&self) -> LinkId {
        let status = self.following.status();
        assert_eq!(status.links.len(), 1, "{status:?}");
        status.links[0].link.unwrap()
    }

    fn link_status(&self) -> LinkStatus {
        self.west.link_status(self.id()).unwrap()
    }

    /// Waits until another change was taken in or refused.
    async fn next_reading(&self, after: u64) {
        poll_until(|| self.following.status().readings > after).await;
    }

    /// What was refused, once something is.
    async fn refused(&self) -> Vec<String> {
        poll_until(|| !self.following.status().refused.is_empty()).await;
        self.following.status().refused.iter().map(ToString::to_string).collect()
    }
}

/// A link named `east` whose generation is its cost.
fn link(to: SocketAddr, cost: u32) -> String {
    let document = document("east", &to.ip().to_string(), to.port());
    document
        .replace("  name: east\n", &format!("  name: east\n  generation: {cost}\n"))
        .replace("spec:\n", &format!("spec:\n  cost: {cost}\n"))
}

fn secret(bundle: &Bundle) -> String {
    let block = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: east}}\ntype: kubernetes.io/tls\nstringData:\n  ca.crt: |\n{}  \
         tls.crt: |\n{}  tls.key: |\n{}",
        block(&bundle.ca),
        block(&bundle.cert),
        block(&bundle.key)
    )
}

/// Says something on one stream and hears it on the other.
async fn talk(stream: &mut (LinkStream, LinkStream)) {
    stream.0.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(within(stream.1.recv()).await.unwrap().as_deref(), Some(&b"still here"[..]));
}

fn refused_link(kind: &EventKind) -> Option<(Option<LinkId>, &str)> {
    match kind {
        EventKind::LinkRefused { link, message, .. } => Some((*link, message)),
        _ => None,
    }
}

fn rotations(diary: &Diary) -> usize {
    diary.count(|kind| matches!(kind, EventKind::CredentialsRotated { .. }))
}

fn ups(diary: &Diary) -> usize {
    diary.count(|kind| matches!(kind, EventKind::CarrierUp { .. }))
}

#[tokio::test]
async fn a_changed_cost_touches_no_connection_and_shows_in_the_observed_generation() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        assert_eq!(scene.link_status().conditions[0].observed_generation, Some(1));
        scene.put("link.yaml", &link(scene.to(), 9));
        scene.diary.one(|kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 9)).await;
        scene.next_reading(1).await;
        assert_eq!(scene.link_status().conditions[0].observed_generation, Some(9));
        talk(&mut stream).await;
        assert_eq!(ups(&scene.diary), 1);
        assert_eq!(rotations(&scene.diary), 0);
    }
}

#[tokio::test]
async fn a_cost_that_is_refused_never_churns_and_the_last_good_one_stays() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        let id = scene.id();
        for (readings, cost) in (1..).zip(["-4", "\"5\"", "2147483648"]) {
            scene.put("link.yaml", &link(scene.to(), 1).replace("cost: 1", &format!("cost: {cost}")));
            scene.next_reading(readings).await;
            let message = format!("Link east: spec.cost: must be 1..=2147483647, found {cost}");
            assert_eq!(scene.refused().await, std::slice::from_ref(&message));
            scene.diary.one(|kind| refused_link(kind) == Some((Some(id), &*message))).await;
            assert!(scene.following.status().links[0].held);
        }
        assert_eq!(scene.link_status().conditions[0].observed_generation, Some(1), "{notices:?}");
        // Put right with the content in force: that is no change.
        scene.put("link.yaml", &link(scene.to(), 1));
        scene.next_reading(4).await;
        assert!(scene.following.status().refused.is_empty());
        assert!(!scene.following.status().links[0].held);
        talk(&mut stream).await;
        assert_eq!(ups(&scene.diary), 1);
        assert_eq!(scene.diary.count(|kind| matches!(kind, EventKind::LinkChanged { .. })), 0);
    }
}

#[tokio::test]
async fn a_removed_document_drains_its_link_which_vanishes_from_the_status() {
    for &notices in WAYS {
        let (mut scene, _stream) = Scene::linked(notices).await;
        let id = scene.id();
        scene.remove("link.yaml");
        scene.diary.one(|kind| matches!(kind, EventKind::LinkRemoved { link, .. } if *link == id)).await;
        scene.next_reading(1).await;
        assert!(scene.west.status().links.is_empty());
        assert!(scene.following.status().links.is_empty());
        assert_eq!(scene.west.link_status(id), None);
        // And comes back as a new one.
        scene.put("link.yaml", &link(scene.to(), 1));
        scene.diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    }
}

#[tokio::test]
async fn a_renamed_document_is_no_change() {
    for &notices in WAYS {
        let (scene, mut stream) = Scene::linked(notices).await;
        let id = scene.id();
        fs::rename(scene.path("link.yaml"), scene.path("another.yaml")).unwrap();
        poll_until(|| scene.following.status().links[0].source.ends_with("another.yaml")).await;
        assert_eq!(scene.id(), id);
        talk(&mut stream).await;
        assert_eq!(ups(&scene.diary), 1);
        let changes = |kind: &EventKind| {
            matches!(kind, EventKind::LinkChanged { .. } | EventKind::LinkRemoved { .. })
                || refused_link(kind).is_some()
        };
        assert_eq!(scene.diary.count(changes), 0, "{notices:?}");
    }
}

#[tokio::test]
async fn of_two_documents_of_one_name_the_incumbent_stays() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        let id = scene.id();
        // Its file is read first.
        scene.put("a.yaml", &link(scene.to(), 7));
        let message = format!(
            "Link east: metadata.name: already given in {}, which stands",
            scene.path("link.yaml").display()
        );
        assert_eq!(scene.refused().await, std::slice::from_ref(&message));
        scene.diary.one(|kind| refused_link(kind) == Some((Some(id), &*message))).await;
        assert_eq!(scene.west.status().links[0].cost.get(), 1);
        // When the incumbent goes, the other one is a change of the same link.
        scene.remove("link.yaml");
        scene.diary.one(|kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 7)).await;
        assert_eq!(scene.id(), id);
        talk(&mut stream).await;
    }
}

#[tokio::test]
async fn a_file_that_is_half_written_or_nonsense_removes_nothing() {
    for &notices in WAYS {
        let (scene, mut stream) = Scene::linked(notices).await;
        let text = link(scene.to(), 1);
        fs::write(scene.path("link.yaml"), &text[..text.find("endpoints").unwrap() - 3]).unwrap();
        scene.next_reading(1).await;
        fs::write(scene.path("link.yaml"), "{{{").unwrap();
        let nonsense = format!("document 1 of {}", scene.path("link.yaml").display());
        poll_until(|| {
            scene.following.status().refused.iter().any(|refusal| refusal.to_string().starts_with(&nonsense))
        })
        .await;
        let told = |kind: &EventKind| matches!(kind, EventKind::DocumentRefused { message, .. } if message.starts_with(&nonsense));
        assert_eq!(scene.diary.clone().many(1, told).await.len(), 1);
        talk(&mut stream).await;
        assert_eq!(scene.diary.count(|kind| matches!(kind, EventKind::LinkRemoved { .. })), 0);
    }
}

#[tokio::test]
async fn a_document_that_is_none_of_ours_is_skipped_and_told_of_once() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        scene.put("other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n");
        let file = scene.path("other.yaml").display().to_string();
        let told = |kind: &EventKind| {
            matches!(kind, EventKind::DocumentWarning { source, message }
                if **source == *file && message.ends_with("skipped: neither Link nor Secret"))
        };
        scene.diary.one(told).await;
        // It is read again with the next change, and is no news.
        scene.put("link.yaml", &link(scene.to(), 2));
        scene.diary.one(|kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 2)).await;
        scene.next_reading(2).await;
        assert_eq!(scene.diary.count(told), 1);
        assert!(scene.following.status().refused.is_empty());
        talk(&mut stream).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_gone_removes_nothing_and_is_followed_again_when_it_is_back() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        let (documents, away) = (scene.folder.path().join("documents"), scene.folder.path().join("away"));
        fs::rename(&documents, &away).unwrap();
        let lost = format!("{}: cannot be read: entity not found", documents.display());
        assert_eq!(scene.refused().await, std::slice::from_ref(&lost));
        scene
            .diary
            .one(|kind| matches!(kind, EventKind::DocumentRefused { message, .. } if **message == *lost))
            .await;
        talk(&mut stream).await;
        fs::rename(&away, &documents).unwrap();
        poll_until(|| scene.following.status().refused.is_empty()).await;
        scene.put("link.yaml", &link(scene.to(), 3));
        scene.diary.one(|kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 3)).await;
        talk(&mut stream).await;
        assert_eq!(ups(&scene.diary), 1);
    }
}

#[tokio::test]
async fn a_changed_secret_rotates_the_links_that_use_it_and_a_broken_one_does_not() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        let (first, next) = (scene.ca.client("west"), scene.ca.client("west"));
        // A key of another: well-formed, and of no use.
        scene.put("secret.yaml", &secret(&Bundle { key: next.key.clone(), ..first }));
        let mismatch = CredentialsError::KeyMismatch;
        scene
            .diary
            .one(|kind| matches!(kind, EventKind::CredentialsRefused { error, .. } if *error == mismatch))
            .await;
        poll_until(|| !scene.following.status().credentials.is_empty()).await;
        assert_eq!(scene.following.status().credentials[0].2, mismatch);
        assert_eq!(rotations(&scene.diary), 0);
        scene.put("secret.yaml", &secret(&next));
        let id = scene.id();
        let rotated = |kind: &EventKind| matches!(kind, EventKind::CredentialsRotated { link: Some(of), ordinal: Ordinal(2), .. } if *of == id);
        scene.diary.one(rotated).await;
        poll_until(|| scene.following.status().credentials.is_empty()).await;
        talk(&mut stream).await;
        assert_eq!(ups(&scene.diary), 1);
    }
}

#[tokio::test]
async fn a_secret_that_vanished_is_told_of_and_the_link_goes_on_with_the_last_good_one() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        scene.remove("secret.yaml");
        let gone = CredentialsError::NotFound("east".into());
        scene
            .diary
            .one(|kind| matches!(kind, EventKind::CredentialsRefused { error, .. } if *error == gone))
            .await;
        assert!(scene.west.status().links[0].configured);
        talk(&mut stream).await;
        // A folder of that name takes its place.
        scene.ca.client("west").write(&scene.certs("east"));
        scene.diary.one(|kind| matches!(kind, EventKind::CredentialsRotated { .. })).await;
        talk(&mut stream).await;
    }
}

#[tokio::test]
async fn a_link_without_its_credentials_is_not_configured_until_they_come() {
    for &notices in WAYS {
        let mut scene = Scene::new(notices, |_, to| vec![("link.yaml", link(to, 1))]).await;
        let not_found = "TLS credentials secret \"east\" not found";
        let id = scene.id();
        scene.diary.one(|kind| refused_link(kind) == Some((Some(id), not_found))).await;
        let status = scene.link_status();
        assert_eq!((status.conditions[0].reason, &*status.message), (Reason::Error, not_found));
        scene.ca.client("west").write(&scene.certs("east"));
        scene.diary.one(|kind| matches!(kind, EventKind::GroupUp { link, .. } if *link == id)).await;
        // The folder is watched from then on.
        let next = scene.ca.client("west");
        next.write(&scene.certs("east"));
        scene.diary.one(|kind| matches!(kind, EventKind::CredentialsRotated { .. })).await;
    }
}

#[tokio::test]
async fn a_link_without_its_proxy_is_not_configured_and_never_dials_directly() {
    for &notices in WAYS {
        let files = |ca: &TestCa, to| {
            let link = link(to, 1).replace("spec:\n", "spec:\n  settings: {proxy-configuration: way-out}\n");
            vec![("link.yaml", link), ("secret.yaml", secret(&ca.client("west")))]
        };
        let mut scene = Scene::new(notices, files).await;
        let id = scene.id();
        let missing = "Secret not found for proxy configuration: no usable Secret \"way-out\"";
        scene.diary.one(|kind| refused_link(kind) == Some((Some(id), missing))).await;
        let proxy = "apiVersion: v1\nkind: Secret\nmetadata: {name: way-out}\ntype: kubernetes.io/basic-auth\n\
                     stringData: {host: 127.0.0.1, port: \"9\"}\n";
        scene.put("proxy.yaml", proxy);
        scene.diary.one(|kind| matches!(kind, EventKind::LinkConfigured { link, .. } if *link == id)).await;
        assert_eq!(ups(&scene.diary), 0);
    }
}

#[tokio::test]
async fn changed_endpoints_are_dialed_and_gone_ones_left() {
    for &notices in WAYS {
        let (mut scene, _stream) = Scene::linked(notices).await;
        let south = plane_with("south", brisk()).await;
        let there = listen(&south, loopback(), &scene.ca).await;
        let endpoint = format!(
            "  - name: inter-router\n    group: second\n    host: 127.0.0.1\n    port: {}\n",
            there.address().port()
        );
        let both = link(scene.to(), 1) + &endpoint;
        scene.put("link.yaml", &both);
        scene.diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let first =
            format!("  - name: inter-router\n    host: 127.0.0.1\n    port: \"{}\"\n", scene.to().port());
        scene.put("link.yaml", &both.replace(&first, ""));
        scene.diary.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: false, .. })).await;
        poll_until(|| {
            scene.west.status().links[0].groups.iter().any(|group| group.name.as_str() == "second")
        })
        .await;
    }
}

#[tokio::test]
async fn a_storm_of_swapped_documents_ends_at_the_last() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        for cost in 2..=100 {
            scene.put("link.yaml", &link(scene.to(), cost));
        }
        scene
            .diary
            .one(|kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 100))
            .await;
        poll_until(|| scene.link_status().conditions[0].observed_generation == Some(100)).await;
        talk(&mut stream).await;
        assert_eq!(scene.diary.count(|kind| refused_link(kind).is_some()), 0, "{notices:?}");
    }
}

#[tokio::test]
async fn documents_mounted_by_a_kubelet_are_followed() {
    for &notices in WAYS {
        let (mut scene, mut stream) = Scene::linked(notices).await;
        let at = |name: &str| scene.path(name);
        let fill = |version: &str, cost: u32| {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("link.yaml"), link(scene.to(), cost)).unwrap();
            std::os::unix::fs::symlink(version, at("..new")).unwrap();
            fs::rename(at("..new"), at("..data")).unwrap();
        };
        fill("..one", 1);
        std::os::unix::fs::symlink("..data/link.yaml", at("beside")).unwrap();
        fs::rename(at("beside"), at("link.yaml")).unwrap();
        fill("..two", 2);
        fs::remove_dir_all(at("..one")).unwrap();
        scene.diary.one(|kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 2)).await;
        talk(&mut stream).await;
    }
}

#[tokio::test]
async fn what_is_followed_no_more_stays_as_it_is() {
    for &notices in WAYS {
        let (scene, mut stream) = Scene::linked(notices).await;
        let Scene { west, following, folder, .. } = &scene;
        assert!(following.status().refused.is_empty());
        let documents = folder.path().join("documents");
        let west = west.clone();
        let Scene { following, east: _east, access: _access, folder: _folder, .. } = scene;
        drop(following);
        fs::remove_file(documents.join("link.yaml")).unwrap();
        // Another following of the same folder finds nothing: whatever the first would have done it had time to do.
        let again = within(west.follow(Resources::at(&documents))).await.unwrap();
        assert!(again.status().links.is_empty());
        talk(&mut stream).await;
        assert_eq!(west.status().links.len(), 1);
    }
}

#[tokio::test]
async fn a_path_that_is_not_there_from_the_beginning_is_a_wrong_setting() {
    let west = plane_with("west", watching(FileNotices::Ignored)).await;
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let error = within(west.follow(Resources::at(&nowhere))).await.unwrap_err();
    let problem = format!("{}: entity not found", nowhere.display()).into();
    assert_eq!(error, PlaneError::Setting { setting: "resources", problem });
}

#[tokio::test]
async fn a_plane_that_follows_and_watches_shuts_down() {
    for &notices in WAYS {
        let (scene, stream) = Scene::linked(notices).await;
        drop(stream);
        within(scene.west.shutdown(Duration::ZERO)).await;
        let error = scene.west.follow(Resources::at(Path::new("."))).await.unwrap_err();
        assert_eq!(error, PlaneError::ShutDown);
    }
}

#[tokio::test]
async fn a_disk_that_hangs_is_told_of_and_holds_up_nothing_else() {
    let (mut scene, mut stream) = Scene::linked(FileNotices::Ignored).await;
    // Opening a pipe waits for a writer, as a file server that is gone is waited for.
    let pipe = scene.folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (west, path) = (scene.west.clone(), pipe.clone());
    let hanging = tokio::spawn(async move { west.follow(Resources::at(path)).await });
    scene.put("link.yaml", &link(scene.to(), 2));
    scene.diary.one(|kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 2)).await;
    let overdue = format!("{}: cannot be read: timed out", pipe.display());
    let told = |kind: &EventKind| matches!(kind, EventKind::DocumentRefused { message, .. } if **message == *overdue);
    scene.diary.one(told).await;
    assert_eq!(scene.diary.count(told), 1);
    talk(&mut stream).await;
    within(scene.west.shutdown(Duration::ZERO)).await;
    hanging.abort();
    // The thread that waits is let go, or the runtime would wait for it.
    drop(fs::File::options().write(true).open(&pipe).unwrap());
}

#[cfg(feature = "watch")]
#[tokio::test]
async fn a_path_from_the_working_folder_on_is_noticed_like_any_other() {
    let scene = Scene::new(FileNotices::Ignored, |_, _| Vec::new()).await;
    let up: PathBuf = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect();
    let relative = up.join(scene.path("link.yaml").strip_prefix("/").unwrap());
    scene.put("link.yaml", &link(scene.to(), 1));
    let plane = plane_with("south", watching(FileNotices::Heeded)).await;
    let mut diary = Diary::of(&plane);
    let following = within(plane.follow(Resources::at(&relative))).await.unwrap();
    diary.one(|kind| matches!(kind, EventKind::LinkRefused { .. })).await;
    scene.put("link.yaml", &link(scene.to(), 7));
    let dearer = |kind: &EventKind| matches!(kind, EventKind::LinkChanged { changes, .. } if changes.contains(&"cost".into()));
    diary.one(dearer).await;
    drop(following);
}

#[tokio::test]
async fn a_cost_set_by_hand_stands_when_only_the_secret_changes() {
    let (mut scene, _stream) = Scene::linked(WAYS[0]).await;
    scene.west.set_cost(scene.id(), sitelink::Cost::new(99_999).unwrap()).await.unwrap();
    poll_until(|| scene.west.status().sessions[0].cost.get() == 99_999).await;
    let after = scene.following.status().readings;
    scene.put("secret.yaml", &secret(&scene.ca.client("west")));
    scene.next_reading(after).await;
    scene.diary.one(|kind| matches!(kind, EventKind::RotationCompleted { .. })).await;
    assert_eq!(scene.west.status().links[0].cost.get(), 99_999);
}
