//! The order of the layers (src/lib.rs), read from the `use` lines: a module uses only what stands before it. And the
//! rules of which layer may do what: print, speak SQL, read files and the environment, name Pingora.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The order of src/lib.rs. Modules of one line may not use each other; `store` and `metrics` stand before `client`.
const ORDER: [&[&str]; 14] = [
    &["error", "ids", "clock"],
    &["bbb"],
    &["config"],
    &["store", "metrics", "log", "relay", "proxy_protocol", "tls"],
    &["stream", "tenant", "client", "limit", "pacing", "restart"],
    &["pool"],
    &["placement"],
    &["process"],
    &["proxy", "l4", "admin"],
    &["serve"],
    &["sim"],
    &["cli"],
    &["lib"],
    &["main"],
];

/// Lines of code that a file may have before its own tests.
const LONG: usize = 400;

/// Longer files, each with the reason why it is not split.
const LONG_FILES: [(&str, &str); 1] =
    [("store/contract.rs", "the suite that every back end must pass; it is tests only")];

struct Source {
    /// Below src/, with slashes.
    path: String,
    /// Without comments and without what stands after `#[cfg(test)]` at the left margin.
    code: String,
}

impl Source {
    /// The layer: the folder or file below src/.
    fn layer(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All files but those that are tests.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    let sources: Vec<Source> = files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            Source { path, code: code_of(&std::fs::read_to_string(file).unwrap()) }
        })
        .filter(|source| !source.path.contains("/tests/") && !source.path.ends_with("/tests.rs"))
        .collect();
    assert!(sources.len() > 100, "the sources are found");
    sources
}

fn code_of(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\n").next().unwrap();
    let lines = code.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<&str>>().join("\n")
}

/// The layers that a text names as `crate::layer`, also inside `use crate::{…}`.
fn used_layers(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for after in line.split("crate::").skip(1) {
            assert!(!after.starts_with('{'), "write one `use crate::…` per layer: {line}");
            let name: String =
                after.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
            found.push((number + 1, name));
        }
    }
    found
}

#[test]
fn a_layer_uses_only_what_stands_before_it() {
    let place: BTreeMap<&str, usize> =
        ORDER.iter().enumerate().flat_map(|(place, names)| names.iter().map(move |name| (*name, place))).collect();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for source in sources() {
        let own = source.layer().to_owned();
        let own_place = place.get(own.as_str()).unwrap_or_else(|| panic!("src/{own} has no place in the order"));
        for (line, used) in used_layers(&source.code) {
            let Some(used_place) = place.get(used.as_str()) else { continue };
            checked += 1;
            if used != own && used_place >= own_place {
                wrong.push(format!("src/{}:{line}: {own} uses {used}", source.path));
            }
        }
    }
    assert!(checked > 200, "the use lines are found: {checked}");
    assert!(wrong.is_empty(), "against the order of src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn the_map_in_lib_rs_names_every_layer() {
    let lib = std::fs::read_to_string(root().join("lib.rs")).unwrap();
    let (map, modules) = lib.split_once("\npub mod").unwrap();
    for layer in modules.split("pub mod ").filter_map(|module| module.trim().strip_suffix(';')) {
        assert!(map.contains(layer), "src/lib.rs does not place {layer}");
    }
    for layer in ORDER.iter().copied().flatten().filter(|layer| **layer != "lib") {
        assert!(map.contains(layer), "src/lib.rs does not place {layer}");
    }
}

/// Fails for each file that contains one of `words` and does not begin with one of `allowed`.
fn only_in(words: &[&str], allowed: &[&str], why: &str) {
    let all = sources();
    let has_word = |source: &&Source| words.iter().any(|word| source.code.contains(word));
    let users: Vec<&str> = all.iter().filter(has_word).map(|source| source.path.as_str()).collect();
    for place in allowed {
        assert!(users.iter().any(|user| user.starts_with(place)), "{place} needs no exception any more: {why}");
    }
    let wrong: Vec<&&str> = users.iter().filter(|user| allowed.iter().all(|place| !user.starts_with(place))).collect();
    assert!(wrong.is_empty(), "{why}: {wrong:?}");
}

#[test]
fn only_the_output_of_commands_and_the_log_print() {
    let words = ["println!", "print!(", "eprint!(", "dbg!(", "io::stdout", "io::stderr", "stdout()", "stderr()"];
    // A terminal is asked for a secret.
    only_in(&words, &["cli/output.rs", "cli/unseen.rs", "log.rs"], "prints");
}

#[test]
fn only_the_store_speaks_sql() {
    let words = ["rusqlite", "refinery", "SELECT ", "INSERT INTO", "DELETE FROM", "PRAGMA"];
    only_in(&words, &["store/sqlite/"], "speaks SQL");
}

#[test]
fn only_the_configuration_and_named_commands_read_files_and_the_environment() {
    let files = ["fs::", "File::open", "OpenOptions"];
    let allowed = [
        "config/",
        "store/sqlite/",
        // Certificates and keys, which are read again whenever they change.
        "tls/pair.rs",
        // Authorities for BBB servers: at the start, and what an operator names on the command line.
        "tls/servers.rs",
        // What /proc tells of this process.
        "admin/own.rs",
        // Tokens of certificate authorities, put there by an ACME client.
        "proxy/challenge.rs",
        // The socket by which one process takes over from another.
        "serve/upgrade/offer.rs",
        // What operators name on the command line: a file to apply, a secret's file, the backup to replace.
        "cli/apply/wish.rs",
        "cli/secret.rs",
        "cli/backup.rs",
        // Who owns the socket and the store; the folder for man pages.
        "cli/exposure.rs",
        "cli/man.rs",
        // The demo's own configuration, in its own temporary folder.
        "cli/demo/",
    ];
    only_in(&files, &allowed, "touches files");
    // `--secret-env` names a variable; `main` hands the arguments over; a successor is started with the same ones.
    let allowed = ["config/", "cli/secret.rs", "cli/completion.rs", "main.rs", "serve/upgrade/successor.rs"];
    only_in(&["env::var", "env::args"], &allowed, "reads the environment");
}

#[test]
fn the_middle_does_not_know_pingora() {
    // `limit` takes a counter from a crate of that family, which knows no HTTP; `stream` says what sessions ask of it.
    let allowed = ["proxy/", "admin/", "serve/", "limit/mod.rs", "limit/connections.rs", "stream/sessions.rs"];
    only_in(&["pingora"], &allowed, "names Pingora");
}

#[test]
fn files_stay_short_or_say_why_not() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source.path.clone(), source.code.lines().count()))
        .filter(|(path, lines)| *lines > LONG && LONG_FILES.iter().all(|(allowed, _)| allowed != path))
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split by meaning, or list it with a reason: {long:?}");
    for (path, why) in LONG_FILES {
        let source = sources().into_iter().find(|source| source.path == path);
        let lines = source.map_or(0, |source| source.code.lines().count());
        assert!(lines > LONG && why.len() > 20, "{path} is short now, or nobody says why it is long");
    }
}

#[test]
fn every_file_says_why_it_is_there() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    let bare: Vec<&PathBuf> =
        files.iter().filter(|file| !std::fs::read_to_string(file).unwrap().starts_with("//! ")).collect();
    assert!(bare.is_empty(), "no header: {bare:?}");
}
