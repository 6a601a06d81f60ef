//! Configuration: the operator's file, `USHER_…__…` variables on top, defaults below, into one checked `Config`.
//!
//! `raw` reads the text, `resolve` turns keys into types, `check` looks at the whole. All problems are told at once,
//! with key path and line. No setting is silently ignored: unknown keys and features that are not built are errors.
//! Only this module reads the file and the environment.

mod check;
mod defaults;
mod journal;
mod l4;
mod load;
mod problem;
mod raw;
mod read_l4;
mod resolve;
mod sections;
mod site;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use defaults::{
    ADMIN_CONNECTIONS, CARRIED_UNTOLD_OF_SESSION, CONNECTIONS_OF_SESSION, IDLE_IN_USE, MAX_HEAD, SESSION_KEYS,
    UNTOLD_OF_SESSION,
};
pub use journal::is_journal_reading;
pub use l4::*;
pub use load::*;
pub use problem::{Problem, Problems};
pub use raw::Source;
pub use sections::*;
pub use site::{Coding, Compression, Field, Headers, Lines, ServerLine};

/// Everything Usher can be told, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: Listen,
    pub admin: Admin,
    pub edge: Edge,
    pub tls: Tls,
    pub store: StoreConfig,
    pub api: Api,
    pub health: Health,
    pub load: Load,
    pub l4: L4,
    pub limits: Limits,
    pub headers: Headers,
    pub compression: Compression,
    pub log: Log,
    pub process: Process,
    /// Where each value that was set comes from.
    pub sources: Sources,
}

/// Where the values of a `Config` come from, by key path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<&'static str, Source>);

impl Sources {
    /// `Default` for keys nobody set.
    pub fn of(&self, path: &str) -> Source {
        self.0.get(path).cloned().unwrap_or(Source::Default)
    }
}

/// The process's environment. Variables that are not text cannot be ours.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Config {
    /// The defaults: what `usher serve` does without a configuration file.
    pub fn builtin() -> Config {
        defaults::config()
    }

    /// Reads the file, if one is given, lays `environment` over it and checks the result.
    pub fn load(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Config, Problems> {
        let Some(path) = path else { return Self::parse("", environment) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            let text = format!("cannot be read ({error}); check the path and its permissions");
            Problems(vec![Problem { path: path.display().to_string(), line: None, text }])
        })?;
        Self::parse(&text, environment)
    }

    /// `load` on the text of a file.
    pub fn parse(text: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Config, Problems> {
        let mut problems = Vec::new();
        let mut raw = raw::Raw::parse(text, &mut problems);
        // After a syntax error whole sections may be missing: what could be said about them would mislead.
        if !problems.is_empty() {
            return Err(Problems::sorted(problems));
        }
        raw.overlay(environment);
        let config = resolve::resolve(raw, &mut problems);
        check::check(&config, &mut problems);
        if problems.is_empty() {
            return Ok(config);
        }
        Err(Problems::sorted(problems))
    }

    /// Where a process hands its listening sockets over to the one that comes after it.
    pub fn upgrade_socket(&self) -> PathBuf {
        let StoreUrl::Sqlite(file) = &self.store.url;
        self.process.upgrade_socket.clone().unwrap_or_else(|| file.with_added_extension("upgrade"))
    }

    /// Where TLS ends here: the HTTPS listeners, and ports that they share with layer 4.
    pub fn https_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listen.https.iter().copied().chain(self.l4.https_addresses())
    }

    /// Keys that differ in `new` and that a reload cannot apply.
    pub fn restart_needed(&self, new: &Config) -> Vec<&'static str> {
        let differences = [
            ("listen.http", self.listen.http != new.listen.http),
            ("listen.https", self.listen.https != new.listen.https),
            ("admin.listen", self.admin.listen != new.admin.listen),
            ("l4.listener", self.l4.sockets() != new.l4.sockets()),
            ("admin.cert", self.admin.tls.is_some() != new.admin.tls.is_some()),
            ("tls.server_ca", self.tls.server_ca != new.tls.server_ca),
            ("store.url", self.store.url != new.store.url),
            ("api.connect_timeout", self.api.connect_timeout != new.api.connect_timeout),
            ("api.max_answer", self.api.max_answer != new.api.max_answer),
            (
                "limits.requests_per_connection",
                self.limits.requests_per_connection != new.limits.requests_per_connection,
            ),
            ("limits.dead_after", self.limits.dead_after != new.limits.dead_after),
            ("log.format", self.log.format != new.log.format),
            ("process.threads", self.process.threads != new.process.threads),
            ("process.upgrade_socket", self.upgrade_socket() != new.upgrade_socket()),
        ];
        differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Problems> {
        Config::parse(text, std::iter::empty())
    }

    fn told(text: &str) -> Vec<String> {
        parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    fn shipped() -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/usher.toml")).unwrap()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::builtin());
    }

    #[test]
    fn the_shipped_file_shows_the_defaults() {
        let mut config = parse(&shipped()).unwrap();
        assert_eq!(config.store.url, StoreUrl::Sqlite(PathBuf::from("/var/lib/usher/usher.db")));
        config.store.url = Config::builtin().store.url;
        config.sources = Sources::default();
        assert_eq!(config, Config::builtin());
    }

    #[test]
    fn the_shipped_file_has_every_key() {
        let sources = parse(&shipped()).unwrap().sources;
        let missing: Vec<_> =
            resolve::known_keys().into_iter().filter(|key| sources.of(key) == Source::Default).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn all_problems_are_told_at_once_with_lines() {
        let text = "[health]\nintervall = \"5s\"\ntimeout = 4\n\n[api]\nmax_body = \"many\"\nwhen_full = \"maybe\"\n";
        let told = told(text);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].starts_with("line 2: health.intervall: is no known key; did you mean health.interval?"));
        assert!(told[1].starts_with("line 3: health.timeout: write a duration"));
        assert!(told[2].starts_with("line 6: api.max_body:"));
        assert!(told[3].starts_with("line 7: api.when_full: \"maybe\" is not known; write one of \"accept\""));
    }

    #[test]
    fn syntax_errors_have_lines() {
        assert!(told("[api]\nmax_body = \n")[0].starts_with("line 2: not TOML"));
    }

    #[test]
    fn features_that_are_not_built_are_refused() {
        let cases = [
            "[tls.acme]\nemail = \"x\"",
            "[recordings]\nspool = \"/x\"",
            "[load]\nprofile = \"network\"",
            "[load.history]\nsessions = 20",
        ];
        for text in cases {
            let told = told(text);
            assert!(told.len() == 1 && told[0].contains("not supported in this version"), "{text}: {told:?}");
        }
        parse("[listen]\nhttps = []\nproxy_protocol = false\n[tls]\ncertificates = []\n[tls.acme]\n[edge]\nmode = \"redirect\"")
            .unwrap();
    }

    #[test]
    fn contradictions_are_refused() {
        let cases = [
            ("[listen]\nhttp = []", "listen.http"),
            ("[listen]\nhttp = [\"1.1.1.1:1\", \"1.1.1.1:1\"]", "listen.http"),
            ("[listen]\nhttps = [\"1.1.1.1:1\"]", "listen.https"),
            ("[listen]\nredirect_to_https = true", "listen.redirect_to_https"),
            (
                "[listen]\nhttps = [\"127.0.0.1:8080\"]\n[tls]\ncertificates = [{ cert = \"a\", key = \"b\" }]",
                "listen.https",
            ),
            ("[tls]\ncertificates = [{ cert = \"a\" }]", "tls.certificates"),
            ("[tls]\ncertificates = [\"a\"]", "tls.certificates"),
            ("[tls]\ncertificates = [{ cert = \"a\", key = \"b\", name = \"c\" }]", "tls.certificates"),
            ("[tls]\nhsts = \"always\"", "tls.hsts"),
            ("[admin]\ncert = \"a\"", "admin.key"),
            ("[admin]\nclient_ca = \"a\"", "admin.client_ca"),
            ("[limits]\nhandshakes = 0", "limits.handshakes"),
            ("[admin]\nlisten = \"127.0.0.1:8080\"", "admin.listen"),
            ("[api]\nconnect_timeout = \"30s\"", "api.connect_timeout"),
            ("[api]\nmax_buffered = \"1MiB\"", "api.max_buffered"),
            ("[api]\nchecksum_algorithms = []", "api.checksum_algorithms"),
            ("[health]\nunhealthy_after = 0", "health.unhealthy_after"),
            ("[health]\ntimeout = \"0s\"", "health.timeout"),
            ("[load.limits]\ncpu = 1.5", "load.limits.cpu"),
            ("[load.weights]\nuser = -1", "load.weights.user"),
            ("[load.reserve]\nquantile = 1", "load.reserve.quantile"),
            ("[load.weights]\nuser = 1e300", "load.weights.user"),
            ("[limits]\nconcurrent_creates = 9223372036854775807", "limits.concurrent_creates"),
            ("[process]\nthreads = 100000", "process.threads"),
            ("api = 5", "api"),
            ("[nothing]", "nothing"),
            ("\"api.max_params\" = 20", "\"api.max_params\""),
            ("\"\" = 1", "\"\""),
        ];
        for (text, path) in cases {
            let problems = parse(text).unwrap_err().0;
            assert!(
                problems.len() == 1 && problems[0].path == path && problems[0].line.is_some(),
                "{text}: {problems:?}"
            );
        }
    }

    #[test]
    fn the_environment_wins_and_is_named_in_problems() {
        let environment = |variable: &str, text: &str| std::iter::once((variable.to_owned(), text.to_owned()));
        let file = "[listen]\nhttp = [\"127.0.0.1:1\"]";
        let config = Config::parse(file, environment("USHER_LISTEN__HTTP", "127.0.0.1:2, [::1]:3")).unwrap();
        assert_eq!(config.listen.http, ["127.0.0.1:2".parse().unwrap(), "[::1]:3".parse().unwrap()]);
        assert_eq!(config.sources.of("listen.http"), Source::Environment("USHER_LISTEN__HTTP".into()));
        let config = Config::parse("", environment("USHER_API__MAX_BODY", "4096")).unwrap();
        assert_eq!(config.api.max_body, 4096);
        let problems = Config::parse("", environment("USHER_API__MAX_BDY", "1")).unwrap_err().to_string();
        assert!(
            problems.contains("did you mean api.max_body?") && problems.contains("USHER_API__MAX_BDY"),
            "{problems}"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Some(Path::new("/nowhere/usher.toml")), std::iter::empty()).unwrap_err().to_string();
        assert!(error.contains("/nowhere/usher.toml: cannot be read"), "{error}");
    }

    #[test]
    fn a_reload_says_what_needs_a_restart() {
        let old = Config::builtin();
        let new = parse("[process]\nthreads = 2\n[health]\ntimeout = \"1s\"\n[admin]\nlisten = \"off\"").unwrap();
        assert_eq!(old.restart_needed(&new), ["admin.listen", "process.threads"]);
        assert_eq!(old.restart_needed(&old), Vec::<&str>::new());
    }

    #[test]
    fn the_public_base_has_no_trailing_slash() {
        let config = parse("[listen]\npublic_url = \"https://bbb.example.org/\"").unwrap();
        assert_eq!(config.listen.public_base(), "https://bbb.example.org");
    }
}
