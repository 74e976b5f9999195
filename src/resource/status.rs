//! The status of a Link, in Skupper's own words.
//!
//! Nothing here decides anything: facts in, the object that Skupper's controller would write out.

use std::sync::Arc;

use serde::Serialize;

use crate::moment::Moment;

/// What is known of a Link at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkFacts {
    /// Whether the Link was applied, or why not; `None` before it was looked at.
    pub configured: Option<Result<(), Arc<str>>>,
    /// Whether a group of it is up; `None` before the first attempt ended.
    pub operational: Option<bool>,
    /// Why it is not operational.
    pub cause: Option<Arc<str>>,
    /// The id of the site linked to. Skupper keeps the last one it knew.
    pub remote_site_id: Option<Arc<str>>,
    /// The name of the site linked to.
    pub remote_site_name: Option<Arc<str>>,
    /// `host:port` in use, or tried last; for the legacy form.
    pub url: Option<Arc<str>>,
    /// `metadata.generation` of the document that was applied.
    pub generation: Option<i64>,
    /// Since when each condition has been what it is.
    pub since: Transitions,
}

/// Since when each condition has had its status, in Unix seconds. A change of message alone is no transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transitions {
    /// Of `Configured`.
    pub configured: i64,
    /// Of `Operational`.
    pub operational: i64,
    /// Of `Ready`.
    pub ready: i64,
}

impl LinkFacts {
    /// Whether the Link is configured and operational.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.configured, Some(Ok(()))) && self.operational == Some(true)
    }

    /// The first that stands in the way of `Ready`: reason and message, by Skupper's order.
    fn blocked(&self) -> Option<(Reason, String)> {
        match (&self.configured, self.operational) {
            (None, _) => Some((Reason::Pending, "Not Configured".to_owned())),
            (Some(Err(problem)), _) => Some((Reason::Error, bounded(problem))),
            // Skupper's two spellings: an absent condition has a capital letter, a false one has not.
            (Some(Ok(())), None) => Some((Reason::Pending, "Not Operational".to_owned())),
            (Some(Ok(())), Some(false)) => Some((Reason::Pending, self.not_operational())),
            (Some(Ok(())), Some(true)) => None,
        }
    }

    fn not_operational(&self) -> String {
        match self.cause.as_deref() {
            Some(cause) if !cause.is_empty() => format!("Not operational: {}", bounded(cause)),
            _ => "Not operational".to_owned(),
        }
    }
}

/// `status` of a `skupper.io/v2alpha1` Link. Serializes to Skupper's object, field for field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LinkStatus {
    /// Those that are known, in the order of a fresh object: `Configured`, `Ready`, `Operational`.
    pub conditions: Vec<Condition>,
    /// The summary.
    pub status: Reason,
    /// `OK`, or why not.
    pub message: String,
    /// The id of the site linked to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_site_id: Option<Arc<str>>,
    /// The name of the site linked to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_site_name: Option<Arc<str>>,
}

/// A Kubernetes condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Condition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, for people; at most 1,056 characters (Kubernetes takes 32,768).
    pub message: String,
    /// Since when, RFC 3339 in UTC to the second.
    pub last_transition_time: String,
    /// Which generation of the document it is about; left out if the document has none, as Skupper does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The conditions of a Link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum ConditionKind {
    /// The Link was applied.
    Configured,
    /// The link is up.
    Operational,
    /// Both.
    Ready,
}

/// Whether a condition holds. Kubernetes writes it as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
}

/// Skupper's summary of a resource, which is also the reason in its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Reason {
    /// It cannot be applied as it is written.
    Error,
    /// Not there yet, or not there any more.
    Pending,
    /// All is well.
    Ready,
}

impl LinkStatus {
    /// Renders the facts.
    #[must_use]
    pub fn new(facts: &LinkFacts) -> Self {
        let condition = |kind, blocked: Option<(Reason, String)>, since| {
            let status = if blocked.is_none() { ConditionStatus::True } else { ConditionStatus::False };
            let (reason, message) = blocked.unwrap_or_else(ready);
            let observed_generation = facts.generation.filter(|generation| *generation != 0);
            Condition {
                kind,
                status,
                reason,
                message,
                last_transition_time: Moment(since).to_string(),
                observed_generation,
            }
        };
        let mut conditions = Vec::with_capacity(3);
        if let Some(configured) = &facts.configured {
            let blocked = configured.as_ref().err().map(|problem| (Reason::Error, bounded(problem)));
            conditions.push(condition(ConditionKind::Configured, blocked, facts.since.configured));
        }
        conditions.push(condition(ConditionKind::Ready, facts.blocked(), facts.since.ready));
        if let Some(operational) = facts.operational {
            let blocked = (!operational).then(|| (Reason::Pending, facts.not_operational()));
            conditions.push(condition(ConditionKind::Operational, blocked, facts.since.operational));
        }
        let (status, message) = facts.blocked().unwrap_or_else(ready);
        Self {
            conditions,
            status,
            message,
            remote_site_id: facts.remote_site_id.clone(),
            remote_site_name: facts.remote_site_name.clone(),
        }
    }
}

/// `status` of a `skupper.io/v1alpha1` Link or LinkConfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LegacyStatus {
    /// `OK`, or why not.
    pub status: String,
    /// Whether the Link was applied.
    pub configured: bool,
    /// Whether the link is up.
    pub active: bool,
    /// `host:port` in use, or tried last; empty if none.
    pub url: Arc<str>,
    /// The name of the site linked to; empty if unknown.
    pub site: Arc<str>,
}

impl LegacyStatus {
    /// Renders the facts.
    #[must_use]
    pub fn new(facts: &LinkFacts) -> Self {
        Self {
            status: facts.blocked().unwrap_or_else(ready).1,
            configured: matches!(facts.configured, Some(Ok(()))),
            active: facts.operational == Some(true),
            url: facts.url.clone().unwrap_or_default(),
            site: facts.remote_site_name.clone().unwrap_or_default(),
        }
    }
}

fn ready() -> (Reason, String) {
    (Reason::Ready, "OK".to_owned())
}

/// A message cut to [`MAX_MESSAGE`] characters.
fn bounded(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).collect()
}

/// A cause fits on a page, and far below the 32,768 characters of a Kubernetes condition.
const MAX_MESSAGE: usize = 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(
        configured: Option<Result<(), &str>>,
        operational: Option<bool>,
        cause: Option<&str>,
    ) -> LinkFacts {
        LinkFacts {
            configured: configured.map(|configured| configured.map_err(Arc::from)),
            operational,
            cause: cause.map(Arc::from),
            ..LinkFacts::default()
        }
    }

    #[test]
    fn status_and_message_follow_skuppers_truth_table() {
        let ok = Some(Ok(()));
        for (configured, operational, cause, status, message) in [
            (None, None, None, Reason::Pending, "Not Configured"),
            (None, Some(true), None, Reason::Pending, "Not Configured"),
            (Some(Err("no endpoint")), None, None, Reason::Error, "no endpoint"),
            (Some(Err("no endpoint")), Some(true), None, Reason::Error, "no endpoint"),
            (Some(Err("no endpoint")), Some(false), Some("why"), Reason::Error, "no endpoint"),
            (ok, None, Some("why"), Reason::Pending, "Not Operational"),
            (ok, Some(false), None, Reason::Pending, "Not operational"),
            (ok, Some(false), Some(""), Reason::Pending, "Not operational"),
            (
                ok,
                Some(false),
                Some("connection refused"),
                Reason::Pending,
                "Not operational: connection refused",
            ),
            (ok, Some(true), Some("of old"), Reason::Ready, "OK"),
        ] {
            let facts = facts(configured, operational, cause);
            let found = LinkStatus::new(&facts);
            assert_eq!((found.status, &*found.message), (status, message), "{facts:?}");
            let ready =
                found.conditions.iter().find(|condition| condition.kind == ConditionKind::Ready).unwrap();
            assert_eq!((ready.reason, &*ready.message), (status, message), "{facts:?}");
            assert_eq!(ready.status == ConditionStatus::True, facts.is_ready(), "{facts:?}");
            assert_eq!(LegacyStatus::new(&facts).status, message, "{facts:?}");
        }
    }

    #[test]
    fn a_ready_link_is_written_as_skupper_writes_it() {
        let since = 1_767_225_600;
        let facts = LinkFacts {
            remote_site_id: Some(Arc::from("8a96ffdf-403b-4e4a-83a8-97d3d459adb6")),
            remote_site_name: Some(Arc::from("west")),
            generation: Some(1),
            since: Transitions { configured: since, operational: since, ready: since },
            ..facts(Some(Ok(())), Some(true), None)
        };
        let condition = |kind: &str| {
            json!({
                "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "OK", "observedGeneration": 1,
                "reason": "Ready", "status": "True", "type": kind,
            })
        };
        assert_eq!(
            serde_json::to_value(LinkStatus::new(&facts)).unwrap(),
            json!({
                "conditions": [condition("Configured"), condition("Ready"), condition("Operational")],
                "message": "OK",
                "remoteSiteId": "8a96ffdf-403b-4e4a-83a8-97d3d459adb6",
                "remoteSiteName": "west",
                "status": "Ready",
            })
        );
    }

    #[test]
    fn a_link_nobody_looked_at_has_one_condition_and_no_site() {
        assert_eq!(
            serde_json::to_value(LinkStatus::new(&LinkFacts::default())).unwrap(),
            json!({
                "conditions": [{
                    "lastTransitionTime": "1970-01-01T00:00:00Z", "message": "Not Configured",
                    "reason": "Pending", "status": "False", "type": "Ready",
                }],
                "message": "Not Configured",
                "status": "Pending",
            })
        );
    }

    #[test]
    fn the_legacy_view_has_its_five_fields() {
        let facts = LinkFacts {
            remote_site_name: Some(Arc::from("west")),
            url: Some(Arc::from("10.97.161.185:55671")),
            ..facts(Some(Ok(())), Some(true), None)
        };
        assert_eq!(
            serde_json::to_value(LegacyStatus::new(&facts)).unwrap(),
            json!({
                "active": true, "configured": true, "site": "west", "status": "OK", "url": "10.97.161.185:55671",
            })
        );
    }

    #[test]
    fn a_message_is_bounded() {
        let long = "x".repeat(100_000);
        let found = LinkStatus::new(&facts(Some(Ok(())), Some(false), Some(&long)));
        assert_eq!(found.message.len(), "Not operational: ".len() + MAX_MESSAGE);
        let found = LinkStatus::new(&facts(Some(Err(&long)), None, None));
        assert_eq!(found.message.len(), MAX_MESSAGE);
    }
}
