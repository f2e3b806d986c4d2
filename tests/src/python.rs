//! Running the Python and JavaScript programs of the tests, with the packages that scripts/test
//! installs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::process::target;

/// What a program under tests/ prints; it is given the arguments.
///
/// # Panics
/// When the program fails, or the packages are not there.
#[must_use]
pub fn run(program: &str, args: &[String]) -> String {
    printed(Command::new(python()), program, args)
}

fn python() -> PathBuf {
    let python = target().join("venv/bin/python");
    let missing = "the Python packages are missing: run scripts/test";
    assert!(python.exists(), "{missing} (no {})", python.display());
    python
}

fn file(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(program)
}

/// A Python program under tests/ that goes on until this is dropped.
pub struct Running(Child);

impl Running {
    /// Once it has said that it is ready.
    ///
    /// # Panics
    /// When it says anything else, or the packages are not there.
    #[must_use]
    pub fn start(program: &str, args: &[String]) -> Self {
        let mut command = Command::new(python());
        command.arg("-u").arg(file(program)).args(args);
        let child = command.stdout(Stdio::piped()).spawn();
        let mut running = Self(child.expect("there is Python"));
        let mut first = String::new();
        let printed = running.0.stdout.take().map(BufReader::new);
        let read = printed.map(|mut lines| lines.read_line(&mut first));
        assert!(first.starts_with("Ready"), "{program}: {first} {read:?}");
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    let ended = runs.arg(file(program)).args(args).output();
    let ended = ended.expect("there is something that runs it");
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program}:\n{printed}{complaint}");
    printed
}
