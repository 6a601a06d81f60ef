//! Bytes between two connections, both ways, untouched: what stands behind layer 4 and behind a WebSocket after its
//! handshake.
//!
//! Thousands of these are open and silent for hours, so what is silent holds no buffer. Bytes are read into a buffer that
//! all relays of a thread share, and handed on in the same turn. Only what the other side does not take at once is kept
//! on the heap, and the place for it is given back as soon as nothing flows. Buffers grow while both sides keep up, which
//! is what a download needs. All relays together hold a bounded sum of grown buffers.
//!
//! The two directions are independent: the end of one is passed on, and the other goes on. There is one timer for each
//! relay, which bytes do not move (`silence`). On Linux bytes between two sockets could stay in the kernel (splice): that
//! would take the place of `Way::carry`.

mod buffer;
mod silence;
mod vigil;
mod way;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

use silence::Silence;
use way::{Fault, Way};

pub use buffer::Room;
pub use vigil::prepare;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// One end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Server,
}

/// Why a relay ended.
#[derive(Debug)]
pub enum Reason {
    /// Both directions have ended; this side ended first.
    Closed(Side),
    /// Nothing came from either side for the time that silence may last.
    Idle,
    /// The connection to this side broke.
    Broken(Side, io::Error),
    /// The process ends.
    Drained,
}

impl Reason {
    /// The word of metrics and log lines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Closed(Side::Client) => "client",
            Self::Closed(Side::Server) => "server",
            Self::Idle => "idle",
            Self::Broken(Side::Client, _) => "client_broken",
            Self::Broken(Side::Server, _) => "server_broken",
            Self::Drained => "drained",
        }
    }
}

/// How a relay ended, and the bytes that were handed on.
#[derive(Debug)]
pub struct Outcome {
    pub reason: Reason,
    pub to_server: u64,
    pub to_client: u64,
}

/// Ends relays that would go on for hours.
#[derive(Debug, Default)]
pub struct Drain {
    has_begun: AtomicBool,
    bell: Notify,
}

impl Drain {
    /// All relays that look at this end now.
    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }
}

/// What bytes come from.
pub trait Source: AsyncRead {
    /// False if a read would find nothing, which is cheaper to ask than to try. Who is not sure says true.
    fn may_have(&self) -> bool;
}

impl Source for TcpStream {
    fn may_have(&self) -> bool {
        self.try_io(Interest::READABLE, || Ok(())).is_ok()
    }
}

/// Relays until both directions have ended, one side breaks, nothing comes for `idle`, or `drain` begins (what is kept by
/// then is lost). Neither stream is closed; the caller drops them. `note` is called for each piece that was handed on,
/// with its size: the place to add to counters that others read meanwhile.
pub async fn relay<C, S>(
    client: &mut C,
    server: &mut S,
    idle: Duration,
    drain: &Drain,
    note: impl Fn(Direction, usize),
) -> Outcome
where
    C: Source + AsyncWrite + Unpin,
    S: Source + AsyncWrite + Unpin,
{
    let (mut both, mut silence) = (Both::default(), Silence::new(idle));
    let mut is_heard = false;
    let mut bell = pin!(drain.bell.notified());
    let mut timer = pin!(sleep(silence.first()));
    bell.as_mut().enable();
    let reason = poll_fn(|cx| {
        let before = both.moved();
        if let Poll::Ready(reason) = both.poll(cx, client, server, &note) {
            return Poll::Ready(reason);
        }
        if drain.has_begun() {
            return Poll::Ready(Reason::Drained);
        }
        if both.moved() != before {
            silence.is_broken();
            // What has moved bytes was woken by them. Bell and timer know already whom to wake, and asking them costs:
            // there is a lock in the bell that all relays share.
            if is_heard && silence.can_wait(both.is_half()) && !timer.is_elapsed() {
                return Poll::Pending;
            }
        }
        is_heard = true;
        if bell.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Reason::Drained);
        }
        silence.poll(cx, timer.as_mut(), both.is_half()).map(|()| Reason::Idle)
    })
    .await;
    Outcome { reason, to_server: both.to_server.moved, to_client: both.to_client.moved }
}

#[derive(Default)]
struct Both {
    to_server: Way,
    to_client: Way,
    first: Option<Side>,
    broken: Option<(Side, io::Error)>,
}

impl Both {
    /// Bytes, both ways together.
    fn moved(&self) -> u64 {
        self.to_server.moved + self.to_client.moved
    }

    fn poll<C, S>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        server: &mut S,
        note: &impl Fn(Direction, usize),
    ) -> Poll<Reason>
    where
        C: Source + AsyncWrite + Unpin,
        S: Source + AsyncWrite + Unpin,
    {
        let up = self.to_server.carry(cx, client, server, |size| note(Direction::ToServer, size));
        if let Poll::Ready(Err(break_)) = self.ended(up, Side::Client) {
            return Poll::Ready(break_);
        }
        let down = self.to_client.carry(cx, server, client, |size| note(Direction::ToClient, size));
        if let Poll::Ready(Err(break_)) = self.ended(down, Side::Server) {
            return Poll::Ready(break_);
        }
        if !(self.to_server.is_over && self.to_client.is_over) {
            return Poll::Pending;
        }
        Poll::Ready(match self.broken.take() {
            Some((side, error)) => Reason::Broken(side, error),
            None => Reason::Closed(self.first.unwrap_or(Side::Client)),
        })
    }

    /// Takes in how the direction from `source` came out. A side that cannot be read any more ends everything: there is
    /// nothing left to hand on. One that cannot be written may have sent its last words before, so they are still read.
    fn ended(&mut self, outcome: Poll<Result<(), Fault>>, source: Side) -> Poll<Result<(), Reason>> {
        let other = match source {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        match ready!(outcome) {
            Ok(()) => {
                self.first.get_or_insert(source);
                Poll::Ready(Ok(()))
            }
            Err(Fault::Write(error)) => {
                // Who has said goodbye may hang up, even while the other side still talks.
                if self.first != Some(other) {
                    self.broken.get_or_insert((other, error));
                }
                Poll::Ready(Ok(()))
            }
            Err(Fault::Read(error)) => {
                let broken = self.broken.take().unwrap_or((source, error));
                Poll::Ready(Err(match self.first {
                    Some(first) => Reason::Closed(first),
                    None => Reason::Broken(broken.0, broken.1),
                }))
            }
        }
    }

    /// One direction has ended.
    fn is_half(&self) -> bool {
        self.to_server.is_over || self.to_client.is_over
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::silence::HALF_CLOSED;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    impl Source for DuplexStream {
        fn may_have(&self) -> bool {
            true
        }
    }

    impl Source for tokio::io::Empty {
        fn may_have(&self) -> bool {
            true
        }
    }

    /// A client and a server with a relay between them, and pipes that hold `pipe` bytes.
    fn between(pipe: usize, idle: Duration) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<Outcome>) {
        let (client, mut near) = duplex(pipe);
        let (server, mut far) = duplex(pipe);
        let relay = tokio::spawn(async move { relay(&mut near, &mut far, idle, &Drain::default(), |_, _| {}).await });
        (client, server, relay)
    }

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
    }

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (mut client, mut server, relay) = between(64, DAY);
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        server.write_all(b"a long answer after the end of the question").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "a long answer after the end of the question");
        let outcome = relay.await.unwrap();
        assert!(matches!(outcome.reason, Reason::Closed(Side::Client)), "{outcome:?}");
        assert_eq!((outcome.to_server, outcome.to_client), (8, 43));
    }

    #[tokio::test]
    async fn large_amounts_arrive_whole_through_narrow_and_wide_pipes() {
        for pipe in [1000, 16 * 1024, 300_000, 4 << 20] {
            let (client, server, relay) = between(pipe, DAY);
            let length = 3_000_000 + pipe;
            let (mut client_reads, mut client_writes) = tokio::io::split(client);
            let (mut server_reads, mut server_writes) = tokio::io::split(server);
            let (mut up, mut down) = (Vec::new(), Vec::new());
            let sent = sample(length);
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
            assert!(up == sent && down == sent[1..], "pipes of {pipe}");
            let outcome = relay.await.unwrap();
            assert_eq!((outcome.to_server, outcome.to_client), (length as u64, length as u64 - 1));
        }
    }

    #[tokio::test]
    async fn a_side_that_does_not_read_stops_the_other() {
        let (mut client, mut server, relay) = between(1000, DAY);
        let written = timeout(Duration::from_millis(200), client.write_all(&sample(1_000_000))).await;
        assert!(written.is_err(), "the client was held up");
        // The other direction does not care.
        server.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        drop(client);
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, sample(1_000_000)[..got.len()]);
        assert!(got.len() < 100_000, "{} bytes on the way", got.len());
        drop(server);
        relay.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_of_both_sides_ends_it() {
        let (mut client, mut server, relay) = between(64, Duration::from_secs(100));
        let begin = Instant::now();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(99)).await;
            server.write_all(b"x").await.unwrap();
            client.read_u8().await.unwrap();
        }
        let outcome = relay.await.unwrap();
        assert!(matches!(outcome.reason, Reason::Idle), "{outcome:?}");
        assert_eq!(begin.elapsed().as_secs(), 5 * 99 + 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_one_ends_a_sixteenth_later_at_most() {
        let (mut client, mut server, relay) = between(64, Duration::from_secs(160));
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.write_all(b"x").await.unwrap();
            server.read_u8().await.unwrap();
        }
        let silent = Instant::now();
        let outcome = relay.await.unwrap();
        assert!(matches!(outcome.reason, Reason::Idle), "{outcome:?}");
        assert_eq!(outcome.to_server, 500, "it has lived as long as something moved");
        let lasted = silent.elapsed().as_secs();
        assert!((160..=170).contains(&lasted), "{lasted} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_closed_connection_may_be_silent_for_a_shorter_time() {
        let (mut client, _server, relay) = between(64, DAY);
        let begin = Instant::now();
        client.shutdown().await.unwrap();
        assert!(matches!(relay.await.unwrap().reason, Reason::Idle));
        assert_eq!(begin.elapsed().as_secs(), HALF_CLOSED.as_secs());
    }

    #[tokio::test]
    async fn a_drain_ends_silent_and_busy_ones() {
        let drain = Drain::default();
        let (_client, mut near) = duplex(10);
        let (_server, mut far) = duplex(10);
        let silent = relay(&mut near, &mut far, DAY, &drain, |_, _| {});
        let ring = async {
            tokio::task::yield_now().await;
            drain.begin();
        };
        let (outcome, ()) = tokio::join!(silent, ring);
        assert!(matches!(outcome.reason, Reason::Drained));
        let late = relay(&mut near, &mut far, DAY, &drain, |_, _| {}).await;
        assert!(matches!(late.reason, Reason::Drained));
    }

    #[tokio::test]
    async fn pieces_are_told_while_it_runs() {
        let (mut client, mut near) = duplex(100);
        let (mut server, mut far) = duplex(100);
        let told = RefCell::new(Vec::new());
        let drain = Drain::default();
        let note = |direction, size| told.borrow_mut().push((direction, size));
        let relay = relay(&mut near, &mut far, DAY, &drain, note);
        let talk = async {
            client.write_all(b"123").await.unwrap();
            server.read_exact(&mut [0; 3]).await.unwrap();
            assert_eq!(*told.borrow(), [(Direction::ToServer, 3)]);
            server.write_all(b"1").await.unwrap();
            client.read_u8().await.unwrap();
            assert_eq!(told.borrow()[1..], [(Direction::ToClient, 1)]);
            drain.begin();
        };
        tokio::join!(relay, talk);
    }

    /// What a silent relay costs beside its two streams.
    #[test]
    fn it_is_small() {
        let drain = Drain::default();
        let (mut client, mut server) = (tokio::io::empty(), tokio::io::empty());
        let future = relay(&mut client, &mut server, DAY, &drain, |_, _| {});
        let size = size_of_val(&future);
        assert!(size <= 640, "{size} bytes");
    }
}
