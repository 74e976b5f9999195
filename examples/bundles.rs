//! Writes throwaway credentials to try the router with: `bundles FOLDER NAME...` makes a certificate authority and,
//! for each name, `FOLDER/NAME/{ca.crt,tls.crt,tls.key}` for a router on this host.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use support::{Authority, Outcome};

#[expect(dead_code, reason = "this example needs the certificates alone")]
mod support;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).peekable();
    let folder = arguments.next().map(PathBuf::from);
    // Without a name there would be nothing to write.
    let Some(folder) = folder.filter(|_| arguments.peek().is_some()) else {
        eprintln!("usage: bundles FOLDER NAME...");
        return ExitCode::from(2);
    };
    match write(&folder, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path, names: impl Iterator<Item = String>) -> Outcome<()> {
    let authority = Authority::new("throwaway authority")?;
    for name in names {
        authority.issue(&name)?.write(&folder.join(&name))?;
    }
    Ok(())
}
