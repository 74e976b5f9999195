//! What is to be followed on the disk, and what is known of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::CredentialsError;
use crate::id::LinkId;
use crate::resource::link::LinkKey;
use crate::resource::report::{Refusal, Warning};

/// Documents on the disk that a plane is to keep to, with the credentials they name.
///
/// ```
/// use std::time::Duration;
/// use sitelink::Resources;
///
/// let resources = Resources::at("site/resources").credentials("site/certs").grace(Duration::from_secs(30));
/// # assert!(format!("{resources:?}").contains("site/certs"));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Resources {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) grace: Duration,
}

impl Resources {
    /// The documents in a file, or in the files of a folder, as [`Manifest::read`](crate::Manifest::read) takes them.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { paths: vec![path.into()], credentials: None, grace: GRACE }
    }

    /// Another file or folder. Of two documents of one name that are there from the beginning, that of the path named
    /// first stands.
    pub fn and(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// A folder of bundle folders, laid out as Skupper's `input/certs/<name>/` is, for Links whose credentials are no
    /// Secret among the documents. Default: none.
    pub fn credentials(mut self, root: impl Into<PathBuf>) -> Self {
        self.credentials = Some(root.into());
        self
    }

    /// How long the streams of a Link whose document is gone may go on. Default 30 s: those that are alive then outlast
    /// most requests, and a mistake can be put right.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

/// What is known of followed documents, at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FollowingStatus {
    /// How many times something was found changed, and taken in or refused, since the beginning; the first reading is 1.
    pub readings: u64,
    /// The Links in force, in the order of their documents, with their ids.
    pub links: Vec<FollowedLink>,
    /// What of the newest reading is not taken, and why.
    pub refused: Vec<Refusal>,
    /// What of the newest reading was taken but deserves a look, and what was skipped.
    pub warnings: Vec<Warning>,
    /// Credentials that are broken or gone while their link goes on with the last good ones: the name, and why.
    pub credentials: Vec<(LinkKey, Arc<str>, CredentialsError)>,
}

/// A Link in force.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowedLink {
    /// What it is known by.
    pub key: LinkKey,
    /// Its id in the plane. `None` while its credentials are being read for the first time, or if the plane refused it.
    pub link: Option<LinkId>,
    /// The file its document is in.
    pub source: Arc<str>,
    /// Whether it is in force by an older reading, because its document is broken now.
    pub held: bool,
}

/// The default of [`Resources::grace`].
const GRACE: Duration = Duration::from_secs(30);
