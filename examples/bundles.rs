//! Writes throwaway credentials to try the router with: `bundles FOLDER NAME...` makes a certificate authority and,
//! for each name, `FOLDER/NAME/{ca.crt,tls.crt,tls.key}` for a router on this host. A name may have folders of its own:
//! `west next/west` makes two bundles for one router, to rotate from the one to the other. `--host NAME`, before the folder and as often as
//! is needed, adds a DNS name or an address that others dial.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use support::{Authority, Outcome};

#[expect(dead_code, reason = "this example needs the certificates alone")]
mod support;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).peekable();
    let mut hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    while arguments.next_if(|argument| argument == "--host").is_some() {
        hosts.extend(arguments.next());
    }
    let folder = arguments.next().map(PathBuf::from);
    // Without a name there would be nothing to write.
    let Some(folder) = folder.filter(|_| arguments.peek().is_some()) else {
        eprintln!("usage: bundles [--host NAME]... FOLDER NAME...");
        return ExitCode::from(2);
    };
    match write(&folder, &hosts, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path, hosts: &[String], names: impl Iterator<Item = String>) -> Outcome<()> {
    let authority = Authority::new("throwaway authority")?;
    for name in names {
        let router = name.rsplit_once('/').map_or(&*name, |(_, router)| router);
        authority.issue_for(router, hosts)?.write(&folder.join(&name))?;
    }
    Ok(())
}
