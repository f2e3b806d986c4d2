//! Takes the Rust examples out of the documents, those of the library among them, so that the tests
//! can run them: it/examples.rs.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// The addresses in the examples; the tests have others.
const ADDRESSES: &str = "\"dht://127.0.0.1:7400,127.0.0.1:7401\"";

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
    for path in paths {
        println!("cargo::rerun-if-changed={}", path.display());
        for (number, example) in (1..).zip(examples(&fs::read_to_string(&path)?)) {
            let name = format!("{}_{number}", stem(&path));
            modules += &format!("mod {name} {{\n{}}}\n", as_function(&example));
            list += &format!("(\"{name}\", |client| Box::pin({name}::example(client))),\n");
        }
    }
    let all = format!("{modules}const ALL: &[(&str, Example)] = &[\n{list}];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("examples.rs"), all)?;
    Ok(())
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.replace('.', "_")
}

/// The examples of a document, or of the comments of a source, with their hidden lines.
fn examples(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let line = ["/// ", "//! ", "///", "//!"]
            .iter()
            .find_map(|mark| line.trim_start().strip_prefix(mark))
            .unwrap_or(line);
        match (&mut open, line.trim()) {
            (None, "```no_run" | "```rust,no_run") => open = Some(String::new()),
            (Some(_), "```") => found.extend(open.take()),
            (Some(example), _) => {
                example.push_str(line.strip_prefix("# ").unwrap_or(line));
                example.push('\n');
            }
            (None, _) => (),
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
