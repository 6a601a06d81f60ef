//! docs/replace-nginx.md, read and done word by word: each file is written where it says, each command run as it stands, and
//! after each step the site still serves, with the meeting that began before the first one.
//!
//! The machine, with nginx and Usher on it, has a network and files of its own; two more nginx stand before the simulated
//! BBB servers, as on real ones.

mod machine;

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use machine::Machine;
use usher::ids::Secret;
use usher::sim::{SimOptions, SimServer};

use crate::harness::{Answer, FrontEnd, Networks, eventually};
use crate::tls::client::{config, connect, shown};
use crate::tls::maker::{Files, Maker};

/// Cables: callers to the machine, callers (and what is simulated) to the servers, the machine to the servers.
const CALLERS: u8 = 0;
const SIMULATED: u8 = 1;
const BETWEEN: u8 = 2;
/// What the guide says.
const PUBLIC: &str = "bbb.example.org";
const WWW: &str = "www.example.org";
const SERVERS: [(&str, &str, &str); 2] =
    [("bbb1", "bbb1.example.org", "10.0.0.11"), ("bbb2", "bbb2.example.org", "10.0.0.12")];

/// A fenced block of the guide.
struct Block {
    section: String,
    language: String,
    text: String,
}

fn guide() -> Vec<Block> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replace-nginx.md")).unwrap();
    let (mut section, mut open): (String, Option<Block>) = (String::new(), None);
    let mut blocks = Vec::new();
    for line in text.lines() {
        match (open.as_mut(), line.strip_prefix("```")) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => block.text.push_str(&format!("{line}\n")),
            (None, Some(language)) => {
                open = Some(Block { section: section.clone(), language: language.to_owned(), text: String::new() });
            }
            (None, None) => {
                if let Some(title) = line.strip_prefix("## ") {
                    section = title.to_owned();
                }
            }
        }
    }
    blocks
}

struct Site {
    networks: Networks,
    maker: Maker,
    machine: Machine,
    servers: Vec<SimServer>,
    blocks: Vec<Block>,
    front: FrontEnd,
    _before_servers: Before,
}

/// The nginx of the servers.
struct Before {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Before {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Site {
    async fn new() -> Option<Self> {
        let mut networks = Networks::new(&["machine", "servers"])?;
        networks.lay(CALLERS, None, "machine");
        networks.lay(SIMULATED, None, "servers");
        networks.lay(BETWEEN, Some("machine"), "servers");
        let there = networks.v4(BETWEEN, 2);
        networks.run("machine", &["ip", "route", "add", "10.0.0.0/24", "via", &there.to_string()]);
        let mut servers = Vec::new();
        for (name, host, address) in SERVERS {
            networks.run("servers", &["ip", "addr", "add", &format!("{address}/32"), "dev", "lo"]);
            let mut options = SimOptions::new(Secret::new(format!("secret-of-{name}")));
            options.listen = SocketAddr::from((networks.v4(SIMULATED, 1), 0));
            options.public_host = Some(format!("https://{host}"));
            options.name = name.to_owned();
            servers.push(SimServer::start(options).await.unwrap());
        }
        let maker = Maker::new();
        let before_servers = nginx_of_servers(&networks, &maker, &servers);
        let machine = Machine::start(&networks, "machine", &maker.root.pem()).await;
        let put = |name: &str, files: &Files| {
            let folder = format!("/etc/letsencrypt/live/{name}");
            machine.write(&format!("{folder}/fullchain.pem"), &std::fs::read_to_string(&files.cert).unwrap());
            machine.write(&format!("{folder}/privkey.pem"), &std::fs::read_to_string(&files.key).unwrap());
        };
        put(PUBLIC, &maker.good("public", &[PUBLIC]));
        put("servers", &maker.good("servers", &SERVERS.map(|(_, host, _)| host)));
        put(WWW, &maker.good("www", &[WWW]));
        let renewed = maker.good("renewed", &[PUBLIC]);
        machine.write("/run/renewed/fullchain.pem", &std::fs::read_to_string(&renewed.cert).unwrap());
        machine.write("/run/renewed/privkey.pem", &std::fs::read_to_string(&renewed.key).unwrap());
        let address = IpAddr::from(networks.v4(CALLERS, 2));
        let root = reqwest::Certificate::from_pem(maker.root.pem().as_bytes()).unwrap();
        let names = [PUBLIC, WWW].into_iter().chain(SERVERS.map(|(_, host, _)| host));
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client =
            client.tls_certs_only([root]).pool_max_idle_per_host(0).timeout(std::time::Duration::from_secs(10));
        let client = names.fold(client, |client, name| client.resolve(name, SocketAddr::new(address, 0)));
        let mut front = FrontEnd::new(format!("https://{PUBLIC}/bigbluebutton/api"), "secret-of-the-tenant");
        front.http = client.build().unwrap();
        let site = Self { networks, maker, machine, servers, blocks: guide(), front, _before_servers: before_servers };
        site.let_names_lead(true);
        Some(site)
    }

    /// The servers' names lead to them, or to the machine.
    fn let_names_lead(&self, to_servers: bool) {
        let own = self.networks.v4(CALLERS, 2).to_string();
        let mut names = vec![(PUBLIC, own.as_str()), (WWW, own.as_str())];
        names.extend(SERVERS.map(|(_, host, address)| (host, if to_servers { address } else { own.as_str() })));
        self.machine.set_dns(&names);
    }

    /// Does what a section of the guide says, in order; what the commands printed.
    fn follow(&self, section: &str) -> String {
        let mut said = String::new();
        let mut done = 0;
        for block in self.blocks.iter().filter(|block| block.section.starts_with(section)) {
            done += 1;
            let file = block.text.lines().take(2).find_map(|line| line.strip_prefix("# /"));
            match (&*block.language, file) {
                ("toml" | "nginx", Some(file)) => self.machine.write(&format!("/{file}"), &block.text),
                ("sh", Some(file)) if block.text.starts_with("#!") => {
                    self.machine.write(&format!("/{file}"), &block.text);
                }
                ("sh", None) => said.push_str(&self.machine.sh(&block.text)),
                (language, _) => panic!("what to do with {language}: {}", block.text),
            }
        }
        assert!(done > 0, "the guide has a section {section:?}");
        said
    }

    /// Who serves the public name, by what nginx says of itself.
    async fn is_nginx(&self) -> bool {
        let answer = self.front.fetch(&self.front.api).await;
        assert_eq!((answer.status, answer.returncode().as_str()), (200, "SUCCESS"), "{}", answer.body);
        answer.headers.get("server").is_some_and(|server| server.contains("nginx"))
    }

    /// The meeting goes on, and a person can join it: where the link leads.
    async fn join(&self) -> String {
        let found = self.front.get("getMeetingInfo", "meetingID=long").await;
        assert_eq!(found.returncode(), "SUCCESS", "{}", found.body);
        self.front.join("long", "Ada").await
    }

    /// Goes where a join link leads: into the client of the server.
    async fn enter(&self, link: &str) -> Answer {
        let answer = self.front.fetch(link).await;
        assert_eq!(answer.status, 302, "{link}: {}", answer.body);
        assert!(answer.headers["location"].contains("/html5client/") && answer.headers.contains_key("set-cookie"));
        answer
    }

    /// Serial number of the certificate for the public name.
    async fn certificate(&self) -> Vec<u8> {
        let address = SocketAddr::new(self.networks.v4(CALLERS, 2).into(), 443).to_string();
        shown(&connect(&address, PUBLIC, &Arc::new(config(&self.maker, &[]))).await.unwrap())
    }
}

/// HTTPS before each server, as on a BBB server.
fn nginx_of_servers(networks: &Networks, maker: &Maker, servers: &[SimServer]) -> Before {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().display();
    let sites: String = SERVERS
        .iter()
        .zip(servers)
        .map(|((name, host, address), server)| {
            let files = maker.good(name, &[host]);
            format!(
                "server {{ listen {address}:443 ssl; server_name {host};\n\
                 ssl_certificate {}; ssl_certificate_key {};\n\
                 location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; }} }}\n",
                files.cert.display(),
                files.key.display(),
                server.addr(),
            )
        })
        .collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {there}/{kind};\n"))
        .concat();
    let config = format!(
        "user root; pid {there}/pid; error_log {there}/error.log; events {{}}\nhttp {{ access_log off;\n{temporary}{sites}}}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let mut words = networks.launcher("servers");
    words.extend(["/usr/sbin/nginx", "-g", "daemon off; master_process off;", "-e"].map(str::to_owned));
    words.extend([format!("{there}/error.log"), "-c".to_owned(), format!("{there}/nginx.conf")]);
    let process = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).spawn().unwrap();
    Before { process, _folder: folder }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_leads_from_nginx_to_usher_and_back() {
    let Some(site) = Site::new().await else { return };
    let machine = &site.machine;

    site.follow("Before you begin");
    machine.sh("usher tenant add moodle --secret secret-of-the-tenant");
    for (name, host, _) in SERVERS {
        machine.sh(&format!("usher server add https://{host} --name {name} --secret secret-of-{name}"));
    }
    machine.sh("chown -R usher:usher /var/lib/usher");
    machine.sh("systemctl start usher\nsystemctl start nginx");
    eventually("both servers are up", || async {
        (machine.sh("usher status").matches(" up ").count() == 2).then_some(())
    })
    .await;
    assert!(site.is_nginx().await);
    site.front.create("long", "").await;
    let link = site.join().await;
    let (server, host, _) = SERVERS.into_iter().find(|(_, host, _)| link.contains(host)).expect("a server");

    let said = site.follow("1. ");
    assert!(said.contains("<returncode>SUCCESS"), "{said}");
    assert!(site.is_nginx().await, "nothing has changed");
    let beside = FrontEnd { api: format!("https://{PUBLIC}:8443/bigbluebutton/api"), ..site.front.clone() };
    assert!(!beside.fetch(&beside.api).await.headers.contains_key("server"));

    let said = site.follow("2. ");
    assert!(said.contains("<returncode>SUCCESS") && said.contains("HTTP/1.1 301"), "{said}");
    assert!(said.to_lowercase().contains(&format!("location: https://{PUBLIC}/")), "{said}");
    assert_eq!(said.matches(" up ").count(), 2, "{said}");
    assert!(!site.is_nginx().await);
    assert!(site.join().await.starts_with(&format!("https://{host}/bigbluebutton/api/join?")));

    let before = site.certificate().await;
    site.follow("3. ");
    eventually("the renewed certificate is shown", || async { (site.certificate().await != before).then_some(()) })
        .await;

    let said = site.follow("4. ");
    assert!(said.contains("<returncode>SUCCESS"), "{said}");
    site.let_names_lead(false);
    let link = site.join().await;
    assert!(link.starts_with(&format!("https://{host}/bigbluebutton/api/join?")), "{link}");
    let answer = site.enter(&link).await;
    assert!(answer.headers["location"].starts_with(&format!("https://{host}/html5client/")));

    let said = site.follow("5. ");
    assert!(said.contains("<returncode>SUCCESS") && said.contains("bigbluebutton.web.serverURL"), "{said}");
    let link = site.join().await;
    assert!(link.starts_with(&format!("https://{PUBLIC}/{server}/bigbluebutton/api/join?")), "{link}");
    let answer = site.enter(&link).await;
    assert!(answer.headers["set-cookie"].contains(&format!("Path=/{server}/")));
    assert!(answer.headers["location"].starts_with(&format!("https://{PUBLIC}/{server}/html5client/")));

    let said = site.follow("6. ");
    let (own, mine) = (site.networks.v4(CALLERS, 2), site.networks.v4(CALLERS, 1));
    assert!(said.contains(&format!("the other site, for {own}")) && said.contains("<returncode>SUCCESS"), "{said}");
    let other = site.front.fetch(&format!("https://{WWW}/")).await;
    assert_eq!(other.body, format!("the other site, for {mine}\n"));
    assert!(!site.is_nginx().await);
    site.enter(&site.join().await).await;

    site.follow("Back to nginx");
    assert!(site.is_nginx().await);
    site.let_names_lead(true);
    assert!(site.join().await.starts_with(&format!("https://{host}/bigbluebutton/api/join?")));
    let lost = site.servers.iter().filter(|server| server.count_calls("end") > 0).count();
    assert_eq!(lost, 0, "no meeting was ended");
}
