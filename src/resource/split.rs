//! From bytes to documents: YAML with `---` between, JSON objects one after another, or both.
//!
//! Documents are divided before they are parsed, so that a broken one costs only itself. In YAML this is
//! exact: `---` and `...` at the begin of a line end a document wherever they stand, even within quotes.

use serde::de::{DeserializeSeed, IgnoredAny};
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::resource::node::{Budget, Node, Seed};

/// A document, or what is said of one that cannot be parsed. Nothing of the text is in it: it may be a
/// Secret's.
#[derive(Debug)]
pub(crate) enum Piece {
    Document(Node),
    Broken(String),
}

/// The documents of a source, one at a time; empty ones are passed over.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = Piece> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    Sections { rest: bytes, line: 1 }.flat_map(|(section, line)| match str::from_utf8(section) {
        Ok(text) if !text.contains('\0') => Documents::new(Some(text), line),
        _ => Documents::new(None, line),
    })
}

/// The stretches between YAML's document marks, each with the number of its first line.
struct Sections<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Iterator for Sections<'a> {
    type Item = (&'a [u8], usize);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (section, lines) = self.section();
            let line = self.line;
            self.rest = &self.rest[section.len()..];
            self.line += lines;
            if !is_empty(section) {
                return Some((section, line));
            }
        }
        None
    }
}

impl<'a> Sections<'a> {
    /// The first section of the rest and how many line ends it has. A mark `---` begins a section, a mark
    /// `...` ends one.
    fn section(&self) -> (&'a [u8], usize) {
        let (mut end, mut lines) = (0, 0);
        while end < self.rest.len() {
            let line = line_of(&self.rest[end..]);
            if end > 0 && is_mark(line, b"---") {
                break;
            }
            end += line.len();
            lines += usize::from(line.ends_with(b"\n") || line.ends_with(b"\r"));
            if is_mark(line, b"...") {
                break;
            }
        }
        (&self.rest[..end], lines)
    }
}

/// The documents of one section: one of YAML, or any number of JSON.
struct Documents<'a> {
    section: &'a str,
    /// Whether the section is text at all.
    legible: bool,
    /// Where the next document is looked for.
    at: usize,
    /// The line on which the section begins.
    line: usize,
    /// Line ends before `counted`, so that a stream of broken documents is counted through only once.
    lines: usize,
    counted: usize,
    /// Whether the whole section was tried as YAML: once is enough.
    tried_yaml: bool,
}

impl Iterator for Documents<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if !std::mem::replace(&mut self.legible, true) {
            return Some(Piece::Broken(self.problem("is not text in UTF-8", None)));
        }
        let rest = &self.section[self.at..];
        // The mark itself is no part of a JSON document.
        let skipped = if self.at == 0 && rest.starts_with("---") { 3 } else { 0 };
        let body = rest[skipped..].trim_start();
        let start = self.section.len() - body.len();
        if body.is_empty() {
            return None;
        }
        if body.starts_with('{') { Some(self.json(start)) } else { self.yaml(self.at, self.section.len()) }
    }
}

impl<'a> Documents<'a> {
    fn new(section: Option<&'a str>, line: usize) -> Self {
        let legible = section.is_some();
        Self {
            section: section.unwrap_or_default(),
            legible,
            at: 0,
            line,
            lines: 0,
            counted: 0,
            tried_yaml: false,
        }
    }
}

impl Documents<'_> {
    /// The JSON document at `start`; or the section as YAML, whose flow style looks like it; or a refusal,
    /// and on at the next line that begins with a brace.
    fn json(&mut self, start: usize) -> Piece {
        let budget = Budget::new();
        let mut parser = serde_json::Deserializer::from_str(&self.section[start..]);
        let problem = match Seed::new(&budget).deserialize(&mut parser) {
            Ok(node) => {
                self.at = start + parser.into_iter::<IgnoredAny>().byte_offset();
                return Piece::Document(node);
            }
            Err(error) => self.json_problem(start, &budget, &error),
        };
        if !std::mem::replace(&mut self.tried_yaml, true)
            && let Some(Piece::Document(node)) = self.yaml(start, self.section.len())
        {
            return Piece::Document(node);
        }
        let next = self.section[start..].find("\n{").map(|offset| start + offset + 1);
        self.at = next.unwrap_or(self.section.len());
        Piece::Broken(problem)
    }

    fn json_problem(&mut self, start: usize, budget: &Budget, error: &serde_json::Error) -> String {
        if budget.is_spent() {
            return self.problem(BEYOND_LIMITS, None);
        }
        let line = self.lines_before(start) + error.line();
        self.problem("is not well-formed JSON", Some(line))
    }

    /// The YAML document in a part of the section, and done with the section.
    fn yaml(&mut self, from: usize, to: usize) -> Option<Piece> {
        self.at = self.section.len();
        let budget = Budget::new();
        let parsed = serde_saphyr::with_deserializer_from_str_with_options(
            &self.section[from..to],
            options(),
            |parser| Seed::new(&budget).deserialize(parser),
        );
        match parsed {
            Ok(Node::Null) => None,
            Ok(node) => Some(Piece::Document(node)),
            Err(_) if budget.is_spent() => Some(Piece::Broken(self.problem(BEYOND_LIMITS, None))),
            Err(error) if is_limit(&error) => Some(Piece::Broken(self.problem(BEYOND_LIMITS, None))),
            Err(error) => {
                let line = error.location().and_then(|at| usize::try_from(at.line()).ok());
                let line = line.map(|line| self.lines_before(from) + line);
                Some(Piece::Broken(self.problem("is not well-formed YAML", line)))
            }
        }
    }

    /// Line ends before an offset, which never goes back.
    fn lines_before(&mut self, offset: usize) -> usize {
        let passed = self.section.as_bytes().get(self.counted..offset).unwrap_or_default();
        self.lines += passed.iter().filter(|byte| **byte == b'\n').count();
        self.counted = self.counted.max(offset);
        self.lines
    }

    /// The text of a refusal. `line` counts from 1 within the section.
    fn problem(&self, what: &str, line: Option<usize>) -> String {
        match line {
            Some(line) => format!("{what} at line {}", self.line + line.saturating_sub(1)),
            None => format!("{what} (begins at line {})", self.line),
        }
    }
}

/// Whether YAML was given up because it is too much, not because it is wrong.
fn is_limit(error: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error;
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => is_limit(error),
        Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::Budget { .. } => true,
        _ => false,
    }
}

/// The first line of the text with its end, which in YAML is LF, CR or CR LF.
fn line_of(text: &[u8]) -> &[u8] {
    let end = match text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        Some(end) if text[end..].starts_with(b"\r\n") => end + 2,
        Some(end) => end + 1,
        None => text.len(),
    };
    &text[..end]
}

/// Whether a line is a document mark: the three characters and then nothing or white space.
fn is_mark(line: &[u8], mark: &[u8]) -> bool {
    line.strip_prefix(mark).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// Whether there is no document in a section: only marks, comments, directives and empty lines.
fn is_empty(section: &[u8]) -> bool {
    let mut rest = section;
    while !rest.is_empty() {
        let line = line_of(rest);
        let content = line.strip_prefix(b"---").filter(|_| is_mark(line, b"---")).unwrap_or(line);
        let content = if is_mark(line, b"...") { b"" } else { content.trim_ascii() };
        if !matches!(content.first(), None | Some(b'#')) && !line.starts_with(b"%") {
            return false;
        }
        rest = &rest[line.len()..];
    }
    true
}

/// How YAML is read: as Kubernetes does, within limits that no real document comes near.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // Seen, and refused by name, when the fields are read.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        // Spellings that YAML 1.1 and 1.2 read differently stay text: a site may be called `n`, and whether
        // a port of 0555 is octal is not for us to guess.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 64,
            flow_nesting_limit: 64,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_recorded_anchor_events: MAX_REPLAYED,
            max_recorded_anchor_bytes: MAX_RECORDED_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: 8,
        },
    }
}

/// What is said of an alias bomb and its like.
const BEYOND_LIMITS: &str = "is beyond the limits of a document";

/// U+FEFF in UTF-8, which some editors put first.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Aliases of one document: hand-written ones share a block between some tens of Links.
const MAX_ALIASES: usize = 1000;

/// What aliases may add to a document, in YAML's events.
const MAX_REPLAYED: usize = 20_000;

/// What anchors may keep: as much as a whole file.
const MAX_RECORDED_BYTES: usize = 4 << 20;
