//! Running the Python and JavaScript programs of the tests, with the packages that scripts/test
//! installs.

use std::path::Path;
use std::process::Command;

use crate::process::target;

/// What a program under tests/ prints; it is given the arguments.
///
/// # Panics
/// When the program fails, or the packages are not there.
#[must_use]
pub fn run(program: &str, args: &[String]) -> String {
    let python = target().join("venv/bin/python");
    let missing = "the Python packages are missing: run scripts/test";
    assert!(python.exists(), "{missing} (no {})", python.display());
    printed(Command::new(python), program, args)
}

/// The same of a JavaScript program.
///
/// # Panics
/// When the program fails, or the packages are not there.
#[must_use]
pub fn run_node(program: &str, args: &[String]) -> String {
    let packages = target().join("node/node_modules");
    let missing = "the JavaScript packages are missing: run scripts/test";
    assert!(packages.exists(), "{missing} (no {})", packages.display());
    let mut node = Command::new("node");
    node.env("NODE_PATH", packages);
    printed(node, program, args)
}

fn printed(mut runs: Command, program: &str, args: &[String]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let ended = runs.arg(path).args(args).output();
    let ended = ended.expect("there is something that runs it");
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program}:\n{printed}{complaint}");
    printed
}
