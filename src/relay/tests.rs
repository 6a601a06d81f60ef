//! Relays between real sockets, with and without TLS.

#![allow(clippy::unwrap_used)]

use prometheus::IntCounter;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::buffer::Buffer;
use super::way::{Progress, Way};
use super::*;

const DAY: Duration = Duration::from_secs(86_400);
/// Longer than anything takes here; a test that needs it has failed.
const LONG: Duration = Duration::from_secs(20);

/// Both ends of a connection whose buffers in the kernel hold about `narrow` bytes each, or what is usual.
async fn connection(narrow: Option<u32>) -> (TcpStream, TcpStream) {
    let listening = TcpSocket::new_v4().unwrap();
    let connecting = TcpSocket::new_v4().unwrap();
    for socket in [&listening, &connecting] {
        if let Some(bytes) = narrow {
            socket.set_recv_buffer_size(bytes).unwrap();
            socket.set_send_buffer_size(bytes).unwrap();
        }
    }
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listening.listen(1).unwrap();
    let (near, far) = tokio::join!(connecting.connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn counters() -> Counters {
    let counter = |name| IntCounter::new(name, "bytes").unwrap();
    Counters { to_server: counter("to_server"), to_client: counter("to_client") }
}

fn plain(tcp: TcpStream) -> End {
    End::plain(tcp).unwrap()
}

struct Scene {
    relays: Arc<Relays>,
    counters: Counters,
    client: TcpStream,
    server: TcpStream,
    outcome: tokio::task::JoinHandle<Outcome>,
}

impl Scene {
    /// A client and a server with a relay between them.
    async fn new(narrow: Option<u32>, idle: Duration) -> Self {
        let ((client, near), (server, far)) = (connection(narrow).await, connection(narrow).await);
        let (relays, counters) = (Arc::new(Relays::new(1)), counters());
        let outcome = tokio::spawn(relays.relay(plain(near), plain(far), idle, counters.clone()));
        Self { relays, counters, client, server, outcome }
    }

    async fn end(self) -> Outcome {
        tokio::time::timeout(LONG, self.outcome).await.expect("it ends").unwrap()
    }
}

fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let mut scene = Scene::new(None, DAY).await;
    scene.client.write_all(b"question").await.unwrap();
    scene.client.shutdown().await.unwrap();
    let mut question = String::new();
    scene.server.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    scene.server.write_all(b"a long answer after the end of the question").await.unwrap();
    scene.server.shutdown().await.unwrap();
    let mut answer = String::new();
    scene.client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "a long answer after the end of the question");
    let outcome = scene.end().await;
    assert!(matches!(outcome.reason, Reason::Closed(Side::Client)), "{outcome:?}");
    assert_eq!((outcome.to_server, outcome.to_client), (8, 43));
}

/// Both ways at once, each side's bytes to the other and then its end.
async fn exchange<C, S>(client: C, server: S, length: usize)
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let (mut server_reads, mut server_writes) = tokio::io::split(server);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let sent = sample(length);
    let all = async {
        let (_, _, up_size, down_size) = tokio::join!(
            async {
                client_writes.write_all(&sent).await.unwrap();
                client_writes.shutdown().await.unwrap();
            },
            async {
                server_writes.write_all(&sent[1..]).await.unwrap();
                server_writes.shutdown().await.unwrap();
            },
            server_reads.read_to_end(&mut up),
            client_reads.read_to_end(&mut down),
        );
        assert_eq!((up_size.unwrap(), down_size.unwrap()), (length, length - 1));
    };
    tokio::time::timeout(LONG, all).await.expect("all of it arrives");
    assert!(up == sent && down == sent[1..]);
}

#[tokio::test]
async fn large_amounts_arrive_whole_through_narrow_and_wide_connections() {
    for narrow in [Some(4096), Some(65_536), None] {
        let Scene { client, server, outcome, counters, relays } = Scene::new(narrow, DAY).await;
        let length = 5_000_003;
        exchange(client, server, length).await;
        let outcome = outcome.await.unwrap();
        assert_eq!((outcome.to_server, outcome.to_client), (length as u64, length as u64 - 1));
        assert_eq!((counters.to_server.get(), counters.to_client.get()), (length as u64, length as u64 - 1));
        drop(relays);
    }
}

/// TLS on both sides of a relay, as with a browser on HTTPS and a server on HTTPS.
#[tokio::test]
async fn large_amounts_arrive_whole_through_tls() {
    let made = rcgen::generate_simple_self_signed(["usher.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let accepts = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
        let accepts = accepts.with_no_client_auth();
        let accepts = accepts.with_single_cert(vec![made.cert.der().clone()], key.clone_key()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(accepts));
        let connects =
            ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
        let connects = connects.with_root_certificates(roots.clone()).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(connects));
        let name = ServerName::try_from("usher.example").unwrap();
        let ((client, near), (server, far)) = (connection(Some(8192)).await, connection(Some(8192)).await);
        let (client, near, server, far) = tokio::join!(
            connector.connect(name.clone(), client),
            acceptor.accept(near),
            acceptor.accept(server),
            connector.connect(name, far),
        );
        let (near, near_tls) = near.unwrap().into_inner();
        let (far, far_tls) = far.unwrap().into_inner();
        let near = End::secure(near, near_tls.into()).unwrap();
        let far = End::secure(far, far_tls.into()).unwrap();
        let relays = Relays::new(1);
        let outcome = tokio::spawn(relays.relay(near, far, DAY, counters()));
        exchange(client.unwrap(), server.unwrap(), 3_000_001).await;
        let outcome = outcome.await.unwrap();
        assert!(matches!(outcome.reason, Reason::Closed(_)), "{outcome:?}");
        assert_eq!((outcome.to_server, outcome.to_client), (3_000_001, 3_000_000));
    }
}

#[tokio::test]
async fn a_side_that_does_not_read_stops_the_other() {
    let mut scene = Scene::new(Some(4096), DAY).await;
    let much = sample(10_000_000);
    let written = tokio::time::timeout(Duration::from_millis(300), scene.client.write_all(&much)).await;
    assert!(written.is_err(), "the client was held up");
    // The other direction does not care.
    scene.server.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    scene.client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
    let taken = scene.counters.to_server.get();
    assert!(taken < 1_000_000, "{taken} bytes on the way");
    scene.client.shutdown().await.unwrap();
    let mut got = Vec::new();
    scene.server.read_to_end(&mut got).await.unwrap();
    assert!(got.len() as u64 >= taken && got == much[..got.len()], "what was held up comes whole");
    scene.server.shutdown().await.unwrap();
    assert!(matches!(scene.end().await.reason, Reason::Closed(Side::Client)));
}

#[tokio::test]
async fn silence_of_both_sides_ends_it() {
    let idle = Duration::from_millis(400);
    let mut scene = Scene::new(None, idle).await;
    let begin = Instant::now();
    let mut last = begin;
    while begin.elapsed() < idle * 2 {
        scene.server.write_all(b"x").await.unwrap();
        scene.client.read_u8().await.unwrap();
        last = Instant::now();
    }
    let outcome = scene.end().await;
    assert!(matches!(outcome.reason, Reason::Idle), "{outcome:?}");
    // It counts from the turn in which the byte was moved, which began before the byte arrived.
    assert!(last.elapsed() > idle / 2, "{:?}", last.elapsed());
}

#[tokio::test]
async fn a_connection_that_breaks_ends_it_and_says_whose() {
    for (side, word) in [(Side::Client, "client_broken"), (Side::Server, "server_broken")] {
        let scene = Scene::new(None, DAY).await;
        let Scene { client, server, outcome, relays, .. } = scene;
        let (broken, mut other) = if side == Side::Client { (client, server) } else { (server, client) };
        rustix::net::sockopt::set_socket_linger(&broken, Some(Duration::ZERO)).unwrap();
        drop(broken);
        let outcome = tokio::time::timeout(LONG, outcome).await.unwrap().unwrap();
        assert_eq!(outcome.reason.as_str(), word, "{outcome:?}");
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0, "the other end is closed");
        drop(relays);
    }
}

#[tokio::test]
async fn a_drain_ends_those_of_all_threads_and_late_ones() {
    let relays = Relays::new(2);
    let mut held = Vec::new();
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        let ((client, near), (server, far)) = (connection(None).await, connection(None).await);
        outcomes.push(tokio::spawn(relays.relay(plain(near), plain(far), DAY, counters())));
        held.push((client, server));
    }
    relays.drain();
    let ((_client, near), (_server, far)) = (connection(None).await, connection(None).await);
    outcomes.push(tokio::spawn(relays.relay(plain(near), plain(far), DAY, counters())));
    for outcome in outcomes {
        let outcome = tokio::time::timeout(LONG, outcome).await.unwrap().unwrap();
        assert!(matches!(outcome.reason, Reason::Drained), "{outcome:?}");
    }
    let loads: Vec<usize> = relays.desks.lock().iter().map(|desk| desk.load()).collect();
    assert_eq!(loads, [0, 0], "both threads had some, and have none now");
}

#[tokio::test]
async fn threads_end_with_their_owner() {
    let scene = Scene::new(None, DAY).await;
    let desk = Arc::downgrade(&scene.relays.desks.lock()[0]);
    let Scene { relays, mut client, outcome, .. } = scene;
    drop(relays);
    assert!(matches!(outcome.await.unwrap().reason, Reason::Drained));
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let gone = async {
        while desk.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("the thread ends");
}

/// Many relays of one thread, some of which are torn down while others talk.
#[tokio::test]
async fn many_do_not_disturb_each_other() {
    let relays = Arc::new(Relays::new(1));
    let mut talks = tokio::task::JoinSet::new();
    for number in 0..200_u32 {
        let relays = relays.clone();
        talks.spawn(async move {
            let ((mut client, near), (mut server, far)) = (connection(None).await, connection(None).await);
            let relay = tokio::spawn(relays.relay(plain(near), plain(far), DAY, counters()));
            let rounds = 1 + number % 50;
            for round in 0..rounds {
                let said = (number * 1000 + round).to_be_bytes();
                client.write_all(&said).await.unwrap();
                let mut heard = [0; 4];
                server.read_exact(&mut heard).await.unwrap();
                server.write_all(&heard).await.unwrap();
                client.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, said);
            }
            drop(client);
            drop(server);
            assert_eq!(relay.await.unwrap().to_server, u64::from(rounds) * 4);
        });
    }
    let all = async { while talks.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(LONG, all).await.expect("all are done");
}

/// However much there is, a direction stops after its turn, and goes on from there.
#[tokio::test]
async fn a_turn_has_an_end() {
    let ((mut client, near), (mut server, far)) = (connection(None).await, connection(None).await);
    let sent = sample(60_000);
    client.write_all(&sent).await.unwrap();
    // All of it is there.
    let mut place = vec![0; sent.len()];
    let peeked = async { while near.peek(&mut place).await.unwrap() < sent.len() {} };
    tokio::time::timeout(LONG, peeked).await.unwrap();
    let (mut from, mut to, mut way, mut buffer) = (plain(near), plain(far), Way::default(), Buffer::default());
    let mut moved = Vec::new();
    while way.carry(&mut from, &mut to, &mut buffer, 1).unwrap() == Progress::Unfinished {
        moved.push(way.moved);
    }
    assert_eq!((moved, way.moved), (vec![16_384], 60_000), "a read makes this turn, a larger one the next");
    let mut got = vec![0; sent.len()];
    server.read_exact(&mut got).await.unwrap();
    assert!(got == sent);
}

/// One that always has something to move shares its thread with one that says little, until both are drained.
#[tokio::test]
async fn a_stream_and_a_talk_share_a_thread() {
    let relays = Relays::new(1);
    let ((mut source, near), (mut sink, far)) = (connection(None).await, connection(None).await);
    let stream = tokio::spawn(relays.relay(plain(near), plain(far), DAY, counters()));
    let piece = vec![b'x'; 1 << 20];
    let writes = tokio::spawn(async move { while source.write_all(&piece).await.is_ok() {} });
    let reads = tokio::spawn(async move {
        let mut place = vec![0; 1 << 20];
        while sink.read(&mut place).await.is_ok_and(|size| size > 0) {}
    });
    let ((mut client, near), (mut server, far)) = (connection(None).await, connection(None).await);
    let talk = tokio::spawn(relays.relay(plain(near), plain(far), DAY, counters()));
    let messages = async {
        for round in 0..200_u32 {
            client.write_all(&round.to_be_bytes()).await.unwrap();
            assert_eq!(server.read_u32().await.unwrap(), round);
            server.write_all(b"!").await.unwrap();
            client.read_u8().await.unwrap();
        }
    };
    tokio::time::timeout(LONG, messages).await.expect("messages get through");
    assert!(!writes.is_finished() && !reads.is_finished(), "the stream goes on");
    relays.drain();
    let (stream, talk) = (stream.await.unwrap(), talk.await.unwrap());
    assert!(matches!((&stream.reason, &talk.reason), (Reason::Drained, Reason::Drained)), "{stream:?} {talk:?}");
    assert_eq!((talk.to_server, talk.to_client), (800, 200));
    assert!(stream.to_server > 1 << 20, "{} bytes", stream.to_server);
    writes.await.unwrap();
    reads.await.unwrap();
}

/// What a silent relay costs beside its two sockets.
#[test]
fn it_is_small() {
    let size = size_of::<Pair>();
    assert!(size <= 256, "{size} bytes");
}
