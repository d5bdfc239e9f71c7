//! Holds `docs/reasons.md` to the table of reasons. `UPDATE_GENERATED=1` writes it, as `cargo xtask generate` does.

use std::path::PathBuf;

use countersign_policy::reason::table_markdown;

#[test]
fn reasons_page_is_current() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reasons.md");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(page.parent().unwrap()).unwrap();
        std::fs::write(&page, table_markdown()).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == table_markdown(),
        "docs/reasons.md is stale; `cargo xtask generate` writes it"
    );
}
