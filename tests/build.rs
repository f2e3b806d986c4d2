//! Takes the Rust examples out of the documents, those of the library among them, so that the tests
//! can run them: it/examples.rs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The addresses in the examples; the tests have others.
const ADDRESSES: &str = "\"dht://127.0.0.1:7400,127.0.0.1:7401\"";
/// What is before an example that needs a cluster.
const FOR_A_CLUSTER: [&str; 2] = ["```no_run", "```rust,no_run"];
/// What is before one that has its node inside, and before one whose addresses are of others.
const INSIDE: [&str; 2] = ["```rust", "```rust,no_run"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..");
    let library = root.join("client/src");
    println!("cargo::rerun-if-changed={}", library.display());
    let mut paths = vec![root.join("docs/clients.md"), root.join("docs/services.md")];
    for entry in fs::read_dir(library)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.is_file());
    paths.sort();
    let (mut modules, mut list) = (String::new(), String::new());
    for (name, _, example) in named(&paths, &FOR_A_CLUSTER)? {
        modules += &format!("mod {name} {{\n{}}}\n", as_function(&example));
        list += &format!("(\"{name}\", |client| Box::pin({name}::example(client))),\n");
    }
    let mut all = format!("{modules}const ALL: &[(&str, Example)] = &[\n{list}];\n");
    let inside = [root.join("README.md"), root.join("docs/embedding.md")];
    list.clear();
    for (name, mark, example) in named(&inside, &INSIDE)? {
        let runs = mark == INSIDE[0];
        all += &format!("mod {name} {{\n{}}}\n", with_a_node(&example));
        list += &format!("(\"{name}\", {runs}, || Box::pin({name}::example())),\n");
    }
    all += &format!("const INSIDE: &[(&str, bool, Inside)] = &[\n{list}];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("examples.rs"), all)?;
    Ok(())
}

/// An example: a name of its own, what is before it, and its text.
type Named = (String, &'static str, String);

/// The examples of some files.
fn named(paths: &[PathBuf], marks: &[&'static str]) -> Result<Vec<Named>, Box<dyn Error>> {
    let mut all = Vec::new();
    for path in paths {
        println!("cargo::rerun-if-changed={}", path.display());
        let found = examples(&fs::read_to_string(path)?, marks);
        for (number, (mark, example)) in (1..).zip(found) {
            all.push((format!("{}_{number}", stem(path)), mark, example));
        }
    }
    Ok(all)
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.replace('.', "_").to_lowercase()
}

/// The examples of a document, or of the comments of a source, with their hidden lines.
fn examples(text: &str, marks: &[&'static str]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut open: Option<(&'static str, String)> = None;
    for line in text.lines() {
        let line = ["/// ", "//! ", "///", "//!"]
            .iter()
            .find_map(|mark| line.trim_start().strip_prefix(mark))
            .unwrap_or(line);
        match (&mut open, line.trim()) {
            (None, fence) => {
                let mark = marks.iter().find(|mark| **mark == fence);
                open = mark.map(|mark| (*mark, String::new()));
            }
            (Some(_), "```") => found.extend(open.take()),
            (Some((_, example)), _) => {
                example.push_str(line.strip_prefix("# ").unwrap_or(line));
                example.push('\n');
            }
        }
    }
    found
}

/// An example as a function `example` of a client.
fn as_function(example: &str) -> String {
    example
        .replace("#[tokio::main]\n", "")
        .replace("async fn main()", "async fn example()")
        .replace(
            "async fn example()",
            "async fn example(_: dht_client::Client)",
        )
        .replace("async fn example(", "pub async fn example(")
        .replace(ADDRESSES, "super::url()")
}

/// An example as a function `example` of nothing. What stands alone is the inside of one.
fn with_a_node(example: &str) -> String {
    if !example.contains("async fn ") {
        let result = "Result<(), Box<dyn std::error::Error>>";
        return format!("pub async fn example() -> {result} {{\n{example}Ok(())\n}}\n");
    }
    example
        .replace("#[tokio::main]\n", "")
        .replace("async fn main()", "async fn example()")
        .replace("async fn example()", "pub async fn example()")
}
