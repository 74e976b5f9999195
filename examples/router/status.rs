//! `router status`: what a running router is at, asked of its admin page.

mod paths;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::Outcome;

/// Shows what a running router is at.
///
/// The exit status is 0 if every link that is shown is Ready (or the router has none), 1 if one is not, 2 if the router
/// does not answer or has no link of that name. With --paths it is 1 if a destination has no path, or there is none at all.
#[derive(Debug, Parser)]
#[command(name = "router status")]
struct Args {
    /// Show this link alone, NAME or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The address of the router's --admin
    #[arg(long, value_name = "ADDR")]
    admin: SocketAddr,
    /// Show which way a new connection to each destination goes, and why
    #[arg(long, conflicts_with = "name")]
    paths: bool,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The page as it is.
    Json,
    /// For people.
    Table,
}

/// Runs the subcommand; `arguments` are those of the process.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let args = Args::parse_from(arguments.iter().skip(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(Into::into).and_then(|runtime| {
        let asking = async { tokio::time::timeout(PATIENCE, ask(args.admin)).await? };
        runtime.block_on(asking)
    });
    match asked.and_then(|page| Ok((show(&args, &page)?, page))) {
        Ok((text, page)) => {
            // A reader that has seen enough, like `head`, is none of our business.
            let _ = io::stdout().write_all(text.as_bytes());
            if args.paths {
                return ExitCode::from(u8::from(!paths::all_lead_somewhere(&page)));
            }
            let ready = |link: &Value| link["status"]["status"] == "Ready";
            let mut shown = each(&page["link_statuses"]).filter(|link| is_named(link, args.name.as_deref()));
            ExitCode::from(u8::from(!shown.all(ready)))
        }
        Err(error) => {
            eprintln!("router status: {}: {error}", args.admin);
            ExitCode::from(2)
        }
    }
}

/// What is printed.
fn show(args: &Args, page: &Value) -> Outcome<String> {
    if args.paths {
        return Ok(match args.output {
            Format::Json => format!("{:#}\n", page["paths"]),
            Format::Table => paths::table(page),
        });
    }
    let Some(name) = args.name.as_deref() else {
        return Ok(match args.output {
            Format::Json => format!("{page:#}\n"),
            Format::Table => table(page),
        });
    };
    let mut out = String::new();
    for link in each(&page["link_statuses"]).filter(|link| is_named(link, Some(name))) {
        match args.output {
            Format::Json => writeln!(out, "{link:#}")?,
            Format::Table => print_alone(link, &mut out)?,
        }
    }
    if out.is_empty() {
        return Err(format!("there is no link {name:?}").into());
    }
    for link in each(&page["links"]).filter(|link| is_named(link, Some(name))) {
        if matches!(args.output, Format::Table) {
            print_link(link, page, &mut out);
        }
    }
    Ok(out)
}

/// Whether a link is the one asked for: every one is where none was named, and a bare name is one in any namespace.
fn is_named(link: &Value, name: Option<&str>) -> bool {
    let (namespace, own) =
        (link["namespace"].as_str().unwrap_or_default(), link["name"].as_str().unwrap_or_default());
    name.is_none_or(|name| match name.split_once('/') {
        Some(asked) => asked == (namespace, own),
        None => name == own,
    })
}

/// One link as `skupper link status NAME` prints it.
fn print_alone(link: &Value, out: &mut String) -> std::fmt::Result {
    let status = &link["status"];
    writeln!(out, "Name\t: {}", qualified(&link["namespace"], &link["name"]))?;
    writeln!(out, "Status\t: {}", cell(&status["status"]))?;
    writeln!(out, "Cost\t: {}", cell(&link["cost"]))?;
    writeln!(out, "Message\t: {}", cell(&status["message"]))
}

async fn ask(admin: SocketAddr) -> Outcome<Value> {
    let tcp = TcpStream::connect(admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
    let request = Request::get("/status").header(HOST, admin.to_string()).body(Empty::<Bytes>::new())?;
    let asking = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("answered {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), LARGEST_PAGE).collect().await?;
        Outcome::Ok(serde_json::from_slice(&body.to_bytes())?)
    };
    let mut asking = pin!(asking);
    tokio::select! {
        answered = &mut asking => answered,
        // The connection may end before the last of the answer has been looked at.
        _ = connection => asking.await,
    }
}

/// The page for people: a table of links as `skupper link status` prints it, then more of each, then what comes from
/// other sites and the ways to them.
fn table(page: &Value) -> String {
    let mut out = String::new();
    let mut links = Rows::new(&["NAME", "STATUS", "COST", "MESSAGE"]);
    for link in each(&page["link_statuses"]) {
        let status = &link["status"];
        let name = qualified(&link["namespace"], &link["name"]);
        links.push([name, cell(&status["status"]), cell(&link["cost"]), cell(&status["message"])]);
    }
    if links.rows.is_empty() {
        out.push_str("There are no link resources\n");
    } else {
        links.print("", &mut out);
    }
    for link in each(&page["links"]) {
        print_link(link, page, &mut out);
    }
    print_remote(page, &mut out);
    print_paths(page, &mut out);
    print_waiting(page, &mut out);
    print_accesses(page, &mut out);
    out
}

fn print_link(link: &Value, page: &Value, out: &mut String) {
    let groups = link["groups"].as_array().map_or(0, Vec::len);
    // One that drains takes nothing new.
    let drains = |group: &Value| session(page, &group["session"])["state"] == "draining";
    let up = each(&link["groups"])
        .filter(|group| (group["state"] == "up" || group["state"] == "suspect") && !drains(group));
    let (up, history) = (up.count(), &link["history"]);
    let _ = writeln!(
        out,
        "\nLink {}: {up} of {groups} groups up; up {} times, down {}",
        qualified(&link["namespace"], &link["name"]),
        cell(&history["ups"]),
        cell(&history["downs"]),
    );
    let mut rows =
        Rows::new(&["GROUP", "STATE", "FOR", "ENDPOINT", "SITE", "ROUTER", "FAILED", "NEXT", "CAUSE"]);
    for group in each(&link["groups"]) {
        let session = session(page, &group["session"]);
        let now = page["at_micros"].as_u64().unwrap_or(0);
        let next = group["next_attempt_micros"].as_u64().map_or_else(String::new, |at| {
            format!("in {:.1?}", Duration::from_micros(at.saturating_sub(now)))
        });
        let history = &group["history"];
        // What befell it before it came up is history.
        let cause = match (&group["error"], &history["last_failure"], &history["last_end"]) {
            (Value::Null, ..) if group["state"] == "up" => String::new(),
            (Value::Null, _, end) => cell(&end["message"]),
            (_, failure, _) => format!("{}: {}", cell(&failure["phase"]), cell(&failure["message"])),
        };
        rows.push([
            dash(cell(&group["name"])),
            if drains(group) { cell(&session["state"]) } else { cell(&group["state"]) },
            age(page, if drains(group) { &session["since_micros"] } else { &group["since_micros"] }),
            cell(&group["endpoint"]),
            cell(&session["peer"]["site_name"]),
            cell(&session["peer"]["router"]),
            cell(&history["failures"]),
            next,
            cause,
        ]);
    }
    rows.print("  ", out);
}

fn print_remote(page: &Value, out: &mut String) {
    let mut rows =
        Rows::new(&["NAME", "GROUP", "SITE", "ROUTER", "STATE", "FOR", "COST", "ADDRESS", "STREAMS"]);
    for session in each(&page["sessions"]).filter(|session| session["side"] == "acceptor") {
        rows.push([
            cell(&session["name"]),
            dash(cell(&session["group"])),
            cell(&session["peer"]["site_name"]),
            cell(&session["peer"]["router"]),
            cell(&session["state"]),
            age(page, &session["since_micros"]),
            cell(&session["cost"]),
            cell(&session["carriers"][0]["remote"]),
            cell(&session["streams"]),
        ]);
    }
    if !rows.rows.is_empty() {
        out.push_str("\nLinks from remote sites:\n");
        rows.print("  ", out);
    }
}

fn print_paths(page: &Value, out: &mut String) {
    let mut rows = Rows::new(&["DESTINATION", "SITE", "SESSION", "COST", "OPEN", "SCORE", "WHY"]);
    for path in each(&page["paths"]) {
        let destination = match (&path["destination"]["key"], &path["destination"]["site"]) {
            (Value::Null, site) => format!("site {}", cell(site)),
            (key, _) => format!("key {}", cell(key)),
        };
        for candidate in each(&path["candidates"]) {
            let why = match (&candidate["why_not"], candidate["chosen"] == true) {
                (_, true) => format!("chosen: {}", cell(&path["because"])),
                (Value::Null, false) => "not now".to_owned(),
                (why_not, false) => format!("no: {}", cell(why_not)),
            };
            rows.push([
                destination.clone(),
                cell(&candidate["site"]),
                cell(&candidate["session"]),
                cell(&candidate["cost"]),
                cell(&candidate["open"]),
                cell(&candidate["score"]),
                why.replace('_', " "),
            ]);
        }
    }
    if !rows.rows.is_empty() {
        out.push_str("\nPaths:\n");
        rows.print("  ", out);
    }
}

fn print_waiting(page: &Value, out: &mut String) {
    let mut rows = Rows::new(&["SESSION", "STREAM", "DESTINATION", "WAITS FOR", "FOR", "QUEUED", "UNREAD"]);
    for session in each(&page["sessions"]).filter(|session| session["streams_stalled"] != 0) {
        for stream in each(&session["waiting"]) {
            let stalls = [&stream["sending"], &stream["receiving"]];
            let Some(stall) = stalls.into_iter().find(|stall| !stall.is_null()) else { continue };
            rows.push([
                cell(&session["session"]),
                cell(&stream["stream"]),
                each_value(&stream["destination"]).map(cell).collect(),
                cell(&stall["cause"]).replace('_', " "),
                age(page, &stall["since_micros"]),
                cell(&stream["queued_bytes"]),
                cell(&stream["unread_bytes"]),
            ]);
        }
    }
    if !rows.rows.is_empty() {
        out.push_str("\nStalled streams:\n");
        rows.print("  ", out);
    }
}

fn print_accesses(page: &Value, out: &mut String) {
    let mut rows = Rows::new(&["ADDRESS", "ROLE", "SESSIONS", "REFUSED", "LAST REFUSED"]);
    for access in each(&page["accesses"]) {
        let history = &access["history"];
        let refused: u64 = each_value(&history["refused"]).filter_map(Value::as_u64).sum();
        let last = match &history["last_refused"] {
            Value::Null => String::new(),
            last => format!(
                "{} ago, {}: {}",
                age(page, &last["at_micros"]),
                cell(&last["address"]),
                cell(&last["message"])
            ),
        };
        rows.push([
            cell(&access["address"]),
            cell(&access["role"]),
            cell(&access["sessions"]),
            refused.to_string(),
            last,
        ]);
    }
    if !rows.rows.is_empty() {
        out.push_str("\nLink accesses:\n");
        rows.print("  ", out);
    }
}

/// Lines of cells, printed in columns.
struct Rows<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Rows<N> {
    fn new(head: &[&'static str; N]) -> Self {
        Self { head: *head, rows: Vec::new() }
    }

    fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    fn print(&self, indent: &str, out: &mut String) {
        let head = self.head.map(str::to_owned);
        let lines = || std::iter::once(&head).chain(&self.rows);
        let width = |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..N).map(width).collect();
        for line in lines() {
            let mut text = indent.to_owned();
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "{cell:<width$}   ");
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn each_value(object: &Value) -> impl Iterator<Item = &Value> {
    object.as_object().into_iter().flat_map(|fields| fields.values())
}

fn session<'a>(page: &'a Value, number: &Value) -> &'a Value {
    let found = each(&page["sessions"]).find(|session| !number.is_null() && session["session"] == *number);
    found.unwrap_or(&Value::Null)
}

fn qualified(namespace: &Value, name: &Value) -> String {
    match namespace.as_str() {
        None | Some("") => cell(name),
        Some(namespace) => format!("{}/{}", cell(&namespace.into()), cell(name)),
    }
}

/// How long ago something was.
fn age(page: &Value, since: &Value) -> String {
    let (now, since) = (page["at_micros"].as_u64(), since.as_u64());
    let span = Duration::from_micros(now.unwrap_or(0).saturating_sub(since.unwrap_or(0)));
    match span.as_secs() {
        0..60 => format!("{}s", span.as_secs()),
        60..3600 => format!("{}m{}s", span.as_secs() / 60, span.as_secs() % 60),
        3600.. => format!("{}h{}m", span.as_secs() / 3600, span.as_secs() / 60 % 60),
    }
}

/// A value as a terminal may show it: a site's name, or a peer's words, must not move the cursor.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// How long the router may take to answer: as long as its page lasts.
const PATIENCE: Duration = Duration::from_secs(10);

/// A page of 1,000 paths and 1,000 sessions is some MiB.
const LARGEST_PAGE: usize = 64 << 20;
