//! One end of a relay: a socket that is asked only when it said that there is something to ask for, with or without TLS.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::event::{Event, Source};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::{self, RecvFlags, SendFlags};
use rustls::Connection;

/// See the module's header. What a method could not do now it says so (`None` or false); the thread hears of the socket
/// when it may be tried again.
pub struct End {
    tcp: TcpStream,
    /// A read may find something.
    has_more: bool,
    /// The last bytes and the end come, or are there: the kernel will not say more.
    is_ending: bool,
    /// A write may find room.
    has_room: bool,
    tls: Option<Box<Tls>>,
}

struct Tls {
    connection: Connection,
    has_said_goodbye: bool,
}

impl End {
    /// A plain connection.
    pub fn plain(tcp: tokio::net::TcpStream) -> io::Result<Self> {
        Self::new(tcp, None)
    }

    /// A connection with TLS after its handshake.
    pub fn secure(tcp: tokio::net::TcpStream, connection: Connection) -> io::Result<Self> {
        Self::new(tcp, Some(Box::new(Tls { connection, has_said_goodbye: false })))
    }

    fn new(tcp: tokio::net::TcpStream, tls: Option<Box<Tls>>) -> io::Result<Self> {
        let tcp = TcpStream::from_std(tcp.into_std()?);
        Ok(Self { tcp, has_more: true, is_ending: false, has_room: true, tls })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.tcp.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Takes in what the kernel says.
    pub(super) fn hear(&mut self, event: &Event) {
        let is_broken = event.is_error();
        self.is_ending |= is_broken || event.is_read_closed();
        self.has_more |= is_broken || event.is_readable() || event.is_read_closed();
        self.has_room |= is_broken || event.is_writable();
    }

    #[inline]
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Bytes read, 0 at the end; `None` if there were none, and that is all for now unless there is more still.
    #[inline]
    pub(super) fn read(&mut self, place: &mut [u8]) -> io::Result<Option<usize>> {
        if self.tls.is_some() {
            return self.read_secure(place);
        }
        let size = unless_blocked(|| receive(&self.tcp, place))?;
        // Less than there was room for was all there was.
        self.has_more = size.is_some_and(|size| size == place.len() || self.is_ending);
        Ok(size)
    }

    fn read_secure(&mut self, place: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(Tls { connection, .. }) = self.tls.as_deref_mut() else { return Ok(None) };
        if let Some(size) = unless_blocked(|| connection.reader().read(place))? {
            return Ok(Some(size));
        }
        if unless_blocked(|| connection.read_tls(&mut self.tcp))?.is_none() {
            self.has_more = false;
            return Ok(None);
        }
        let outcome = connection.process_new_packets();
        // TLS may have something to say about it.
        while connection.wants_write() && unless_blocked(|| connection.write_tls(&mut self.tcp))?.is_some() {}
        outcome.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // What has come need not be a whole record, nor one with bytes in it.
        unless_blocked(|| connection.reader().read(place))
    }

    /// Bytes taken, at least one; `None` if there is no room now.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        // Nothing is taken before what was taken has left.
        if !self.flush()? || !self.has_room {
            return Ok(None);
        }
        let taken = match &mut self.tls {
            None => unless_blocked(|| send(&self.tcp, bytes))?,
            Some(tls) => {
                let taken = tls.connection.writer().write(bytes)?;
                self.flush()?;
                Some(taken)
            }
        };
        self.has_room &= taken.is_some();
        match taken {
            Some(0) => Err(io::ErrorKind::WriteZero.into()),
            taken => Ok(taken),
        }
    }

    /// True if everything that was taken has left.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(Tls { connection, .. }) = self.tls.as_deref_mut() else { return Ok(true) };
        while self.has_room && connection.wants_write() {
            self.has_room = unless_blocked(|| connection.write_tls(&mut self.tcp))?.is_some();
        }
        Ok(!connection.wants_write())
    }

    /// Nothing more is written; true once the other machine has been told.
    pub(super) fn close(&mut self) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls
            && !tls.has_said_goodbye
        {
            tls.has_said_goodbye = true;
            tls.connection.send_close_notify();
        }
        if !self.flush()? {
            return Ok(false);
        }
        self.tcp.shutdown(Shutdown::Write).map(|()| true)
    }
}

/// These two are system calls and nothing else: what `std` asks, the C library, marks the thread as one that may be
/// cancelled for each, which costs a percent of a message. A broken pipe is no signal, because Rust's runtime ignores it.
#[inline]
fn receive(tcp: &TcpStream, place: &mut [u8]) -> io::Result<usize> {
    let (size, _) = net::recv(tcp, place, RecvFlags::empty())?;
    Ok(size)
}

#[inline]
fn send(tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(tcp, bytes, SendFlags::empty())?)
}

/// `None` if it would have to wait.
#[inline]
fn unless_blocked(mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match attempt() {
            Ok(size) => return Ok(Some(size)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
