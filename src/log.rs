//! Log lines for the operator at three in the morning: one line per event, `key=value` or JSON, on standard error
//! (standard output for the access log's lines is not used: systemd takes both).
//!
//! Writers never wait for the disk: a line goes into a bounded channel to one thread; if that is full the line is
//! dropped and counted. Pingora's own lines below `warn` are silenced: they name requests in full, and a query carries
//! checksums and passwords.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use log::kv::{Key, Value, VisitSource};
use log::{LevelFilter, Record};

use crate::clock::{Clock, Millis, SystemClock};
use crate::config::LogFormat;

/// Lines that may wait for the writer.
const QUEUE: usize = 16_384;

static LOGGER: OnceLock<Logger> = OnceLock::new();

enum Line {
    Text(String),
    Flush(SyncSender<()>),
}

struct Logger {
    format: LogFormat,
    queue: SyncSender<Line>,
    dropped: AtomicU64,
}

/// Installs the logger once per process; later calls change nothing but the level.
pub fn start(format: LogFormat, level: LevelFilter) {
    let mut receiver = None;
    let logger = LOGGER.get_or_init(|| {
        let (sender, lines) = sync_channel(QUEUE);
        receiver = Some(lines);
        Logger { format, queue: sender, dropped: AtomicU64::new(0) }
    });
    if let Some(lines) = receiver {
        let spawned = std::thread::Builder::new().name("log".into()).spawn(move || write_lines(lines));
        if spawned.is_ok() {
            let _ = log::set_logger(logger);
        }
    }
    log::set_max_level(level);
}

/// Waits until everything logged so far is written; called before the process ends.
pub fn flush() {
    let Some(logger) = LOGGER.get() else { return };
    let (done, written) = sync_channel(1);
    if logger.queue.send(Line::Flush(done)).is_ok() {
        let _ = written.recv_timeout(std::time::Duration::from_secs(1));
    }
}

/// Lines lost to a full queue since the start.
pub fn dropped() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.dropped.load(Ordering::Relaxed))
}

fn write_lines(lines: Receiver<Line>) {
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, std::io::stderr());
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(line) = next {
            match line {
                Line::Text(text) => {
                    let _ = out.write_all(text.as_bytes());
                }
                Line::Flush(done) => {
                    let _ = out.flush();
                    let _ = done.send(());
                }
            }
            next = lines.try_recv().ok();
        }
        let _ = out.flush();
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        if metadata.target().starts_with("usher") {
            return metadata.level() <= log::max_level();
        }
        metadata.level() <= log::max_level().min(LevelFilter::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = SystemClock.now();
        let line = match self.format {
            LogFormat::Text => text_line(record, now),
            LogFormat::Json => json_line(record, now),
        };
        if self.queue.try_send(Line::Text(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

fn text_line(record: &Record<'_>, now: Millis) -> String {
    let mut line = String::with_capacity(160);
    let _ = write!(line, "{} {} ", timestamp(now), record.level().as_str().to_ascii_lowercase());
    push_clean(&mut line, &record.args().to_string());
    let _ = record.key_values().visit(&mut TextPairs(&mut line));
    line.push('\n');
    line
}

struct TextPairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for TextPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let value = value.to_string();
        let bare =
            !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'=');
        let _ = write!(self.0, " {key}=");
        if bare {
            self.0.push_str(&value);
        } else {
            self.0.push('"');
            push_clean(self.0, &value.replace('\\', "\\\\").replace('"', "\\\""));
            self.0.push('"');
        }
        Ok(())
    }
}

/// Control characters become `?`, so that no caller can forge a line.
fn push_clean(line: &mut String, text: &str) {
    line.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
}

fn json_line(record: &Record<'_>, now: Millis) -> String {
    let mut object = serde_json::Map::new();
    object.insert("time".into(), timestamp(now).into());
    object.insert("level".into(), record.level().as_str().to_ascii_lowercase().into());
    object.insert("message".into(), record.args().to_string().into());
    let _ = record.key_values().visit(&mut JsonPairs(&mut object));
    let mut line = serde_json::Value::Object(object).to_string();
    line.push('\n');
    line
}

struct JsonPairs<'a>(&'a mut serde_json::Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for JsonPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let json = match (value.to_u64(), value.to_f64(), value.to_bool()) {
            (Some(number), _, _) => number.into(),
            (_, Some(number), _) => number.into(),
            (_, _, Some(truth)) => truth.into(),
            _ => value.to_string().into(),
        };
        self.0.insert(key.as_str().to_owned(), json);
        Ok(())
    }
}

/// `2026-11-22T12:34:56.789Z`
fn timestamp(now: Millis) -> String {
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + std::time::Duration::from_millis(now.0)).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lines(name: &str) -> (String, String) {
        let pairs = [("server", name), ("reason", "refused")];
        let now = Millis(1_700_000_000_123);
        let text = text_line(
            &Record::builder().args(format_args!("server is down")).level(log::Level::Warn).key_values(&pairs).build(),
            now,
        );
        let json = json_line(
            &Record::builder().args(format_args!("server is down")).level(log::Level::Warn).key_values(&pairs).build(),
            now,
        );
        (text, json)
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
}
