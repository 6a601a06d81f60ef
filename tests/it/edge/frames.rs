//! Every kind of WebSocket frame through the edge: both sides hear what they would hear without Usher between them.
//!
//! One side is written byte by byte (`catalogue`), the other is a real library that echoes. Each case runs once directly and
//! once each way through the edge; what the written side hears, to the last byte and the end of the connection, is the same.

mod catalogue;
mod frame;
mod play;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use catalogue::{Case, catalogue};
use frame::close_code;
use play::{Dialled, Echo, Ends, Heard, Written, echo, limits, play, shake_hands};

use crate::harness::Pool;
use crate::tls::client::{config, connect};
use crate::tls::maker::{Maker, secure};

/// Cases at once.
const AT_ONCE: usize = 16;

/// How a client gets to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Direct,
    Path,
    SecurePath,
    Host,
}

/// A server that echoes, one that is written, and the ways to them.
struct House {
    echo: Echo,
    written: Arc<Written>,
    path: Pool,
    secure: String,
    host: Pool,
    tls: Arc<rustls::ClientConfig>,
    _maker: Maker,
}

async fn house(cases: &Arc<Vec<Case>>) -> House {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (echo, written) =
        (Echo::start([127, 0, 0, 2]).await, Arc::new(Written::start([127, 0, 0, 3], cases.clone()).await));
    let (builder, secure) = secure(0, &[&files]);
    let builders = [
        builder.config("[edge]\nmode = \"path\"\n"),
        crate::harness::Builder::new(0).config("[edge]\nmode = \"host\"\n"),
    ];
    let mut pools = Vec::new();
    for builder in builders {
        let mut pool = builder.set("USHER_LIMITS__EXEMPT", "127.0.0.1").prepare().await;
        for (name, address) in [("echo", echo.address), ("written", written.address)] {
            pool.cli_ok(&["server", "add", &format!("http://{address}"), "--name", name, "--secret", "s"]);
        }
        pool.serve().await;
        pools.push(pool);
    }
    let (host, path) = (pools.pop().unwrap(), pools.pop().unwrap());
    let tls = Arc::new(config(&maker, &["http/1.1"]));
    House { echo, written, path, secure, host, tls, _maker: maker }
}

impl House {
    /// A connection, the host and the path that lead to `server`.
    async fn dial(&self, way: Way, server: &str) -> (Dialled, String, String) {
        let address = if server == "echo" { self.echo.address } else { self.written.address };
        let plain = |origin: String| async move { Dialled::plain(origin.trim_start_matches("http://")).await };
        let (own_host, under) = (address.to_string(), format!("/{server}/ws"));
        match way {
            Way::Direct => (plain(address.to_string()).await, own_host, "/ws".to_owned()),
            Way::Path => (plain(self.path.http.clone()).await, "p.example".to_owned(), under),
            Way::Host => (plain(self.host.http.clone()).await, address.ip().to_string(), "/ws".to_owned()),
            Way::SecurePath => {
                let stream = connect(&self.secure, "bbb.example.test", &self.tls).await.unwrap();
                stream.get_ref().0.set_nodelay(true).unwrap();
                (Dialled::new(stream), "bbb.example.test".to_owned(), under)
            }
        }
    }

    /// The written client and the library's server.
    async fn by_client(&self, case: &Case, way: Way) -> Heard {
        let (mut stream, host, path) = self.dial(way, "echo").await;
        shake_hands(&mut stream, &host, &path).await;
        play(stream, case, Ends::Client).await
    }

    /// The library's client and the written server.
    async fn by_server(&self, number: usize, way: Way) -> Heard {
        let (stream, host, path) = self.dial(way, "written").await;
        let run = format!("{number}-{way:?}");
        let heard = self.written.expect(&run);
        let request = format!("ws://{host}{path}?case={number}&run={run}").into_client_request().unwrap();
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(limits())).await.expect("a handshake");
        let (heard, ()) = tokio::join!(heard, echo(socket));
        heard.unwrap()
    }
}

/// All cases each way; what was heard on the direct one is the measure, and the library is asked for the right code.
async fn compare(ways: &[Way], is_client: bool) {
    let cases = Arc::new(catalogue());
    let house = house(&cases).await;
    let runs = (0..cases.len()).flat_map(|number| ways.iter().map(move |way| (number, *way)));
    let heard: Vec<(usize, Way, Heard)> = futures_util::stream::iter(runs)
        .map(|(number, way)| {
            let (house, cases) = (&house, &cases);
            async move {
                let heard = match is_client {
                    true => house.by_client(&cases[number], way).await,
                    false => house.by_server(number, way).await,
                };
                (number, way, heard)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut by_case: BTreeMap<usize, BTreeMap<Way, Heard>> = BTreeMap::new();
    for (number, way, heard) in heard {
        by_case.entry(number).or_default().insert(way, heard);
    }
    let mut wrong = Vec::new();
    for (number, heard) in &by_case {
        let (case, direct) = (&cases[*number], &heard[&Way::Direct]);
        let code = close_code(&direct.bytes);
        if code != Some(case.ends) || !direct.is_closed {
            wrong.push(format!("{}: the library closes with {code:?}, not {}: {direct:?}", case.name, case.ends));
        }
        let differing = heard.iter().filter(|(_, heard)| *heard != direct);
        wrong.extend(differing.map(|(way, heard)| format!("{} by {way:?}: {heard:?}, directly {direct:?}", case.name)));
    }
    assert!(wrong.is_empty(), "{} of {} cases: {wrong:#?}", wrong.len(), cases.len());
    assert!(by_case.len() == cases.len() && cases.len() > 500, "{} cases", by_case.len());
    for pool in [&house.path, &house.host] {
        play::metric_ends_at_zero(pool).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_of_a_client_arrives_as_it_was_sent() {
    compare(&[Way::Direct, Way::Path, Way::SecurePath, Way::Host], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_of_a_server_arrives_as_it_was_sent() {
    compare(&[Way::Direct, Way::Path, Way::SecurePath], false).await;
}
