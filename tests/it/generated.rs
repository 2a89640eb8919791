//! Files that are generated from the types stand in the tree as the types would generate them now.
//! `PENSTOCK_BLESS=1 cargo test --test it generated` writes them.

use std::fs;
use std::path::Path;

use penstock::config::{described, reference, schema};

fn same(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("PENSTOCK_BLESS").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == generated,
        "{file} is not what the types generate; run: PENSTOCK_BLESS=1 cargo test --test it generated"
    );
}

#[test]
fn the_schema_in_the_tree_is_the_one_that_the_types_generate() {
    same("config/schema.json", &format!("{:#}\n", schema()));
}

#[test]
fn the_configuration_reference_in_the_tree_is_the_one_that_the_types_generate() {
    same("docs/configuration.md", &reference::markdown(&described()));
}
