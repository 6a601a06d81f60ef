//! From a value as written to a typed one: durations, sizes, numbers, addresses. Errors are what to write instead.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::raw::Value;
use super::sections::{CertificateFiles, StoreUrl};
use crate::bbb::Algorithm;

/// `"5s"`, `"2m"`, `"500ms"`, `"1h 30m"`.
pub fn duration(value: &Value) -> Result<Duration, String> {
    let Value::Text(text) = value else {
        return Err(format!("write a duration in quotes such as \"5s\" or \"2m\", not {}", value.kind()));
    };
    humantime::parse_duration(text)
        .map_err(|_| format!("\"{text}\" is no duration; write one such as \"5s\" or \"2m\""))
}

/// Bytes: `"1MiB"`, `"512KiB"`, or a plain whole number.
pub fn size(value: &Value) -> Result<u64, String> {
    match value {
        Value::Integer(bytes) => u64::try_from(*bytes).map_err(|_| "a size cannot be negative".to_owned()),
        Value::Text(text) => {
            size_text(text).ok_or_else(|| format!("\"{text}\" is no size; write one such as \"512KiB\" or \"2MiB\""))
        }
        _ => Err(format!("write a size such as \"512KiB\" or \"2MiB\", not {}", value.kind())),
    }
}

fn size_text(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A whole number that the target type can hold.
pub fn whole<T: TryFrom<i64>>(value: &Value) -> Result<T, String> {
    let Value::Integer(number) = value else {
        return Err(format!("write a whole number, not {}", value.kind()));
    };
    T::try_from(*number).map_err(|_| format!("{number} is out of range; write a smaller, non-negative whole number"))
}

/// The biggest number any setting may have; keeps products of numbers far from overflow.
const BIGGEST: f64 = 1e9;

/// A number that is not negative.
pub fn number(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        _ => return Err(format!("write a number, not {}", value.kind())),
    };
    if !(0.0..=BIGGEST).contains(&number) {
        return Err("write a number between 0 and 1000000000".to_owned());
    }
    Ok(number)
}

pub fn flag(value: &Value) -> Result<bool, String> {
    let Value::Flag(flag) = value else {
        return Err(format!("write true or false, not {}", value.kind()));
    };
    Ok(*flag)
}

pub fn text(value: &Value) -> Result<&str, String> {
    let Value::Text(text) = value else {
        return Err(format!("write text in quotes, not {}", value.kind()));
    };
    Ok(text)
}

/// One word out of a table of words.
pub fn word<T: Copy>(value: &Value, words: &[(&'static str, T)]) -> Result<T, String> {
    let choices = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let Value::Text(text) = value else {
        return Err(format!("write one of {}, not {}", choices(), value.kind()));
    };
    let found = words.iter().find(|(word, _)| word == text);
    found.map(|(_, choice)| *choice).ok_or_else(|| format!("\"{text}\" is not known; write one of {}", choices()))
}

/// A list; from the environment, items separated by commas.
pub fn list<T>(value: &Value, item: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    match value {
        Value::List(items) => items.iter().map(|one| text(one).and_then(item)).collect(),
        Value::Text(items) => items.split(',').map(str::trim).filter(|one| !one.is_empty()).map(item).collect(),
        _ => Err(format!("write a list such as [\"…\", \"…\"], not {}", value.kind())),
    }
}

/// `address:port`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" is no address to listen on; write an IP address and a port such as \"0.0.0.0:80\" or \"[::]:80\"")
    })
}

/// `address:port`, or `""` or `"off"` for none.
pub fn address_or_off(value: &Value) -> Result<Option<SocketAddr>, String> {
    match text(value)? {
        "" | "off" => Ok(None),
        address_text => address(address_text).map(Some),
    }
}

/// A file, or `""` for none.
pub fn file_or_none(value: &Value) -> Result<Option<PathBuf>, String> {
    let path = text(value)?;
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

/// `[{ cert = "…", key = "…" }]`; from the environment `cert:key`, separated by commas.
pub fn certificates(value: &Value) -> Result<Vec<CertificateFiles>, String> {
    match value {
        Value::List(items) => items.iter().map(certificate).collect(),
        Value::Text(items) => items
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(|pair| match pair.split_once(':') {
                Some((cert, key)) if !cert.is_empty() && !key.is_empty() => {
                    Ok(CertificateFiles { cert: cert.into(), key: key.into() })
                }
                _ => Err(format!("\"{pair}\" is no pair of files; write CERT:KEY")),
            })
            .collect(),
        _ => Err(format!("write a list such as [{{ cert = \"…\", key = \"…\" }}], not {}", value.kind())),
    }
}

fn certificate(value: &Value) -> Result<CertificateFiles, String> {
    let wrong = || "write each certificate as { cert = \"file.pem\", key = \"file.pem\" }".to_owned();
    let Value::Table(entries) = value else { return Err(wrong()) };
    let file = |name: &str| match entries.get(name) {
        Some(Value::Text(path)) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(wrong()),
    };
    let files = CertificateFiles { cert: file("cert")?, key: file("key")? };
    if entries.len() > 2 {
        return Err(wrong());
    }
    Ok(files)
}

/// The value of a `Strict-Transport-Security` field, or `""` for none.
pub fn hsts_or_none(value: &Value) -> Result<Option<String>, String> {
    let written = text(value)?;
    if written.is_empty() {
        return Ok(None);
    }
    let mut ages = 0;
    let known = written.split(';').map(str::trim).all(|part| {
        let (name, number) = part.split_once('=').unwrap_or((part, ""));
        let is_age = name.eq_ignore_ascii_case("max-age") && number.parse::<u32>().is_ok();
        ages += u32::from(is_age);
        let is_flag = name.eq_ignore_ascii_case("includeSubDomains") || name.eq_ignore_ascii_case("preload");
        is_age || is_flag && number.is_empty()
    });
    if !known || ages != 1 {
        return Err("write \"max-age=31536000\", with \"; includeSubDomains\" if that is meant".to_owned());
    }
    Ok(Some(written.to_owned()))
}

/// A network in CIDR notation, or one address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| single())
        .map_err(|_| format!("\"{text}\" is no network; write one such as \"10.0.0.0/8\" or a single address"))
}

/// The address of a site: scheme and host only.
pub fn site(value: &Value) -> Result<Url, String> {
    let url = web_address(text(value)?)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("write scheme and host only, such as \"https://bbb.example.org\", without a path".to_owned());
    }
    Ok(url)
}

/// Any page of the web, or `""` for none.
pub fn page_or_none(value: &Value) -> Result<Option<Url>, String> {
    match text(value)? {
        "" => Ok(None),
        page => web_address(page).map(Some),
    }
}

fn web_address(text: &str) -> Result<Url, String> {
    let wrong = || "write an address such as \"https://bbb.example.org\"".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !is_web || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong());
    }
    Ok(url)
}

/// `sqlite:path`. Never repeats what was written: a database address may carry a password.
pub fn store_url(value: &Value) -> Result<StoreUrl, String> {
    let url = text(value)?;
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Err(
            "PostgreSQL support is not in this version; write a file such as \"sqlite:/var/lib/usher/usher.db\""
                .to_owned(),
        );
    }
    let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
    match path {
        Some(path) if !path.is_empty() && !path.starts_with(':') && !path.contains(['?', '\0']) => {
            Ok(StoreUrl::Sqlite(PathBuf::from(path)))
        }
        _ => Err("write a file such as \"sqlite:/var/lib/usher/usher.db\"".to_owned()),
    }
}

/// A hash by BBB's name for it.
pub fn algorithm(text: &str) -> Result<Algorithm, String> {
    match text.to_ascii_lowercase().replace('-', "").as_str() {
        "sha1" => Ok(Algorithm::Sha1),
        "sha256" => Ok(Algorithm::Sha256),
        "sha384" => Ok(Algorithm::Sha384),
        "sha512" => Ok(Algorithm::Sha512),
        _ => Err(format!("\"{text}\" is not known; write \"sha1\", \"sha256\", \"sha384\" or \"sha512\"")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("1MiB", 1 << 20), ("512KiB", 512 << 10), ("7", 7), ("2 GiB", 2 << 30), ("3kB", 3000)] {
            assert_eq!(size(&written(text)).unwrap(), bytes, "{text}");
        }
        assert_eq!(size(&Value::Integer(12)).unwrap(), 12);
        for text in ["", "MiB", "-1", "1.5MiB", "1TiB", "99999999999GiB"] {
            assert!(size(&written(text)).is_err(), "{text}");
        }
        assert!(size(&Value::Integer(-1)).is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration(&written("500ms")).unwrap(), Duration::from_millis(500));
        assert_eq!(duration(&written("2m")).unwrap(), Duration::from_secs(120));
        assert!(duration(&written("5")).is_err());
        assert!(duration(&Value::Integer(5)).is_err());
    }

    #[test]
    fn store_addresses() {
        let path = |text: &str| store_url(&written(text)).map(|StoreUrl::Sqlite(path)| path);
        assert_eq!(path("sqlite:./a/b.db").unwrap(), PathBuf::from("./a/b.db"));
        assert_eq!(path("sqlite:///var/b.db").unwrap(), PathBuf::from("/var/b.db"));
        assert!(path("sqlite::memory:").is_err());
        let error = path("postgres://user:geheim@host/usher").unwrap_err();
        assert!(error.contains("not in this version") && !error.contains("geheim"), "{error}");
        assert!(!path("mysql://user:geheim@host/usher").unwrap_err().contains("geheim"));
    }

    #[test]
    fn sites_and_networks() {
        assert!(site(&written("https://bbb.example.org/")).is_ok());
        for text in ["bbb.example.org", "ftp://x", "https://x/path", "https://x/?q", "https://u:p@x", "http://"] {
            assert!(site(&written(text)).is_err(), "{text}");
        }
        assert_eq!(network("10.1.2.3").unwrap().prefix_len(), 32);
        assert_eq!(network("fd00::/8").unwrap().prefix_len(), 8);
        assert!(network("10.0.0.0/33").is_err());
    }
}
