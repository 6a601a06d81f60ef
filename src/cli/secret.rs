//! Where a secret comes from, and how a new one is made.
//!
//! The process list shows every argument to every user of the machine, so `--secret -` (standard input),
//! `--secret-file` and `--secret-env` exist beside plain `--secret`. Nothing here derives `Debug`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use super::outcome::CliError;
use super::unseen;
use crate::ids::Secret;

/// Longest secret read from a file or standard input, bytes; BBB's own have 40 to 50.
const MAX_SECRET: u64 = 4096;
/// Random bytes of a new secret; written as hex, 48 characters.
const NEW_SECRET_BYTES: usize = 24;
/// Random bytes of a tenant's scope key; written as hex, 32 characters.
const SCOPE_BYTES: usize = 16;

/// At most one source of a secret.
#[derive(Args, Clone, Default)]
#[group(id = "secret_source", multiple = false)]
pub struct SecretArgs {
    /// The shared secret; `-` reads it from standard input, which keeps it out of the process list
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<String>,
    /// Read the secret from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secret_file: Option<PathBuf>,
    /// Read the secret from an environment variable
    #[arg(long, value_name = "VARIABLE")]
    pub secret_env: Option<String>,
}

impl SecretArgs {
    /// The secret, if a source was named.
    pub fn read(&self) -> Result<Option<Secret>, CliError> {
        if let Some(text) = &self.secret {
            let secret = if text == "-" {
                checked(&from_standard_input()?, "standard input")?
            } else {
                checked(text, "--secret")?
            };
            return Ok(Some(secret));
        }
        if let Some(file) = &self.secret_file {
            return from_file(file).map(Some);
        }
        let Some(variable) = &self.secret_env else { return Ok(None) };
        from_environment(variable).map(Some)
    }

    /// The secret, or wrong usage if no source was named.
    pub fn required(&self) -> Result<Secret, CliError> {
        self.read()?.ok_or_else(|| {
            CliError::Usage(
                "a secret is needed: add `--secret -` and type it, --secret-file FILE or --secret-env VARIABLE (`bbb-conf --secret` on the server prints it)"
                    .into(),
            )
        })
    }
}

/// One line that is typed and not shown, or all that a pipe or a file brings.
fn from_standard_input() -> Result<String, CliError> {
    let stdin = std::io::stdin();
    match unseen::Unseen::begin(&stdin) {
        None => limited(stdin.lock(), "standard input"),
        Some(unseen) => unseen.line("Secret (not shown): "),
    }
}

/// Reads a secret from a file; surrounding white space is dropped.
pub fn from_file(file: &Path) -> Result<Secret, CliError> {
    let source = file.display().to_string();
    let opened = std::fs::File::open(file)
        .map_err(|error| CliError::Failed(format!("cannot read the secret from {source}: {error}")))?;
    checked(&limited(opened, &source)?, &source)
}

/// Reads a secret from an environment variable.
pub fn from_environment(variable: &str) -> Result<Secret, CliError> {
    let text = std::env::var(variable).map_err(|_| {
        CliError::Failed(format!("the environment variable {variable} is not set; export it with the secret"))
    })?;
    checked(&text, variable)
}

/// A strong new secret for a front end.
pub fn new_secret() -> Result<Secret, CliError> {
    random_hex(NEW_SECRET_BYTES)
}

/// A new scope key: makes the meeting ids of a tenant its own.
pub fn new_scope() -> Result<Secret, CliError> {
    random_hex(SCOPE_BYTES)
}

fn random_hex(bytes: usize) -> Result<Secret, CliError> {
    let mut random = vec![0u8; bytes];
    getrandom::fill(&mut random).map_err(|error| {
        CliError::Failed(format!("the system gave no random numbers ({error}); give a secret with --secret-file"))
    })?;
    Ok(Secret::new(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn limited(source: impl Read, name: &str) -> Result<String, CliError> {
    let mut text = String::new();
    source
        .take(MAX_SECRET)
        .read_to_string(&mut text)
        .map_err(|error| CliError::Failed(format!("cannot read the secret from {name}: {error}")))?;
    Ok(text)
}

fn checked(text: &str, source: &str) -> Result<Secret, CliError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(CliError::Usage(format!(
            "the secret from {source} is empty; give the value that BBB or the front end signs with"
        )));
    }
    if trimmed.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err(CliError::Usage(format!(
            "the secret from {source} contains spaces or several lines; give the bare value"
        )));
    }
    Ok(Secret::new(trimmed))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        let args = SecretArgs { secret_file: Some(file), ..SecretArgs::default() };
        assert_eq!(args.read().unwrap().unwrap().reveal(), "s3cret");
    }

    #[test]
    fn empty_and_broken_secrets_are_wrong_usage() {
        for bad in ["", "  ", "two words", "two\nlines"] {
            let args = SecretArgs { secret: Some(bad.into()), ..SecretArgs::default() };
            assert_eq!(args.read().unwrap_err().exit(), super::super::outcome::Exit::Usage, "{bad:?}");
        }
        assert!(matches!(SecretArgs::default().required(), Err(CliError::Usage(_))));
    }

    #[test]
    fn a_missing_source_is_named() {
        let error = from_environment("USHER_TEST_NOT_SET_ANYWHERE").unwrap_err();
        assert!(error.to_string().contains("USHER_TEST_NOT_SET_ANYWHERE"));
        assert!(from_file(Path::new("/nonexistent/secret")).unwrap_err().to_string().contains("/nonexistent/secret"));
    }

    #[test]
    fn new_secrets_are_long_and_differ() {
        let (one, two) = (new_secret().unwrap(), new_secret().unwrap());
        assert_eq!(one.reveal().len(), 48);
        assert_ne!(one, two);
        assert_eq!(new_scope().unwrap().reveal().len(), 32);
    }
}
