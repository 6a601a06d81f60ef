//! A thread that relays: it waits for all sockets of its relays at once, and moves bytes where there are some.
//!
//! This is not a task of the runtime for each relay, because of what a message costs: a task is woken, queued and found
//! again, with a look into a dozen places of memory for each of two sockets. Here an event leads to its relay at once.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use parking_lot::Mutex;
use slab::Slab;

use super::buffer::Buffer;
use super::pair::{Next, Pair};
use super::silence::Looks;
use super::{Reason, Side};

/// What the kernel says at once.
const EVENTS: usize = 512;
/// Before the kernel is asked again that would not let us wait.
const AFTER_FAULT: Duration = Duration::from_secs(1);
const WOKEN: Token = Token(usize::MAX);

/// What the thread and those who give it work share.
pub struct Desk {
    waker: Waker,
    /// Not yet taken by the thread. Bounded by the limits on connections.
    arrivals: Mutex<Vec<Pair>>,
    /// Relays that it has or is about to have.
    load: AtomicUsize,
    /// All relays end now, those that arrive later too.
    is_draining: AtomicBool,
    /// Nobody gives it work any more.
    is_leaving: AtomicBool,
}

impl Desk {
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub fn give(&self, pair: Pair) {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.arrivals.lock().push(pair);
        self.wake();
    }

    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.wake();
    }

    pub fn dismiss(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("a thread that relays cannot be woken: {error}");
        }
    }
}

struct Thread {
    poll: Poll,
    desk: Arc<Desk>,
    pairs: Slab<Pair>,
    looks: Looks,
    buffer: Buffer,
    /// Those whose turn was over before they were.
    unfinished: Vec<usize>,
}

/// Starts the thread of this number.
pub fn start(number: usize) -> io::Result<Arc<Desk>> {
    let poll = Poll::new()?;
    let desk = Arc::new(Desk {
        waker: Waker::new(poll.registry(), WOKEN)?,
        arrivals: Mutex::default(),
        load: AtomicUsize::default(),
        is_draining: AtomicBool::default(),
        is_leaving: AtomicBool::default(),
    });
    let thread = Thread {
        poll,
        desk: desk.clone(),
        pairs: Slab::new(),
        looks: Looks::default(),
        buffer: Buffer::default(),
        unfinished: Vec::new(),
    };
    std::thread::Builder::new().name(format!("relay {number}")).spawn(move || thread.run())?;
    Ok(desk)
}

impl Thread {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut now = Instant::now();
        while !self.desk.is_leaving.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, self.patience(now)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!("waiting for {} relays failed, so they end: {error}", self.pairs.len());
                    self.end_all();
                    std::thread::park_timeout(AFTER_FAULT);
                    continue;
                }
            }
            now = Instant::now();
            let unfinished = std::mem::take(&mut self.unfinished);
            let mut is_woken = false;
            for event in &events {
                if event.token() == WOKEN {
                    is_woken = true;
                    continue;
                }
                let (key, side) = place(event.token());
                // It may have left because of an event before this one.
                let Some(pair) = self.pairs.get_mut(key) else { continue };
                match side {
                    Side::Client => pair.client.hear(event),
                    Side::Server => pair.server.hear(event),
                }
                if !pair.has_turn_coming {
                    self.go(key, now);
                }
            }
            for key in unfinished {
                if let Some(pair) = self.pairs.get_mut(key) {
                    pair.has_turn_coming = false;
                    self.go(key, now);
                }
            }
            if self.looks.is_due(now) {
                self.look(now);
            }
            if is_woken {
                self.welcome(now);
            }
        }
    }

    /// How long there is nothing to do.
    fn patience(&self, now: Instant) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        self.looks.next().map(|next| next.saturating_duration_since(now))
    }

    #[inline]
    fn go(&mut self, key: usize, now: Instant) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let next = catch_unwind(AssertUnwindSafe(|| pair.go(&mut self.buffer, now)));
        match next.unwrap_or_else(|_| Next::Leave(Reason::Broken(Side::Client, io::Error::other("a fault of Usher's"))))
        {
            Next::Wait => {}
            Next::WaitLess => self.looks.expect(&pair.silence),
            Next::GoOn => {
                pair.has_turn_coming = true;
                self.looks.expect(&pair.silence);
                self.unfinished.push(key);
            }
            Next::Leave(reason) => self.leave(key, reason),
        }
    }

    fn leave(&mut self, key: usize, reason: Reason) {
        if let Some(pair) = self.pairs.try_remove(key) {
            self.desk.load.fetch_sub(1, Ordering::Relaxed);
            pair.leave(reason);
        }
    }

    /// Takes in what has arrived, and lets all go if that is asked for.
    fn welcome(&mut self, now: Instant) {
        let arrivals = std::mem::take(&mut *self.desk.arrivals.lock());
        for mut pair in arrivals {
            let entry = self.pairs.vacant_entry();
            let (key, registry) = (entry.key(), self.poll.registry());
            let client = pair.client.register(registry, token(key, Side::Client));
            let client = client.map_err(|error| Reason::Broken(Side::Client, error));
            let server = pair.server.register(registry, token(key, Side::Server));
            let server = server.map_err(|error| Reason::Broken(Side::Server, error));
            self.looks.expect(&pair.silence);
            entry.insert(pair);
            match client.and(server) {
                Ok(()) => self.go(key, now),
                Err(reason) => self.leave(key, reason),
            }
        }
        if self.desk.is_draining.load(Ordering::Acquire) {
            self.end_all();
        }
    }

    fn end_all(&mut self) {
        for (_, pair) in std::mem::take(&mut self.pairs) {
            self.desk.load.fetch_sub(1, Ordering::Relaxed);
            pair.leave(Reason::Drained);
        }
    }

    /// Ends those that have been silent for too long.
    fn look(&mut self, now: Instant) {
        let is_over = |pair: &Pair| pair.silence.end() <= now;
        let over: Vec<usize> = self.pairs.iter().filter(|(_, pair)| is_over(pair)).map(|(key, _)| key).collect();
        for key in over {
            self.leave(key, Reason::Idle);
        }
        self.looks.plan(now, self.pairs.iter().map(|(_, pair)| &pair.silence));
    }
}

fn token(key: usize, side: Side) -> Token {
    Token(key << 1 | usize::from(side == Side::Server))
}

fn place(token: Token) -> (usize, Side) {
    (token.0 >> 1, if token.0 & 1 == 0 { Side::Client } else { Side::Server })
}
