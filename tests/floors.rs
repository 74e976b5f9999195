//! The structure of the crate, held by a test: which room may import which, and what a room never names.
//!
//! The test reads `src/` as text, cut into tokens without comments and literals. That is less than a compiler
//! knows and enough for these rules, because the code keeps to one module per `use` line. Each rule is also
//! run over snippets that break it, so that a rule that sees nothing any more is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every room and its floor. A room imports from lower floors only.
const FLOORS: &[(&str, u8)] = &[
    ("id", 1),
    ("moment", 1),
    ("stats", 1),
    ("certificate", 2),
    ("policy", 3),
    ("wire", 2),
    ("error", 3),
    ("config", 4),
    ("event", 4),
    ("snapshot", 4),
    ("resource", 4),
    ("tls", 4),
    ("proto", 5),
    ("net", 6),
    // Beside `net`, and imported by nobody: the simulated world and the door for fuzz targets.
    ("sim", 6),
    ("entries", 6),
    ("api", 7),
];

/// Imports between rooms of one floor that are wanted, each with its reason.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("snapshot", "event", "a snapshot and an event name a peer and a destination by the same types"),
    ("snapshot", "config", "a snapshot says by which rule paths are chosen"),
    ("tls", "resource", "credentials are read out of a Secret document"),
];

/// Rooms that end the graph: nothing imports them.
const IMPORTED_BY_NOBODY: &[&str] = &["sim", "entries"];

/// Machines: handed everything, and therefore tested without a clock, a socket or a runtime.
const SANS_IO: &[&str] = &[
    "id",
    "moment",
    "stats",
    "wire",
    "certificate",
    "policy",
    "error",
    "config",
    "event",
    "snapshot",
    "proto",
];

/// What only `net` (and what stands on it) may name.
const WAITING: &[&str] = &[
    "tokio",
    "tokio_util",
    "tokio_rustls",
    "socket2",
    "TcpStream",
    "TcpListener",
    "TcpSocket",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
    "std::thread",
    "thread::spawn",
    "thread::sleep",
    ".await",
    "async fn",
    "async move",
    "async {",
];

/// What a sans-IO room does not name either.
const WORLD: &[&str] = &[
    "rustls",
    "std::fs",
    "std::env",
    "std::process",
    "SystemTime",
    ".elapsed(",
    // Randomness is an argument: a generator made here would break the replay of a seed.
    "fastrand::Rng::new",
    "Rng::new()",
    "fastrand::u8",
    "fastrand::u32",
    "fastrand::u64",
    "fastrand::usize",
    "fastrand::fill",
    "fastrand::shuffle",
    "thread_rng",
];

/// What no production code names.
const NEVERS: &[&str] = &[
    "unsafe",
    "todo!",
    "unimplemented!",
    "dbg!",
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "unbounded_channel",
    "#[allow(",
    "#![allow(",
];

/// Words that say nothing of what a type is for.
const EMPTY_WORDS: &[&str] = &[
    "Manager", "Handler", "Helper", "Helpers", "Util", "Utils", "Inner", "Impl", "Base", "Data", "Info",
    "Common",
];

/// Beginnings of function names that say nothing of what the function does.
const EMPTY_VERBS: &[&str] = &["get_", "do_", "process_", "check_"];

/// The most lines of a file, without its tests and blank lines. Past 500 it is time to ask whether it is one thing.
const LONGEST_FILE: usize = 600;

/// A rule looks at all files and says where it is broken.
type Rule = fn(&[Source]) -> Vec<String>;

#[test]
fn a_room_imports_from_lower_floors_only() {
    hold(floors);
}

#[test]
fn a_use_line_names_one_module() {
    hold(one_module_per_use);
}

#[test]
fn sans_io_rooms_name_no_runtime_socket_thread_or_clock() {
    hold(sans_io);
}

#[test]
fn only_the_clock_reads_time() {
    hold(clock);
}

#[test]
fn rustls_is_named_where_it_is_driven_and_nowhere_else() {
    hold(rustls);
}

#[test]
fn no_production_code_names_what_is_forbidden() {
    hold(nevers);
}

#[test]
fn the_crate_root_defines_nothing() {
    hold(crate_root);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    hold(circles);
}

#[test]
fn names_say_what_a_thing_is_for() {
    hold(names);
}

#[test]
fn no_file_is_too_long() {
    hold(length);
}

/// In what is written out, a span of time is a number of seconds wherever it stands.
#[test]
fn spans_of_time_in_events_are_written_in_seconds() {
    let text = include_str!("../src/event.rs");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let spans: Vec<usize> = (1..lines.len()).filter(|line| lines[*line].ends_with(": Duration,")).collect();
    assert!(spans.len() >= 9, "the events with spans of time are elsewhere now");
    for line in spans {
        assert!(
            lines[line - 1].contains("crate::stats::seconds"),
            "src/event.rs:{}: {}",
            line + 1,
            lines[line]
        );
    }
}

fn hold(rule: Rule) {
    let sources = read_sources();
    assert!(sources.len() > 5, "src/ was not found");
    let broken = rule(&sources);
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Each rule, broken: (rule, files, what it must say).
/// A rule, files that break it, and what it must say of them.
type Case<'a> = (Rule, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn each_rule_sees_what_breaks_it() {
    let long = "fn f() {}\n".repeat(LONGEST_FILE + 1);
    let cases: &[Case<'_>] = &[
        (
            floors,
            &[("wire/frame.rs", "use crate::proto::mux::Mux;")],
            "wire/frame.rs:1: wire (floor 2) names proto",
        ),
        (floors, &[("wire/frame.rs", "\nfn f() { crate::net::clock::now() }")], "wire/frame.rs:2: wire"),
        (floors, &[("resource/link.rs", "use crate::tls::verify::Name;")], "names tls"),
        (floors, &[("api/plane.rs", "use crate::sim::World;")], "imported by nobody"),
        (floors, &[("wire/frame.rs", "use crate::Frame;")], "through the crate root"),
        (floors, &[("wire/frame.rs", "use crate::{id, error};")], "through the crate root"),
        (floors, &[("wire/frame.rs", "use super::super::proto;")], "super::super"),
        (floors, &[("wire/mod.rs", "use super::proto::mux::Mux;")], "through the crate root"),
        (floors, &[("wire/frame.rs", "use crate::cellar::Wine;")], "no floor"),
        (floors, &[("cellar/wine.rs", "")], "no floor"),
        (
            one_module_per_use,
            &[("net/a.rs", "use crate::wire::{code::CloseCode, frame::Frame};")],
            "net/a.rs:1",
        ),
        (one_module_per_use, &[("net/a.rs", "use crate::wire::*;")], "names everything"),
        (sans_io, &[("proto/mux.rs", "use tokio::time::Instant;")], "names `tokio`"),
        (sans_io, &[("proto/mux.rs", "use std::time::SystemTime;")], "names `SystemTime`"),
        (
            sans_io,
            &[("wire/frame.rs", "fn f(at: Instant) -> Duration { at.elapsed() }")],
            "names `.elapsed(`",
        ),
        (sans_io, &[("wire/frame.rs", "async fn f() {}")], "names `async fn`"),
        (sans_io, &[("resource/link.rs", "use std::net::TcpStream;")], "names `TcpStream`"),
        (sans_io, &[("proto/dial.rs", "let mut rng = fastrand::Rng::new();")], "names `fastrand::Rng::new`"),
        (clock, &[("net/carrier.rs", "let now = std::time::Instant::now();")], "net/carrier.rs:1"),
        (clock, &[("api/plane.rs", "let now = SystemTime::now();")], "api/plane.rs:1"),
        (rustls, &[("api/plane.rs", "use rustls::ClientConfig;")], "api/plane.rs:1"),
        (nevers, &[("net/carrier.rs", "fn f() { todo!() }")], "names `todo!`"),
        (nevers, &[("net/carrier.rs", "unsafe fn f() {}")], "names `unsafe`"),
        (nevers, &[("net/carrier.rs", "#[allow(dead_code)]\nfn f() {}")], "names `#[allow(`"),
        (crate_root, &[("lib.rs", "pub mod id;\npub struct Thing;")], "lib.rs:2"),
        (crate_root, &[("lib.rs", "pub mod id { }")], "lib.rs:1"),
        (
            circles,
            &[
                ("proto/a.rs", "use crate::proto::b::B;"),
                ("proto/b.rs", "use super::c::C;"),
                ("proto/c/mod.rs", "pub mod d;"),
                ("proto/c/d.rs", "use crate::proto::a::A;"),
            ],
            "proto::a → proto::b → proto::c → proto::a",
        ),
        (names, &[("net/a.rs", "struct LinkManager;")], "LinkManager"),
        (names, &[("net/a.rs", "enum DataKind {}")], "DataKind"),
        (names, &[("net/a.rs", "fn get_cost() {}")], "get_cost"),
        (names, &[("net/util.rs", "")], "net/util.rs"),
        (length, &[("net/a.rs", &long)], "601 lines"),
    ];
    for (index, (rule, files, expected)) in cases.iter().enumerate() {
        let broken = rule(&sources(files));
        assert!(
            broken.iter().any(|finding| finding.contains(expected)),
            "case {index}: {files:?}: expected {expected:?}, found {broken:?}"
        );
    }
}

/// What only looks like a breach: comments, literals, tests, parents and children.
#[test]
fn no_rule_sees_what_is_not_there() {
    let rules: &[Rule] =
        &[floors, one_module_per_use, sans_io, clock, rustls, nevers, crate_root, circles, names, length];
    let files: &[(&str, &str)] = &[
        (
            "lib.rs",
            "//! Docs { }\n#![doc = \"x\"]\nmod net;\npub use api::plane::{Plane, Site};\n#[cfg(test)]\nmod sim;",
        ),
        ("wire/mod.rs", "pub mod frame;\nuse crate::wire::frame::Frame;\npub(crate) const A: u8 = b'{';"),
        ("wire/frame.rs", "// tokio, Instant::now()\n/* unsafe /* nested */ todo!() */\nuse crate::wire::A;"),
        ("wire/code.rs", "const S: &str = \"unsafe \\\" tokio\"; const R: &str = r#\"dbg!(\"x\")\"#;"),
        ("proto/mod.rs", "pub mod mux;\n#[cfg(test)]\nmod testing;"),
        (
            "proto/mux.rs",
            "fn f<'a>(x: &'a str) -> char { '\"' }\n#[cfg(test)]\nmod tests { use tokio::time; }",
        ),
        ("proto/testing.rs", "use std::thread::spawn; fn f() { let now = Instant::now(); }"),
        ("sim/mod.rs", "use crate::proto::mux::Mux;"),
        ("tls/credentials.rs", "use crate::resource::secret::SecretSpec; use rustls::pki_types;"),
        ("net/clock.rs", "pub(crate) fn now() -> Instant { tokio::time::Instant::now().into_std() }"),
    ];
    for rule in rules {
        assert_eq!(rule(&sources(files)), Vec::<String>::new());
    }
}

fn floors(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path != "lib.rs") {
        let Some(own) = floor(source.room()) else {
            broken.push(format!("{}: room {} has no floor in the table", source.path, source.room()));
            continue;
        };
        for (index, window) in source.tokens.windows(3).enumerate() {
            let texts = [window[0].text.as_str(), window[1].text.as_str(), window[2].text.as_str()];
            let place = format!("{}:{}", source.path, window[0].line);
            match texts {
                ["super", "::", "super"] => broken.push(format!("{place}: names super::super; say crate::…")),
                // In the root file of a room `super` is the crate root, except inside a module written in place.
                ["super", "::", _] if source.module.len() == 1 && source.depth(index) == 0 => {
                    broken.push(format!("{place}: goes through the crate root"));
                }
                ["crate", "::", name] if name.starts_with(|c: char| !c.is_lowercase()) => {
                    broken.push(format!("{place}: goes through the crate root; say crate::room::…"));
                }
                ["crate", "::", room] if room != source.room() => {
                    broken.extend(wrong_floor(source.room(), own, room).map(|why| format!("{place}: {why}")));
                }
                _ => {}
            }
        }
    }
    broken
}

fn wrong_floor(from: &str, own: u8, room: &str) -> Option<String> {
    let Some(other) = floor(room) else {
        return Some(format!("names {room}, which has no floor in the table"));
    };
    if IMPORTED_BY_NOBODY.contains(&room) {
        return Some(format!("names {room}, which is imported by nobody"));
    }
    let neighbour = NEIGHBOURS.iter().any(|(a, b, _)| *a == from && *b == room);
    (other >= own && !neighbour).then(|| format!("{from} (floor {own}) names {room} (floor {other})"))
}

fn one_module_per_use(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path != "lib.rs") {
        for statement in source.tokens.split(|token| token.text == ";") {
            let Some(start) = statement.iter().rposition(|token| token.text == "use") else {
                continue;
            };
            let path = &statement[start..];
            if path.get(1).is_none_or(|root| root.text != "crate") {
                continue;
            }
            let place = format!("{}:{}", source.path, path[0].line);
            let group = path.iter().position(|token| token.text == "{").unwrap_or(path.len());
            if path[group..].iter().any(|token| token.text == "::") {
                broken.push(format!("{place}: names several modules in one use line"));
            }
            if path.iter().any(|token| token.text == "*") {
                broken.push(format!("{place}: names everything of a module"));
            }
        }
    }
    broken
}

fn sans_io(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let room = source.room();
        if SANS_IO.contains(&room) {
            broken.extend(source.naming(WAITING));
            broken.extend(source.naming(WORLD));
        } else if ["resource", "tls"].contains(&room) {
            broken.extend(source.naming(WAITING));
        }
    }
    broken
}

fn clock(sources: &[Source]) -> Vec<String> {
    let elsewhere = sources.iter().filter(|source| source.path != "net/clock.rs");
    elsewhere.flat_map(|source| source.naming(&["Instant::now", "SystemTime::now"])).collect()
}

fn rustls(sources: &[Source]) -> Vec<String> {
    let elsewhere = sources.iter().filter(|source| !["tls", "net"].contains(&source.room()));
    elsewhere.flat_map(|source| source.naming(&["rustls", "tokio_rustls"])).collect()
}

fn nevers(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(|source| source.naming(NEVERS)).collect()
}

/// `lib.rs` holds attributes, `mod x;` and `pub use …;`.
fn crate_root(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path == "lib.rs") {
        let items = without_attributes(&source.tokens);
        for statement in items.split(|token| token.text == ";").filter(|statement| !statement.is_empty()) {
            let texts: Vec<&str> = statement.iter().map(|token| token.text.as_str()).collect();
            let allowed = matches!(
                texts.as_slice(),
                ["mod", _] | ["pub", "mod", _] | ["pub", "(", "crate", ")", "mod", _] | ["pub", "use", ..]
            );
            if !allowed {
                broken.push(format!("lib.rs:{}: defines `{}`", statement[0].line, texts.join(" ")));
            }
        }
    }
    broken
}

/// Finds circles among the children of each module: two siblings never import each other, at any depth
/// beneath them. A module and its own children may.
fn circles(sources: &[Source]) -> Vec<String> {
    let modules: BTreeSet<&[String]> = sources.iter().map(|source| source.module.as_slice()).collect();
    let mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test && source.path != "lib.rs") {
        for target in source.imports() {
            let Some(target) =
                (1..=target.len()).rev().map(|n| &target[..n]).find(|path| modules.contains(path))
            else {
                continue;
            };
            let common = source.module.iter().zip(target).take_while(|(a, b)| a == b).count();
            if common < source.module.len() && common < target.len() {
                edges
                    .entry(source.module[..=common].to_vec())
                    .or_default()
                    .insert(target[..=common].to_vec());
            }
        }
    }
    let mut done = BTreeSet::new();
    let mut broken = Vec::new();
    for start in edges.keys() {
        walk(start, &edges, &mut Vec::new(), &mut done, &mut broken);
    }
    broken
}

fn walk(
    node: &Vec<String>,
    edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
    way: &mut Vec<Vec<String>>,
    done: &mut BTreeSet<Vec<String>>,
    broken: &mut Vec<String>,
) {
    if let Some(start) = way.iter().position(|seen| seen == node) {
        let circle: Vec<String> = way[start..].iter().chain([node]).map(|module| module.join("::")).collect();
        broken.push(format!("circle: {}", circle.join(" → ")));
        return;
    }
    if done.contains(node) {
        return;
    }
    way.push(node.clone());
    for next in edges.get(node).into_iter().flatten() {
        walk(next, edges, way, done, broken);
    }
    way.pop();
    done.insert(node.clone());
}

fn names(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let file = source.module.last().map_or("", String::as_str);
        if EMPTY_WORDS.iter().any(|word| word.eq_ignore_ascii_case(file)) {
            broken.push(format!("{}: the name says nothing", source.path));
        }
        for pair in source.tokens.windows(2) {
            let name = pair[1].text.as_str();
            let empty = match pair[0].text.as_str() {
                "struct" | "enum" | "trait" | "type" | "union" => {
                    camel_words(name).iter().any(|word| EMPTY_WORDS.contains(&word.as_str()))
                }
                "fn" => EMPTY_VERBS.iter().any(|verb| name.starts_with(verb)),
                _ => false,
            };
            if empty {
                broken
                    .push(format!("{}:{}: {name} says nothing of what it is for", source.path, pair[1].line));
            }
        }
    }
    broken
}

fn length(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| !source.is_test && source.production_lines > LONGEST_FILE);
    long.map(|source| {
        format!("{}: {} lines, of at most {LONGEST_FILE}", source.path, source.production_lines)
    })
    .collect()
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// `LinkManager` → `Link`, `Manager`.
fn camel_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words
}

/// A file of `src/`, as tokens.
struct Source {
    /// Beneath `src/`, with slashes.
    path: String,
    /// Its module path without `crate`; empty for `lib.rs`.
    module: Vec<String>,
    /// Compiled for tests only; then `tokens` is still the whole file.
    is_test: bool,
    /// The tokens outside `#[cfg(test)]` items.
    tokens: Vec<Token>,
    /// Modules declared under `#[cfg(test)]`.
    test_modules: Vec<String>,
    /// Lines that are neither blank nor of a test.
    production_lines: usize,
}

/// A name, a number, `::`, or one sign.
#[derive(Clone, Debug, PartialEq)]
struct Token {
    line: usize,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let stem = path.trim_end_matches(".rs");
        let stem = if stem == "lib" { "" } else { stem.trim_end_matches("/mod") };
        let module = stem.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let all = tokens(text);
        let items = test_items(&all);
        let in_test = |index: usize| items.iter().any(|item| item.contains(&index));
        let test_lines: BTreeSet<usize> =
            items.iter().flat_map(|item| all[item.start].line..=all[item.end - 1].line).collect();
        let test_modules = all.windows(3).enumerate().filter_map(|(index, window)| {
            let declares = window[0].text == "mod" && window[2].text == ";" && in_test(index);
            declares.then(|| window[1].text.clone())
        });
        Self {
            path: path.to_owned(),
            module,
            is_test: false,
            test_modules: test_modules.collect(),
            production_lines: (1..)
                .zip(text.lines())
                .filter(|(line, text)| !text.trim().is_empty() && !test_lines.contains(line))
                .count(),
            tokens: all
                .iter()
                .enumerate()
                .filter(|(index, _)| !in_test(*index))
                .map(|(_, t)| t.clone())
                .collect(),
        }
    }

    fn room(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    /// How many braces are open before a token.
    fn depth(&self, index: usize) -> usize {
        let count = |sign| self.tokens[..index].iter().filter(|token| token.text == sign).count();
        count("{").saturating_sub(count("}"))
    }

    /// Where production code names one of the phrases.
    fn naming(&self, phrases: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for phrase in phrases.iter().filter(|_| !self.is_test) {
            let wanted: Vec<String> = tokens(phrase).into_iter().map(|token| token.text).collect();
            for window in self.tokens.windows(wanted.len()) {
                if window.iter().map(|token| &token.text).eq(&wanted) {
                    found.push(format!("{}:{}: names `{phrase}`", self.path, window[0].line));
                }
            }
        }
        found
    }

    /// Every path into the crate that is named, as a module path with what follows it.
    fn imports(&self) -> Vec<Vec<String>> {
        let mut imports = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            let mut path = match token.text.as_str() {
                "crate" => Vec::new(),
                "super" if !self.module.is_empty() => self.module[..self.module.len() - 1].to_vec(),
                "self" => self.module.clone(),
                _ => continue,
            };
            let mut rest = self.tokens[index + 1..].iter().map(|token| token.text.as_str());
            while rest.next() == Some("::") {
                match rest.next() {
                    Some("{") => {
                        let group = rest.by_ref().take_while(|text| *text != "}").filter(|text| *text != ",");
                        imports.extend(
                            group.map(|name| path.iter().cloned().chain([name.to_owned()]).collect()),
                        );
                    }
                    Some(name) => path.push(name.to_owned()),
                    None => {}
                }
            }
            imports.push(path);
        }
        imports
    }
}

fn read_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src/ can be listed") {
            let path = entry.expect("src/ can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.strip_prefix(&root).expect("beneath src/").to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read_to_string(&path).expect("a source file is text"));
            }
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    sources(&files)
}

fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let mut sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    let test_modules: Vec<Vec<String>> = sources
        .iter()
        .flat_map(|source| {
            source.test_modules.iter().map(|name| [source.module.clone(), vec![name.clone()]].concat())
        })
        .collect();
    for source in &mut sources {
        source.is_test = test_modules.iter().any(|module| source.module.starts_with(module));
    }
    sources
}

/// The ranges of tokens that are items under `#[cfg(test)]`, attribute and all.
fn test_items(tokens: &[Token]) -> Vec<std::ops::Range<usize>> {
    let text = |index: usize| tokens.get(index).map_or("", |token: &Token| token.text.as_str());
    let mut items = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let plain = ["#", "[", "cfg", "(", "test", ")"];
        let nested = ["#", "[", "cfg", "(", "all", "(", "test"];
        let begins = |phrase: &[&str]| (0..phrase.len()).all(|offset| text(index + offset) == phrase[offset]);
        if !begins(&plain) && !begins(&nested) {
            index += 1;
            continue;
        }
        let start = index;
        while text(index) == "#" {
            index = closing(tokens, index + 1) + 1;
        }
        let is_use = text(index) == "use" || text(index + 1) == "use";
        while index < tokens.len() && text(index) != ";" {
            if ["(", "[", "{"].contains(&text(index)) {
                let ends = text(index) == "{" && !is_use;
                index = closing(tokens, index);
                if ends {
                    break;
                }
            }
            index += 1;
        }
        index = (index + 1).min(tokens.len());
        items.push(start..index);
    }
    items
}

fn without_attributes(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let bracket = index + 1 + usize::from(tokens.get(index + 1).is_some_and(|token| token.text == "!"));
        if tokens[index].text == "#" && tokens.get(bracket).is_some_and(|token| token.text == "[") {
            index = closing(tokens, bracket) + 1;
        } else {
            kept.push(tokens[index].clone());
            index += 1;
        }
    }
    kept
}

/// The index of the bracket that closes the one at `open`, or the last index.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 1 => return index,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    tokens.len().saturating_sub(1)
}

/// Cuts Rust into tokens; comments, literals and lifetimes are dropped.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let (mut index, mut line) = (0, 1);
    while index < chars.len() {
        let start = index;
        match at(index) {
            '/' if at(index + 1) == '/' => index = until(&chars, index, "\n"),
            '/' if at(index + 1) == '*' => index = after_block_comment(&chars, index),
            '"' => index = after_string(&chars, index + 1),
            '\'' if at(index + 1) == '\\' => index = until(&chars, index + 3, "'") + 1,
            '\'' if at(index + 2) == '\'' => index += 3,
            '\'' => index += 1 + chars[index + 1..].iter().take_while(|c| is_word(**c)).count(),
            ':' if at(index + 1) == ':' => {
                found.push(Token { line, text: "::".to_owned() });
                index += 2;
            }
            c if is_word(c) => {
                let word: String = chars[index..].iter().take_while(|c| is_word(**c)).collect();
                index += word.chars().count();
                let hashes = chars[index..].iter().take_while(|c| **c == '#').count();
                let raw = ["r", "br", "cr"].contains(&word.as_str()) && at(index + hashes) == '"';
                if raw {
                    let end = format!("\"{}", "#".repeat(hashes));
                    index = until(&chars, index + hashes + 1, &end) + end.len();
                } else if !(["b", "c"].contains(&word.as_str()) && ['"', '\''].contains(&at(index))) {
                    found.push(Token { line, text: word });
                }
            }
            c if c.is_whitespace() => index += 1,
            c => {
                found.push(Token { line, text: c.to_string() });
                index += 1;
            }
        }
        index = index.min(chars.len());
        line += chars[start..index].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `end` begins at or after `index`, or the end of the text.
fn until(chars: &[char], index: usize, end: &str) -> usize {
    let end: Vec<char> = end.chars().collect();
    let from = index.min(chars.len());
    let found = chars[from..].windows(end.len()).position(|window| window == end);
    found.map_or(chars.len(), |offset| from + offset)
}

fn after_block_comment(chars: &[char], mut index: usize) -> usize {
    let mut depth = 0_usize;
    while index < chars.len() {
        match (chars[index], chars.get(index + 1)) {
            ('/', Some('*')) => (depth, index) = (depth + 1, index + 2),
            ('*', Some('/')) if depth == 1 => return index + 2,
            ('*', Some('/')) => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    index
}

fn after_string(chars: &[char], mut index: usize) -> usize {
    while index < chars.len() {
        match chars[index] {
            '"' => return index + 1,
            '\\' => index += 2,
            _ => index += 1,
        }
    }
    index
}
