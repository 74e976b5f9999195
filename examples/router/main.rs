//! A small router: the shape of a program that embeds sitelink.
//!
//! It reads Link and Secret documents, keeps those links, takes links itself, and carries TCP connections between
//! sites. Try `cargo run --example router -- --help`.

use std::process::ExitCode;

#[path = "mod.rs"]
mod router;

fn main() -> ExitCode {
    router::main(std::env::args_os())
}
