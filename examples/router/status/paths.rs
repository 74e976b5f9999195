//! `router status --paths`: which way a new connection goes, and why this way.

use std::fmt::Write;

use serde_json::Value;

use super::{Rows, cell, dash, each, session};

/// Every destination with the rule, the choice, and what speaks for and against each candidate.
pub(super) fn table(page: &Value) -> String {
    let mut out = String::new();
    for path in each(&page["paths"]) {
        let _ = writeln!(out, "{}", heading(path));
        let mut rows = Rows::new(&[
            "SESSION",
            "LINK",
            "GROUP",
            "DIALED BY",
            "SITE",
            "ROUTER",
            "OUR COST",
            "PEER COST",
            "COST",
            "OPEN",
            "SCORE",
            "WHY",
        ]);
        let winner = each(&path["candidates"]).find(|candidate| candidate["chosen"] == true);
        for candidate in each(&path["candidates"]) {
            rows.push([
                cell(&candidate["session"]),
                cell(&candidate["name"]),
                dash(cell(&candidate["group"])),
                if candidate["side"] == "dialer" { "us" } else { "peer" }.to_owned(),
                cell(&candidate["site"]),
                cell(&session(page, &candidate["session"])["peer"]["router"]),
                cell(&candidate["own_cost"]),
                cell(&candidate["peer_cost"]),
                cell(&candidate["cost"]),
                cell(&candidate["open"]),
                cell(&candidate["score"]),
                why(path, candidate, winner),
            ]);
        }
        rows.print("  ", &mut out);
        if let Some(left_out) = path["candidates_left_out"].as_u64().filter(|left_out| *left_out > 0) {
            let _ = writeln!(out, "  and {left_out} more");
        }
        out.push('\n');
    }
    match page["paths_left_out"].as_u64() {
        _ if out.is_empty() => out.push_str("There are no paths\n"),
        Some(left_out @ 1..) => drop(writeln!(out, "and {left_out} more destinations")),
        _ => {}
    }
    out
}

/// Whether there is a way to every destination.
pub(super) fn all_lead_somewhere(page: &Value) -> bool {
    let mut paths = each(&page["paths"]).peekable();
    // A router that could send a connection nowhere is not well.
    paths.peek().is_some() && paths.all(|path| !path["chosen"].is_null())
}

fn heading(path: &Value) -> String {
    let destination = match (&path["destination"]["key"], &path["destination"]["site"]) {
        (Value::Null, site) => format!("site {}", cell(site)),
        (key, _) => format!("key {}", cell(key)),
    };
    let rule = match path["selection"].as_str() {
        Some("lowest_cost") => "the lowest cost",
        _ => "the least cost + open streams",
    };
    match &path["chosen"] {
        Value::Null => format!("{destination}: no path"),
        chosen => format!("{destination}: by session {}, by {rule}", cell(chosen)),
    }
}

fn why(path: &Value, candidate: &Value, winner: Option<&Value>) -> String {
    if candidate["chosen"] == true {
        return format!("chosen: {}", cell(&path["because"]).replace('_', " "));
    }
    if !candidate["why_not"].is_null() {
        return format!("no: {}", cell(&candidate["why_not"]).replace('_', " "));
    }
    let score = |of: &Value| of["score"].as_u64().unwrap_or(0);
    match winner.map_or(0, |winner| score(candidate).saturating_sub(score(winner))) {
        0 => "equal, but later in order".to_owned(),
        more => format!("{more} more than the chosen"),
    }
}
