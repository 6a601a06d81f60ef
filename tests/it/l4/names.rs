//! Which server a TLS client gets, by what it says first.

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{TlsServer, greeting, log_says, metric, metric_becomes, pool, rest};
use crate::harness::eventually;

/// Two servers by name, nothing else.
async fn two() -> (TlsServer, TlsServer, String) {
    let one = TlsServer::start(&["one.example.org"], "one").await;
    let two = TlsServer::start(&["two.example.org", "a.two.example.org"], "two").await;
    let toml = format!(
        "[[l4.listener]]\nname = \"edge\"\nlisten = [\"127.0.0.1:PORT\"]\nhello_timeout = \"1s\"\n\
         [[l4.listener.route]]\nsni = [\"one.example.org\"]\ntarget = \"{}\"\n\
         [[l4.listener.route]]\nsni = [\"two.example.org\", \"*.two.example.org\"]\ntarget = \"{}\"\n",
        one.address, two.address
    );
    (one, two, toml)
}

#[tokio::test]
async fn each_name_reaches_its_own_certificate() {
    let (one, two, toml) = two().await;
    let (pool, edge) = pool(&toml).await;
    for (server, name, word) in
        [(&one, "one.example.org", "one"), (&two, "two.example.org", "two"), (&two, "a.two.example.org", "two")]
    {
        let mut stream = server.reach(edge, name, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the server chose, not the edge");
        assert_eq!(greeting(&mut stream).await, word);
        stream.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
    }
    // A client that trusts the other server only is not fooled, and neither is the test.
    assert!(one.reach(edge, "two.example.org", &[]).await.is_err());
    let label = |server: &TlsServer| format!("{{listener=\"edge\",server=\"{}\"}}", server.address);
    metric_becomes(&pool, &format!("usher_l4_connections{}", label(&two)), 0).await;
    let bytes = metric(&pool, &format!("usher_l4_bytes_total{}", label(&two))).await;
    assert!(bytes > 1000, "two handshakes are more than {bytes} bytes");
    log_says(&pool, &["connection listener=edge name=a.two.example.org", "end="]).await;
}

#[tokio::test]
async fn a_hello_may_come_in_any_pieces() {
    let (one, _two, toml) = two().await;
    let (_pool, edge) = pool(&toml).await;
    for (record, segment) in [(1, 40), (60, 7), (10_000, 1)] {
        let name = ServerName::try_from("one.example.org").unwrap();
        let mut client = ClientConnection::new(one.client(&["http/1.1"]), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let message = &hello[5..];
        let mut cut = Vec::new();
        for chunk in message.chunks(record) {
            cut.extend_from_slice(&[22, 3, 1]);
            cut.extend_from_slice(&(chunk.len() as u16).to_be_bytes());
            cut.extend_from_slice(chunk);
        }
        let mut stream = TcpStream::connect(edge).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in cut.chunks(segment) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut piece = [0; 4096];
        while client.is_handshaking() {
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "records of {record}, segments of {segment}: closed");
            let mut new = &piece[..length];
            while !new.is_empty() {
                client.read_tls(&mut new).unwrap();
                client.process_new_packets().unwrap();
            }
            let mut answer = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut answer).unwrap();
            }
            stream.write_all(&answer).await.unwrap();
        }
        assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[tokio::test]
async fn who_has_no_route_is_told_so_in_tls() {
    let (one, _two, toml) = two().await;
    let (pool, edge) = pool(&toml).await;
    for name in ["nobody.example.org", "nobody.example.org", "127.0.0.1"] {
        let error = one.reach(edge, name, &[]).await.unwrap_err().to_string();
        assert!(error.contains("UnrecognisedName") || error.contains("UnrecognizedName"), "{error}");
    }
    assert_eq!(metric(&pool, "usher_l4_refused_total{listener=\"edge\",reason=\"unknown_name\"}").await, 2);
    assert_eq!(metric(&pool, "usher_l4_refused_total{listener=\"edge\",reason=\"no_name\"}").await, 1);
    log_says(&pool, &["no route for this name", "name=-"]).await;
    let log = pool.log();
    assert_eq!(log.matches("name=nobody.example.org").count(), 1, "told once: {log}");
}

#[tokio::test]
async fn what_is_not_tls_or_comes_too_slowly_is_closed() {
    let (_one, _two, toml) = two().await;
    let (pool, edge) = pool(&toml).await;
    let mut stream = TcpStream::connect(edge).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, b"");
    let mut slow = TcpStream::connect(edge).await.unwrap();
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    assert_eq!(rest(&mut slow).await, b"");
    drop(TcpStream::connect(edge).await.unwrap());
    for reason in ["not_tls", "timeout", "gone"] {
        metric_becomes(&pool, &format!("usher_l4_refused_total{{listener=\"edge\",reason=\"{reason}\"}}"), 1).await;
    }
}

#[tokio::test]
async fn known_servers_are_reached_by_their_own_names() {
    let own = TlsServer::start(&["localhost"], "own").await;
    let other = TlsServer::start(&["else.example.org"], "rest").await;
    let toml = format!(
        "[[l4.listener]]\nname = \"edge\"\nlisten = [\"127.0.0.1:PORT\"]\ntarget = \"{}\"\n\
         [[l4.listener.route]]\nsni = \"server\"\nport = {}\n",
        other.address,
        own.address.port()
    );
    let (pool, edge) = pool(&toml).await;
    assert!(own.reach(edge, "localhost", &[]).await.is_err(), "nobody has that name yet");
    pool.cli_ok(&["server", "add", "https://localhost", "--name", "bbb7", "--secret", "s"]);
    eventually("the new server is reached", || async { own.reach(edge, "localhost", &[]).await.ok() }).await;
    let mut turn = own.reach(edge, "LOCALHOST", &["stun.turn"]).await.unwrap();
    assert_eq!(greeting(&mut turn).await, "own");
    metric_becomes(&pool, "usher_l4_connections{listener=\"edge\",server=\"bbb7\"}", 1).await;
    let mut rest = other.reach(edge, "else.example.org", &[]).await.unwrap();
    assert_eq!(greeting(&mut rest).await, "rest");
    pool.cli_ok(&["server", "remove", "bbb7", "--force"]);
    eventually("the server is forgotten", || async { own.reach(edge, "localhost", &[]).await.err() }).await;
    turn.write_all(b"still there").await.unwrap();
    turn.read_exact(&mut [0; 11]).await.unwrap();
}

/// The name leads here, as in `edge.mode = "host"`; the server's own address does not.
#[tokio::test]
async fn a_server_with_an_address_is_reached_there() {
    let own = TlsServer::start(&["bbb7.example.test"], "own").await;
    let turn = TlsServer::start(&["bbb7.example.test"], "turn").await;
    let toml = format!(
        "[[l4.listener]]\nname = \"edge\"\nlisten = [\"127.0.0.1:PORT\"]\n\
         [[l4.listener.route]]\nsni = \"server\"\n\
         [[l4.listener.route]]\nsni = \"server\"\nalpn = [\"stun.turn\"]\nport = {}\n",
        turn.address.port()
    );
    let (pool, edge) = pool(&toml).await;
    let address = own.address.to_string();
    pool.cli_ok(&["server", "add", "https://bbb7.example.test", "--secret", "s", "--address", &address]);
    eventually("the new server is reached", || async { own.reach(edge, "bbb7.example.test", &[]).await.ok() }).await;
    let mut stream = own.reach(edge, "bbb7.example.test", &["h2"]).await.unwrap();
    assert_eq!(greeting(&mut stream).await, "own", "its port stands for the port of the URL");
    let mut stream = turn.reach(edge, "bbb7.example.test", &["stun.turn"]).await.unwrap();
    assert_eq!(greeting(&mut stream).await, "turn", "and for no other");
}

/// Each of equal targets has its own coturn and its own secret.
#[tokio::test]
async fn turn_is_never_spread_over_several_targets() {
    let one = TlsServer::start(&["pool.example.org"], "one").await;
    let two = TlsServer::start(&["pool.example.org"], "two").await;
    let toml = format!(
        "[[l4.listener]]\nlisten = [\"127.0.0.1:PORT\"]\n\
         [[l4.listener.route]]\nsni = [\"pool.example.org\"]\ntarget = [\"{}\", \"{}\"]\n",
        one.address, two.address
    );
    let (_pool, edge) = pool(&toml).await;
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(one.reach(edge, "pool.example.org", &["stun.turn"]).await.expect("always the first"));
    }
    two.reach(edge, "pool.example.org", &["h2"]).await.expect("the one with fewer connections");
}

/// In `edge.mode = "host"` the name of a server leads to Usher itself.
#[tokio::test]
async fn a_target_that_leads_back_here_is_noticed() {
    let toml = "[[l4.listener]]\nname = \"edge\"\nlisten = [\"127.0.0.1:PORT\"]\ntarget = \"localhost:PORT\"\n";
    let (pool, edge) = pool(toml).await;
    let mut stream = TcpStream::connect(edge).await.unwrap();
    assert_eq!(rest(&mut stream).await, b"");
    log_says(&pool, &["leads back to this listener"]).await;
    let failed = format!("usher_l4_failed_total{{listener=\"edge\",server=\"localhost:{}\"}}", edge.port());
    assert_eq!(metric(&pool, &failed).await, 1, "it went round");
}
