//! Log lines for the operator at three in the morning: one line per event, `key=value` or JSON, on standard error
//! (standard output for the access log's lines is not used: systemd takes both).
//!
//! Nobody waits for the disk: lines are gathered in a bounded buffer that one thread writes out some milliseconds later,
//! many at once; if the buffer is full the line is dropped and counted. What libraries say is silenced unless
//! `log.libraries` asks for it: they name no server, repeat themselves with every attempt, and some name requests in full,
//! whose query carries checksums and passwords. Under systemd each line begins with its priority (`<3>`, sd-daemon(3)), which
//! the journal takes off, so that `journalctl -p err` finds what somebody must act on.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::kv::{Key, Value, VisitSource};
use log::{LevelFilter, Record};
use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock, Millis, SystemClock};
use crate::config::{self, LogFormat};

/// Bytes that may wait to be written.
const ROOM: usize = 4 * 1024 * 1024;
/// Room that is kept for the next ones.
const KEPT: usize = 256 * 1024;
/// How long lines are gathered: a write for each line, and a thread woken for it, would cost more than the request.
const GATHER: Duration = Duration::from_millis(5);
/// Longest wait of `flush`.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// Room for a line at first.
const LINE: usize = 320;

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    format: LogFormat,
    /// The journal reads what we write.
    to_journal: bool,
    /// Libraries may speak, too.
    libraries: AtomicBool,
    waiting: Mutex<Waiting>,
    /// There is something to write, or somebody waits for it.
    wanted: Condvar,
    /// Everything is written.
    written: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Somebody waits until they are written.
    hurry: bool,
    /// Lines taken from here are being written.
    busy: bool,
}

/// Installs the logger once per process; later calls change nothing but the level and who may speak.
pub fn start(wanted: &config::Log, to_journal: bool) {
    let mut is_new = false;
    let logger = LOGGER.get_or_init(|| {
        is_new = true;
        Logger {
            format: wanted.format,
            to_journal,
            libraries: AtomicBool::new(false),
            waiting: Mutex::default(),
            wanted: Condvar::new(),
            written: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    });
    if is_new {
        let spawned = std::thread::Builder::new().name("log".into()).spawn(|| logger.write_out());
        if spawned.is_ok() {
            let _ = log::set_logger(logger);
        }
    }
    change(wanted);
}

/// What needs no restart.
pub fn change(wanted: &config::Log) {
    log::set_max_level(wanted.level);
    if let Some(logger) = LOGGER.get() {
        logger.libraries.store(wanted.libraries, Ordering::Relaxed);
    }
}

/// Waits until everything logged so far is written; called before the process ends.
pub fn flush() {
    let Some(logger) = LOGGER.get() else { return };
    let deadline = Instant::now() + FLUSH_LIMIT;
    let mut waiting = logger.waiting.lock();
    while waiting.busy || !waiting.lines.is_empty() {
        waiting.hurry = true;
        logger.wanted.notify_one();
        if logger.written.wait_until(&mut waiting, deadline).timed_out() {
            return;
        }
    }
}

/// Lines lost to a full buffer since the start.
pub fn dropped() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.dropped.load(Ordering::Relaxed))
}

impl Logger {
    /// Body of the thread that writes; never ends.
    fn write_out(&self) {
        let mut lines = Vec::new();
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.lines.is_empty() {
                self.wanted.wait(&mut waiting);
            }
            if !waiting.hurry {
                self.wanted.wait_for(&mut waiting, GATHER);
            }
            std::mem::swap(&mut lines, &mut waiting.lines);
            (waiting.hurry, waiting.busy) = (false, true);
            drop(waiting);
            let _ = std::io::stderr().write_all(&lines);
            lines.clear();
            lines.shrink_to(KEPT);
            self.waiting.lock().busy = false;
            self.written.notify_all();
        }
    }

    fn put(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.lines.len() + line.len() > ROOM {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        drop(waiting);
        if is_first {
            self.wanted.notify_one();
        }
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        if is_ours(metadata.target()) {
            return metadata.level() <= log::max_level();
        }
        self.libraries.load(Ordering::Relaxed) && metadata.level() <= log::max_level().min(LevelFilter::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = SystemClock.now();
        let mut line = Vec::with_capacity(LINE);
        if self.to_journal {
            line.extend_from_slice(priority(record.level()).as_bytes());
        }
        match self.format {
            LogFormat::Text => text_line(&mut line, record, now),
            LogFormat::Json => json_line(&mut line, record, now),
        }
        self.put(&line);
    }

    fn flush(&self) {}
}

/// Of ourselves and not of a library.
fn is_ours(target: &str) -> bool {
    target == "usher" || target.starts_with("usher::")
}

/// As syslog and the journal count.
fn priority(level: log::Level) -> &'static str {
    match level {
        log::Level::Error => "<3>",
        log::Level::Warn => "<4>",
        log::Level::Info => "<6>",
        log::Level::Debug | log::Level::Trace => "<7>",
    }
}

fn level(record: &Record<'_>) -> &'static str {
    match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warn",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    }
}

/// The text itself where it is at hand, else what `Display` makes of it.
fn with_text<T>(value: &Value<'_>, use_it: impl FnOnce(&str) -> T) -> T {
    match value.to_borrowed_str() {
        Some(text) => use_it(text),
        None => use_it(&value.to_string()),
    }
}

fn is_number(value: &Value<'_>) -> bool {
    value.to_u64().is_some() || value.to_i64().is_some() || value.to_f64().is_some() || value.to_bool().is_some()
}

fn text_line(line: &mut Vec<u8>, record: &Record<'_>, now: Millis) {
    push_timestamp(line, now);
    line.push(b' ');
    line.extend_from_slice(level(record).as_bytes());
    line.push(b' ');
    match record.args().as_str() {
        Some(text) => push_clean(line, text),
        None => push_clean(line, &record.args().to_string()),
    }
    if !is_ours(record.target()) {
        line.extend_from_slice(b" library=");
        push_clean(line, record.target());
    }
    let _ = record.key_values().visit(&mut TextPairs(line));
    line.push(b'\n');
}

struct TextPairs<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for TextPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_str().as_bytes());
        self.0.push(b'=');
        if is_number(&value) {
            // Writing into memory does not fail.
            let _ = write!(self.0, "{value}");
            return Ok(());
        }
        with_text(&value, |text| {
            let is_bare =
                !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'=');
            if is_bare {
                return self.0.extend_from_slice(text.as_bytes());
            }
            self.0.push(b'"');
            push_clean(self.0, &text.replace('\\', "\\\\").replace('"', "\\\""));
            self.0.push(b'"');
        });
        Ok(())
    }
}

/// Control characters become `?`, so that no caller can forge a line.
fn push_clean(line: &mut Vec<u8>, text: &str) {
    if text.contains(char::is_control) {
        return line.extend_from_slice(text.replace(char::is_control, "?").as_bytes());
    }
    line.extend_from_slice(text.as_bytes());
}

fn json_line(line: &mut Vec<u8>, record: &Record<'_>, now: Millis) {
    line.extend_from_slice(b"{\"time\":\"");
    push_timestamp(line, now);
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(level(record).as_bytes());
    line.extend_from_slice(b"\",\"message\":");
    push_json(line, &record.args().to_string());
    if !is_ours(record.target()) {
        line.extend_from_slice(b",\"library\":");
        push_json(line, record.target());
    }
    let _ = record.key_values().visit(&mut JsonPairs(line));
    line.extend_from_slice(b"}\n");
}

struct JsonPairs<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for JsonPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        self.0.push(b',');
        push_json(self.0, key.as_str());
        self.0.push(b':');
        match (value.to_u64(), value.to_i64(), value.to_f64(), value.to_bool()) {
            (Some(number), ..) => push_json(self.0, &number),
            (_, Some(number), ..) => push_json(self.0, &number),
            (_, _, Some(number), _) => push_json(self.0, &number),
            (_, _, _, Some(truth)) => push_json(self.0, &truth),
            _ => with_text(&value, |text| push_json(self.0, text)),
        }
        Ok(())
    }
}

fn push_json(line: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    // Numbers and text can be written, and memory takes them.
    let _ = serde_json::to_writer(line, value);
}

/// `2026-11-22T12:34:56.789Z`; what changes once a second is made once a second by each thread.
fn push_timestamp(line: &mut Vec<u8>, now: Millis) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let (second, millis) = (now.0 / 1000, now.0 % 1000);
    LAST.with_borrow_mut(|(made, text)| {
        if *made != second || text.is_empty() {
            *made = second;
            let time = std::time::UNIX_EPOCH + Duration::from_secs(second);
            *text = humantime::format_rfc3339_seconds(time).to_string();
        }
        line.extend_from_slice(text.trim_end_matches('Z').as_bytes());
    });
    let digit = |unit: u64| b'0' + (millis / unit % 10) as u8;
    line.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z']);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lines(name: &str) -> (String, String) {
        lines_of("usher::placement", name)
    }

    fn lines_of(target: &str, name: &str) -> (String, String) {
        let pairs = [("server", name), ("reason", "refused")];
        let now = Millis(1_700_000_000_123);
        let (mut text, mut json) = (Vec::new(), Vec::new());
        for (line, is_json) in [(&mut text, false), (&mut json, true)] {
            let args = format_args!("server is down");
            let record = Record::builder().args(args).level(log::Level::Warn).target(target).key_values(&pairs).build();
            if is_json { json_line(line, &record, now) } else { text_line(line, &record, now) }
        }
        (String::from_utf8(text).unwrap(), String::from_utf8(json).unwrap())
    }

    #[test]
    fn text_and_json() {
        let (text, json) = lines("bbb1");
        assert_eq!(text, "2023-11-14T22:13:20.123Z warn server is down server=bbb1 reason=refused\n");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["server"], "bbb1");
        assert_eq!(json["level"], "warn");
    }

    #[test]
    fn a_value_cannot_forge_a_line() {
        let (text, json) = lines("a\nb \"c\"");
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.contains(r#"server="a?b \"c\"""#));
        assert_eq!(json.matches('\n').count(), 1);
    }

    #[test]
    fn a_library_is_named() {
        let (text, json) = lines_of("usherette::x", "bbb1");
        assert!(text.contains(" library=usherette::x "), "{text}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["library"], "usherette::x");
    }
}
