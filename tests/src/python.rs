//! Running the Python programs of the tests, with the packages that scripts/test installs.

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let ended = Command::new(python)
        .arg(path)
        .args(args)
        .output()
        .expect("python runs");
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program}:\n{printed}{complaint}");
    printed
}
