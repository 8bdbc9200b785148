//! The README's configuration table is the one that the program itself knows; `UPDATE_README=1` rewrites it. Not a test of the
//! settings. Invariant: exactly one table stands between the two markers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and this one is told by the environment to rewrite"
)]

use dbpower_gateway::config::markdown_table;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const BEGIN: &str = "<!-- configuration table -->\n";
const END: &str = "<!-- end of configuration table -->";

#[test]
fn readme_holds_the_table_of_the_program() {
    let readme = std::fs::read_to_string(README).expect("README.md");
    assert_eq!(readme.matches(BEGIN).count(), 1, "one line {BEGIN}");
    let (before, rest) = readme.split_once(BEGIN).expect(BEGIN);
    let (table, after) = rest.split_once(END).expect(END);
    let wanted = markdown_table();
    if table == wanted {
        return;
    }
    let update = std::env::var("UPDATE_README").is_ok_and(|value| value == "1");
    assert!(
        update,
        "README.md's configuration table is out of date: UPDATE_README=1 cargo test --test config_readme"
    );
    std::fs::write(README, format!("{before}{BEGIN}{wanted}{END}{after}")).expect("README.md");
}
