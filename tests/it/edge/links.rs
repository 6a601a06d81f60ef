//! Cut links: what each side sees of a cable that is pulled under WebSockets, a download and a relay, that nobody else sees
//! anything, and that nothing stays behind.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::origin::{BIG, Origin};
use crate::harness::{Builder, Networks, Pool, connect_by, eventually_within, say_on};

/// As `limits.dead_after` here; the kernel looks once a second.
const DEAD_AFTER: &str = "3s";
/// Many times as long.
const LONG: Duration = Duration::from_secs(40);
/// Cables: two callers, and two servers.
const ANN: u8 = 0;
const BEN: u8 = 1;
const ONE: u8 = 2;
const TWO: u8 = 3;
const TCP: u16 = 3478;
const PORT: u16 = 80;

struct House {
    networks: Networks,
    one: Origin,
    _two: Origin,
    tcp: TcpListener,
    pool: Pool,
}

async fn house() -> Option<House> {
    let mut networks = Networks::new(&["edge"])?;
    for cable in [ANN, BEN, ONE, TWO] {
        networks.lay(cable, None, "edge");
    }
    let (one, two) = (Origin::start(networks.v4(ONE, 1)).await, Origin::start(networks.v4(TWO, 1)).await);
    let tcp = TcpListener::bind((networks.v4(ONE, 1), 0)).await.unwrap();
    let [ann, ben] = [ANN, BEN].map(|cable| networks.v4(cable, 2));
    let layer_4 = format!(
        "[[l4.listener]]\nname = \"tcp\"\nlisten = [\"{ann}:{TCP}\", \"{ben}:{TCP}\"]\ntarget = \"{}\"\n",
        tcp.local_addr().unwrap()
    );
    let builder = Builder::new(0)
        .listen(ben.into())
        .config(&format!("[edge]\nmode = \"path\"\n{layer_4}"))
        .set("USHER_LISTEN__HTTP", &format!("{ann}:{PORT},{ben}:{PORT}"))
        .set("USHER_LIMITS__BODY_TIMEOUT", "10m")
        .set("USHER_LIMITS__DEAD_AFTER", DEAD_AFTER);
    let mut pool = builder.prepare().await;
    pool.http = format!("http://{ben}:{PORT}");
    pool.launcher = networks.launcher("edge");
    for (name, origin) in [("one", &one), ("two", &two)] {
        pool.cli_ok(&["server", "add", &format!("http://{}", origin.address), "--name", name, "--secret", "s"]);
    }
    pool.serve().await;
    Some(House { networks, one, _two: two, tcp, pool })
}

impl House {
    async fn connect(&self, cable: u8, port: u16) -> TcpStream {
        let source: IpAddr = self.networks.v4(cable, 1).into();
        connect_by(source, SocketAddr::new(self.networks.v4(cable, 2).into(), port)).await
    }

    /// A WebSocket that echoes.
    async fn socket(&self, cable: u8, server: &str) -> TcpStream {
        let mut stream = self.connect(cable, PORT).await;
        let request = format!(
            "GET /{server}/ws HTTP/1.1\r\nHost: p.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\nEARLY") {
            heard.push(stream.read_u8().await.unwrap());
        }
        assert!(heard.starts_with(b"HTTP/1.1 101 "), "{}", heard.escape_ascii());
        stream
    }

    /// A download that nobody reads on, so that bytes wait everywhere.
    async fn download(&self, cable: u8, server: &str) -> TcpStream {
        let mut stream = self.connect(cable, PORT).await;
        stream.write_all(format!("GET /{server}/big HTTP/1.1\r\nHost: p.example\r\n\r\n").as_bytes()).await.unwrap();
        let mut start = [0; 64 * 1024];
        stream.read_exact(&mut start).await.unwrap();
        stream
    }

    fn relays(&self) -> String {
        format!("usher_l4_connections{{listener=\"tcp\",server=\"{}\"}}", self.tcp.local_addr().unwrap())
    }

    /// A connection by layer 4, both ends.
    async fn relay(&self, cable: u8) -> (TcpStream, TcpStream) {
        let near = self.connect(cable, TCP).await;
        (near, self.tcp.accept().await.unwrap().0)
    }

    async fn metrics_become(&self, wanted: &[(&str, u64)]) {
        let words: Vec<String> = wanted.iter().map(|(series, value)| format!("{series} {value}")).collect();
        eventually_within(LONG, &format!("{words:?}"), || async {
            let metrics = self.pool.metrics().await;
            words.iter().all(|word| metrics.lines().any(|line| line == word)).then_some(())
        })
        .await;
    }

    async fn log_says(&self, words: &[&str]) {
        eventually_within(LONG, &format!("a line of the log with {words:?}"), || async {
            let log = self.pool.log();
            log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        })
        .await;
    }
}

const SOCKETS_ONE: &str = "usher_websocket_connections{server=\"one\"}";
const SOCKETS_TWO: &str = "usher_websocket_connections{server=\"two\"}";
const CARRIED_ONE: &str = "usher_server_connections{server=\"one\"}";

/// Says a word and hears it again.
async fn echoes(stream: &mut TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).await.unwrap();
    let mut heard = vec![0; word.len()];
    tokio::time::timeout(LONG, stream.read_exact(&mut heard)).await.expect("an echo").unwrap();
    assert_eq!(heard, word.as_bytes());
}

/// How many bytes still come until the connection ends, by a reset or in order.
async fn rest(stream: &mut TcpStream) -> usize {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection never ends");
    rest.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_cut_off_is_noticed_by_its_own_people_only() {
    let Some(house) = house().await else { return };
    let (mut ours, mut others) = (house.socket(ANN, "one").await, house.socket(BEN, "two").await);
    let (mut relayed, _far) = house.relay(ANN).await;
    let mut download = house.download(ANN, "one").await;
    echoes(&mut ours, "before").await;
    echoes(&mut others, "before").await;
    house.metrics_become(&[(SOCKETS_ONE, 1), (SOCKETS_TWO, 1), (&house.relays(), 1)]).await;

    house.networks.pull(ONE);
    // Silent ones are found by probes, those with something to say by what nobody acknowledges.
    ours.write_all(b"is anybody there?").await.unwrap();
    echoes(&mut others, "meanwhile").await;
    assert_eq!(rest(&mut ours).await, 0, "nothing more came, and the browser is told by the end");
    assert_eq!(rest(&mut relayed).await, 0);
    let downloaded = rest(&mut download).await;
    assert!(downloaded < BIG - 64 * 1024, "the browser sees that it is not all: {downloaded}");
    house.log_says(&["websocket closed", "server=one", "end=server_broken"]).await;
    house.log_says(&["result=serverBroke", "server=one"]).await;
    echoes(&mut others, "still").await;
    house.metrics_become(&[(SOCKETS_ONE, 0), (SOCKETS_TWO, 1), (CARRIED_ONE, 0)]).await;
    house.metrics_become(&[(&house.relays(), 0)]).await;

    house.networks.mend(ONE);
    // The kernel may still be about to say that it has not found the machine.
    let request = b"GET /one/hello HTTP/1.1\r\nHost: p.example\r\nConnection: close\r\n\r\n";
    eventually_within(LONG, "an answer of server one", || async {
        let said = say_on(&mut house.connect(ANN, PORT).await, request, LONG).await;
        (said.statuses() == [200]).then_some(())
    })
    .await;
    let mut again = house.socket(ANN, "one").await;
    echoes(&mut again, "healed").await;
    echoes(&mut others, "after").await;
    drop((again, others));
    house.metrics_become(&[(SOCKETS_ONE, 0), (SOCKETS_TWO, 0), (CARRIED_ONE, 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_leaves_nothing_behind() {
    let Some(house) = house().await else { return };
    let (mut silent, mut talking) = (house.socket(ANN, "one").await, house.socket(ANN, "one").await);
    let mut other = house.socket(BEN, "one").await;
    let (mut relayed, mut far) = house.relay(ANN).await;
    let _download = house.download(ANN, "one").await;
    echoes(&mut silent, "before").await;
    echoes(&mut talking, "before").await;
    relayed.write_all(b"x").await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'x');
    house.metrics_become(&[(SOCKETS_ONE, 3), (CARRIED_ONE, 3)]).await;

    // What has come before is still echoed, to nobody.
    talking.write_all(b"my last words").await.unwrap();
    house.networks.pull(ANN);
    assert_eq!(rest(&mut far).await, 0, "the server of a relay sees the end");
    house.metrics_become(&[(SOCKETS_ONE, 1), (CARRIED_ONE, 1)]).await;
    house.metrics_become(&[(&house.relays(), 0)]).await;
    house.log_says(&["websocket closed", "server=one", "end=client_broken"]).await;
    house.log_says(&["result=clientLeft", "server=one"]).await;
    echoes(&mut other, "unaffected").await;

    house.networks.mend(ANN);
    // What was given up is over for both.
    let ended = tokio::time::timeout(LONG, async {
        let mut word = [0; 64];
        loop {
            match (silent.write_all(b"hello?").await, silent.read(&mut word).await) {
                (Err(_), _) | (_, Err(_) | Ok(0)) => break,
                _ => {}
            }
        }
    });
    ended.await.expect("the connection is over");
    let mut again = house.socket(ANN, "one").await;
    echoes(&mut again, "healed").await;
    drop((again, other));
    house.metrics_become(&[(SOCKETS_ONE, 0), (CARRIED_ONE, 0)]).await;
    assert!(!house.one.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_loses_nothing() {
    let Some(house) = house().await else { return };
    let (mut socket, mut other) = (house.socket(ANN, "one").await, house.socket(BEN, "two").await);
    for (cable, word) in [(ANN, "said while the client's link was cut"), (ONE, "said while the server's link was cut")]
    {
        house.networks.pull(cable);
        socket.write_all(word.as_bytes()).await.unwrap();
        echoes(&mut other, "meanwhile").await;
        house.networks.mend(cable);
        let mut heard = vec![0; word.len()];
        tokio::time::timeout(LONG, socket.read_exact(&mut heard)).await.expect("an echo").unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), word);
    }
    house.metrics_become(&[(SOCKETS_ONE, 1), (SOCKETS_TWO, 1)]).await;
}
