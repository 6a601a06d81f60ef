//! A browser's cookies (RFC 6265): by host and path, not by port, which is how two servers on one host name overwrite
//! each other's session.
//!
//! Written here and not taken from a library, so that a test can look into it.

use std::sync::Mutex;

use url::Url;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub host: String,
    /// Set for that host alone, not for names below it.
    pub is_host_only: bool,
    pub path: String,
    pub is_secure: bool,
    pub is_http_only: bool,
}

/// All cookies of one browser profile.
#[derive(Debug, Default)]
pub struct Jar(Mutex<Vec<Cookie>>);

impl Jar {
    pub fn all(&self) -> Vec<Cookie> {
        self.0.lock().unwrap().clone()
    }

    /// The cookies of a name.
    pub fn named(&self, name: &str) -> Vec<Cookie> {
        self.all().into_iter().filter(|cookie| cookie.name == name).collect()
    }

    /// Takes a `Set-Cookie` of an answer from `url`.
    pub fn set(&self, url: &Url, header: &str) {
        let mut parts = header.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let mut cookie = Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            host: host.clone(),
            is_host_only: true,
            path: default_path(url.path()),
            is_secure: false,
            is_http_only: false,
        };
        let mut is_gone = false;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
                "domain" if !value.is_empty() => {
                    let domain = value.trim_start_matches('.').to_ascii_lowercase();
                    // A server may not speak for others.
                    if host != domain && !host.ends_with(&format!(".{domain}")) {
                        return;
                    }
                    cookie.host = domain;
                    cookie.is_host_only = false;
                }
                "secure" => cookie.is_secure = true,
                "httponly" => cookie.is_http_only = true,
                "max-age" => is_gone = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                _ => {}
            }
        }
        if cookie.is_secure && !is_secure(url) {
            return;
        }
        let mut all = self.0.lock().unwrap();
        all.retain(|it| (&it.name, &it.host, &it.path) != (&cookie.name, &cookie.host, &cookie.path));
        if !is_gone {
            all.push(cookie);
        }
    }

    /// The `Cookie` header of a request to `url`; longer paths first.
    pub fn header(&self, url: &Url) -> Option<String> {
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let mut fitting = self.all();
        fitting.retain(|cookie| {
            let is_host = host == cookie.host || (!cookie.is_host_only && host.ends_with(&format!(".{}", cookie.host)));
            is_host && path_matches(url.path(), &cookie.path) && (!cookie.is_secure || is_secure(url))
        });
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = fitting.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

fn is_secure(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "wss"
}

fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path[..end].to_owned(),
    }
}

fn path_matches(path: &str, cookie: &str) -> bool {
    let Some(rest) = path.strip_prefix(cookie) else { return false };
    rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/')
}

#[test]
fn a_jar_keeps_hosts_and_paths_apart_but_not_ports() {
    let jar = Jar::default();
    let url = |text: &str| Url::parse(text).unwrap();
    jar.set(&url("http://a.test:1/x/y"), "J=1; Path=/");
    jar.set(&url("http://a.test:2/x/y"), "J=2; Path=/; HttpOnly");
    jar.set(&url("https://a.test/x/y"), "J=3; Path=/bbb-01; Secure");
    assert_eq!(jar.header(&url("http://a.test:1/bbb-01/q")).as_deref(), Some("J=2"));
    assert_eq!(jar.header(&url("wss://a.test/bbb-01/q")).as_deref(), Some("J=3; J=2"));
    assert_eq!(jar.header(&url("https://a.test/bbb-012")).as_deref(), Some("J=2"));
    assert_eq!(jar.header(&url("http://b.test/")), None);
    jar.set(&url("http://a.test/"), "J=; Path=/; Max-Age=0");
    assert_eq!(jar.header(&url("http://a.test/")), None);
}
