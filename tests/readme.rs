//! The README's code is a program that CI runs.

#[test]
fn the_readme_shows_the_embedding_example_as_it_is() {
    let readme = include_str!("../README.md");
    let example = include_str!("../examples/embed.rs");
    assert!(example.lines().count() < 60, "the smallest embedding is small");
    assert!(readme.contains(example), "README.md shows another program than examples/embed.rs");
}
