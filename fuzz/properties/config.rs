//! What must hold for every configuration file and environment (src/config).
//!
//! An input is the file's text; after a zero byte follow variables, one `NAME=value` in a line.

use std::time::Duration;

use usher::config::{Config, Problems, Source};

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

pub fn check(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (text, variables) = input.split_once('\0').unwrap_or((input, ""));
    let environment: Vec<(String, String)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    match Config::parse(text, environment.iter().cloned()) {
        Ok(config) => {
            is_within_bounds(&config);
            is_complete(text, &environment, &config);
        }
        Err(problems) => says_what_to_do(text, &environment, &problems),
    }
}

fn is_within_bounds(config: &Config) {
    let time = |time: Duration| assert!(time >= Duration::from_millis(1) && time <= MONTH, "{time:?}");
    let share = |number: f64| assert!((0.0..=1.0).contains(&number), "{number}");
    let positive = |number: f64| assert!(number > 0.0 && number.is_finite(), "{number}");
    let amount = |number: f64| assert!(number >= 0.0 && number.is_finite(), "{number}");

    assert!(!config.listen.http.is_empty());
    let public = config.listen.public_base();
    assert!(public.starts_with("http://") || public.starts_with("https://"), "{public}");
    assert!(!public.ends_with('/') && !public.contains(['?', '#', '@', ' ', '\r', '\n']), "{public}");
    let logout = config.api.logout_url.as_ref();
    assert!(logout.is_none_or(|url| matches!(url.scheme(), "http" | "https") && url.has_host()));

    let api = &config.api;
    assert!((1 << 10..=1 << 30).contains(&api.max_body) && (api.max_body..=1 << 30).contains(&api.max_slides));
    assert!(api.max_buffered >= api.max_slides);
    assert!((16..=10_000).contains(&api.max_params) && (1 << 10..=1 << 20).contains(&api.max_query));
    assert!((64 << 10..=1 << 30).contains(&api.max_answer));
    assert!(!api.checksum_algorithms.is_empty() && api.checksum_algorithms.len() <= 4);
    time(api.request_timeout);
    time(api.connect_timeout);
    assert!(api.connect_timeout <= api.request_timeout);

    let health = &config.health;
    [health.interval, health.poll_interval, health.timeout, health.failover_after, health.max_backoff]
        .into_iter()
        .for_each(time);
    assert!(health.ended_grace <= MONTH && health.unhealthy_after > 0 && health.healthy_after > 0);
    assert!(health.max_backoff >= health.interval);

    let load = &config.load;
    let weights = &load.weights;
    [weights.meeting, weights.voice, weights.listen, weights.cam_in, weights.cam_out, weights.share_out]
        .into_iter()
        .for_each(amount);
    [weights.record, weights.square, load.net.cam, load.net.voice, load.net.share, load.audio.tlo_floor]
        .into_iter()
        .for_each(amount);
    [weights.user, load.limits.cpu, load.limits.net, load.joins.per_core, load.joins.max]
        .into_iter()
        .for_each(positive);
    [load.limits.cpu, load.limits.net, load.audio.tlo_share, load.choose.tie].into_iter().for_each(share);
    assert!(load.limits.big_room > 0);

    let reserve = &load.reserve;
    [reserve.prior, reserve.cv_unknown, reserve.prior_strength, reserve.temper].into_iter().for_each(positive);
    [reserve.hint_strength, reserve.ghost, reserve.ghost_big, reserve.ghost_net].into_iter().for_each(amount);
    [reserve.temper, reserve.quantile, reserve.admit].into_iter().for_each(share);
    [reserve.tau, reserve.max_age].into_iter().for_each(time);
    assert!(reserve.bell_lead <= MONTH);
    assert!((Duration::from_secs(60)..=Duration::from_secs(24 * 3600)).contains(&reserve.grid));

    for listener in &config.l4.listeners {
        assert!(!listener.listen.is_empty() && (1..=1_000_000).contains(&listener.connections));
        assert!(!listener.name.is_empty());
        assert!(listener.rest.is_some() || !listener.routes.is_empty());
        [listener.connect_timeout, listener.idle_timeout, listener.hello_timeout].into_iter().for_each(time);
    }

    let limits = &config.limits;
    assert!(limits.connections > 0 && limits.requests_per_connection > 0 && limits.concurrent_creates > 0);
    // What a semaphore can count; more would end the start with a panic.
    assert!(limits.concurrent_creates <= usize::MAX >> 3 && limits.connections <= usize::MAX >> 3);
    [limits.keepalive, limits.header_timeout, limits.body_timeout].into_iter().for_each(time);
    assert!(config.process.threads <= 1024 && config.process.grace_stop <= MONTH);
}

/// Every key that was written counts, none is silently ignored, and the environment wins.
fn is_complete(text: &str, environment: &[(String, String)], config: &Config) {
    let parse = |text: &str, more: Option<(&str, &str)>| {
        let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Config::parse(text, environment.iter().cloned().chain(more))
    };
    assert_eq!(parse(text, None).as_ref(), Ok(config), "the same twice");
    assert!(config.restart_needed(config).is_empty());
    for key in ["listen.http", "api.max_params", "health.timeout", "log.level", "load.reserve.grid"] {
        if let Source::File(line) = config.sources.of(key) {
            let line = text.split('\n').nth(line - 1).expect("a line of the file");
            let word = key.rsplit('.').next().expect("a word");
            // A key may be written with escapes; then it is in quotes.
            assert!(line.contains(word) || line.contains(['"', '\'']), "{key} is not in {line:?}");
        }
    }
    let unknown = parse(&format!("{text}\n[no-such-section]\nkey = 1\n"), None).expect_err("an unknown section");
    assert!(unknown.0.iter().any(|problem| problem.path == "no-such-section.key"), "{unknown}");
    let mut wished = config.clone();
    wished.api.max_params = 77;
    let mut got = parse(text, Some(("USHER_API__MAX_PARAMS", "77"))).expect("a good value");
    assert_eq!(got.sources.of("api.max_params"), Source::Environment("USHER_API__MAX_PARAMS".to_owned()));
    got.sources = wished.sources.clone();
    assert_eq!(got, wished, "nothing but that value");
}

/// Each problem names a key, unless the text is no TOML; and a line of the file or a variable.
fn says_what_to_do(text: &str, environment: &[(String, String)], problems: &Problems) {
    assert!(!problems.0.is_empty());
    let lines = text.split('\n').count();
    for problem in &problems.0 {
        let is_syntax = problem.text.starts_with("not TOML: ");
        assert!(is_syntax || !problem.text.is_empty() && !problem.path.is_empty(), "{problem:?}");
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?} of {lines}");
        let is_placed = problem.line.is_some() || problem.text.contains("environment variable USHER_");
        // A contradiction between defaults and what was set may be told at the key that was not set.
        assert!(is_placed || !text.is_empty() || !environment.is_empty(), "{problem:?}");
    }
    assert!(problems.0.is_sorted_by_key(|problem| problem.line));
    assert!(!problems.to_string().is_empty());
}
