//! Embeds the files of `config/examples` into the program, so that a new example is only a new file.

use std::{env, fmt::Write, fs, io, path::Path};

const EXAMPLES: &str = "../../config/examples";

fn main() -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLES);
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut files: Vec<_> = fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|end| end == "toml"));
    files.sort();
    let mut table = String::from("&[\n");
    for path in files {
        let name = path.file_stem().expect("a file with an extension has a name").to_string_lossy().into_owned();
        writeln!(table, "    ({name:?}, include_str!({path:?})),").expect("a text has room");
    }
    table.push(']');
    let to = env::var_os("OUT_DIR").expect("Cargo names a directory for what a build script writes");
    fs::write(Path::new(&to).join("examples.rs"), table)
}
