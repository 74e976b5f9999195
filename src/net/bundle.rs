//! Credentials bundles on the disk: a directory with `ca.crt`, `tls.crt` and `tls.key`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::error::CredentialsError;
use crate::tls::credentials::{CA, CERT, CRL, CredentialsParts, KEY};

/// Reads the bundle `name` below `root`, a folder of bundle folders as Skupper's `input/certs/` is.
///
/// Blocks; run it where that is allowed.
///
/// # Errors
/// [`CredentialsError::Name`] for what is no RFC 1123 name, before the disk is touched: `..`, `/` and absolute
/// paths never reach it. Else as [`read_dir`].
pub(crate) fn read_named(name: &str, root: &Path) -> Result<CredentialsParts, CredentialsError> {
    read_dir(name, &named(name, root)?)
}

/// Where the bundle `name` is below `root`. Touches no disk.
///
/// # Errors
/// [`CredentialsError::Name`] for what is no RFC 1123 name.
pub(crate) fn named(name: &str, root: &Path) -> Result<PathBuf, CredentialsError> {
    if is_name(name) {
        return Ok(root.join(name));
    }
    Err(CredentialsError::Name(name.chars().take(MAX_NAME).collect::<String>().into()))
}

/// Reads the bundle in the folder `path`; `name` is what it is called in errors. Nothing is checked yet.
///
/// `tls.crt`, `tls.key` and `crl.pem` may be absent. Blocks; run it where that is allowed.
///
/// # Errors
/// [`CredentialsError::NotFound`] without the folder, [`CredentialsError::Missing`] without `ca.crt`,
/// [`CredentialsError::Unreadable`] for a part that is no file or longer than 1 MiB, and
/// [`CredentialsError::File`] for what the system says otherwise.
pub(crate) fn read_dir(name: &str, path: &Path) -> Result<CredentialsParts, CredentialsError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(CredentialsError::NotFound(name.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CredentialsError::NotFound(name.into()));
        }
        Err(error) => return Err(file_error(path, &error)),
    }
    Ok(CredentialsParts {
        ca: read_part(path, CA)?.ok_or(CredentialsError::Missing { part: CA })?,
        cert: read_part(path, CERT)?,
        key: read_part(path, KEY)?,
        crl: read_part(path, CRL)?,
    })
}

/// The files of the bundle in the folder `path`, whether they are there or not.
pub(crate) fn paths(path: &Path) -> [PathBuf; 4] {
    [CA, CERT, KEY, CRL].map(|part| path.join(part))
}

fn read_part(folder: &Path, part: &'static str) -> Result<Option<Vec<u8>>, CredentialsError> {
    let path = folder.join(part);
    match fs::metadata(&path) {
        Ok(found) if found.is_file() => {}
        // Opening a pipe would wait for a writer.
        Ok(_) => return Err(unreadable(part, "is not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(&path, &error)),
    }
    let mut text = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_PART + 1).read_to_end(&mut text))
        .map_err(|error| file_error(&path, &error))?;
    if text.len() as u64 > MAX_PART { Err(unreadable(part, "is longer than 1 MiB")) } else { Ok(Some(text)) }
}

/// RFC 1123 §2.1 as Kubernetes has it for Secrets: labels of lower-case letters, digits and hyphens, with
/// neither end a hyphen, joined by dots.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        })
}

fn unreadable(part: &'static str, problem: &'static str) -> CredentialsError {
    CredentialsError::Unreadable { part, problem: problem.into() }
}

fn file_error(path: &Path, error: &io::Error) -> CredentialsError {
    CredentialsError::File { path: Arc::from(path.to_string_lossy()), kind: error.kind() }
}

/// The longest part of a bundle in bytes: what a Kubernetes Secret may hold as a whole.
const MAX_PART: u64 = 1 << 20;

/// The longest name of a bundle: that of a Secret (a DNS subdomain, RFC 1123).
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("east")).unwrap();
        fs::write(folder.path().join("east/ca.crt"), "ca").unwrap();
        folder
    }

    #[test]
    fn a_bundle_is_read_with_the_parts_it_has() {
        let folder = folder();
        let mut parts = CredentialsParts { ca: b"ca".to_vec(), ..CredentialsParts::default() };
        assert_eq!(read_named("east", folder.path()), Ok(parts.clone()));
        fs::write(folder.path().join("east/tls.crt"), "cert").unwrap();
        fs::write(folder.path().join("east/tls.key"), "").unwrap();
        fs::write(folder.path().join("east/crl.pem"), "crl").unwrap();
        (parts.cert, parts.key) = (Some(b"cert".to_vec()), Some(Vec::new()));
        parts.crl = Some(b"crl".to_vec());
        assert_eq!(read_named("east", folder.path()), Ok(parts.clone()));
        assert_eq!(read_dir("any name", &folder.path().join("east")), Ok(parts));
    }

    #[test]
    fn a_name_that_leads_elsewhere_never_reaches_the_disk() {
        let folder = folder();
        let long = "x".repeat(254);
        let inside = folder.path().join("east").to_string_lossy().into_owned();
        for name in [
            "", ".", "..", "../east", "east/", "east/..", "/etc", "East", "a_b", "-a", "a..b", &long, &inside,
        ] {
            let cut: String = name.chars().take(253).collect();
            let refused = Err(CredentialsError::Name(cut.into()));
            assert_eq!(read_named(name, folder.path()), refused, "{name:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_part() {
        let folder = folder();
        let east = folder.path().join("east");
        let not_found = |name: &str| Err(CredentialsError::NotFound(name.into()));
        assert_eq!(read_named("west", folder.path()), not_found("west"));
        assert_eq!(read_dir("file", &east.join("ca.crt")), not_found("file"));

        fs::create_dir(east.join("tls.key")).unwrap();
        assert_eq!(read_dir("east", &east), Err(unreadable("tls.key", "is not a file")));

        fs::write(east.join("tls.crt"), vec![b'x'; 1 << 20]).unwrap();
        fs::remove_dir(east.join("tls.key")).unwrap();
        assert!(read_dir("east", &east).is_ok());
        fs::write(east.join("tls.crt"), vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(read_dir("east", &east), Err(unreadable("tls.crt", "is longer than 1 MiB")));

        fs::remove_file(east.join("ca.crt")).unwrap();
        assert_eq!(read_dir("east", &east), Err(CredentialsError::Missing { part: "ca.crt" }));
    }
}
