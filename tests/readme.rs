//! The README's code is a program that CI runs.

mod common;
#[path = "readme/router.rs"]
mod router;

#[test]
fn the_readme_shows_the_embedding_example_as_it_is() {
    let readme = include_str!("../README.md");
    let example = include_str!("../examples/embed.rs");
    assert!(example.lines().count() < 60, "the smallest embedding is small");
    assert!(readme.contains(example), "README.md shows another program than examples/embed.rs");
}

#[test]
fn the_readme_shows_routers_nothing_but_code_that_is_run() {
    let readme = include_str!("../README.md");
    let (_, section) = readme.split_once("\n## Put it in a router\n").expect("the section is there");
    let (section, _) = section.split_once("\n## ").expect("it is not the last");
    let shown: Vec<_> = section.split("```rust,ignore\n").skip(1).collect();
    assert_eq!(shown.len(), 8);
    for rest in shown {
        let (snippet, _) = rest.split_once("```").expect("it ends");
        assert!(
            include_str!("readme/router.rs").contains(snippet),
            "not in tests/readme/router.rs:\n{snippet}"
        );
    }
}

#[test]
fn every_test_that_the_list_of_failures_names_is_there() {
    let text = include_str!("../docs/failures.md");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let named: Vec<_> = text.split('`').filter_map(|code| code.split_once(".rs::")).collect();
    assert!(named.len() > 60, "only {} tests are named", named.len());
    for (file, test) in named {
        let source = std::fs::read_to_string(root.join(format!("{file}.rs")));
        let source = source.unwrap_or_else(|error| panic!("{file}.rs: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "{file}.rs has no test {test}");
    }
}
