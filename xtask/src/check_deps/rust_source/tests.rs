use super::*;

#[test]
fn names_in_comments_strings_and_tests_do_not_count() {
    let source = RustSource::of(
        "a",
        r##"//! tokio
/* tokio /* tokio */ tokio */
fn a<'a>(x: &'a str) -> char { let _ = ("tokio", r#"tokio " tokio"#, b"tokio", 'a', '\''); '"' }
#[cfg(test)]
mod tests { use tokio::x; fn b() { { } } }
fn c() {}
"##,
    );
    assert_eq!(source.line_of_word("tokio"), None);
    assert_eq!(source.line_of_word("c"), Some(6));
}

#[test]
fn code_after_a_raw_string_counts() {
    let source = RustSource::of("a", "const A: &str = r\"\\\";\nuse tokio::x;");
    assert_eq!(source.line_of_word("tokio"), Some(2));
}

#[test]
fn modules_for_tests_only_are_left_out() {
    let mut files = Files::default();
    files.add("lib", "mod a;\n#[cfg(test)]\nmod testing;\n");
    files.add(
        "a",
        "#[cfg(test)]\nmod tests;\n#[cfg(test)] mod inline { mod b; }",
    );
    assert_eq!(files.test_modules, ["testing", "a/tests"]);
}

#[test]
fn word_is_whole() {
    let source = RustSource::of("a", "use tokio_util::x; let mytokio = 1;\nuse\n  tokio;");
    assert_eq!(source.line_of_word("tokio"), Some(3));
}

#[test]
fn root_of_a_path_is_not_a_segment_of_another() {
    let root = |text| RustSource::of("a", text).line_of_root("spiffe");
    assert_eq!(root("use countersign_proto::spiffe::workload::X;"), None);
    assert_eq!(root("let spiffe = 1;"), None);
    assert_eq!(root("use spiffe::X;"), Some(1));
    assert_eq!(root("use ::spiffe::X;"), Some(1));
    assert_eq!(root("use spiffe;"), Some(1));
    assert_eq!(root("fn a(x: &spiffe::X) {}"), Some(1));
    assert_eq!(root("use {a::b, spiffe::X};"), Some(1));
}

#[test]
fn path_is_found_in_groups() {
    let path = |text| RustSource::of("a", text).line_of_path("std", "fs");
    assert_eq!(path("use std::{fmt, sync::{Arc}, fs};"), Some(1));
    assert_eq!(path("use std::{fs::{self, File}, fmt};"), Some(1));
    assert_eq!(path("std::fs::read(x)"), Some(1));
    assert_eq!(path("use std::{fmt, a::fs};"), None);
    assert_eq!(path("use std::fmt; use other::fs;"), None);
}

#[test]
fn construction_is_told_from_definition_and_pattern() {
    let built = |text| RustSource::of("a", text).line_of_construction("Permit");
    for text in [
        "pub struct Permit { rule: X }",
        "impl Permit { }",
        "impl X for Permit { }",
        "fn a() -> Permit { b() }",
        "let Permit { rule } = permit;",
        "match x { Decision::Permit(Permit { rule }) => 1 }",
        "if let Permit { rule, .. } = x {}",
        "Effect::Permit => 1",
        "Verdict::Permit { rule }",
        "fn a(permit: &Permit) {}",
    ] {
        assert_eq!(built(text), None, "{text}");
    }
    for text in [
        "let x = Permit { rule };",
        "Decision::Permit(Permit { rule: a })",
        "Permit::new(a)",
        "decide::Permit { rule }",
    ] {
        assert_eq!(built(text), Some(1), "{text}");
    }
}
