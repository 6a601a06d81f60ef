//! One end of a relay: a socket that is asked only when it said that there is something to ask for, with or without TLS.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use bytes::{Buf, BytesMut};
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
    /// What few plain sockets and all with TLS have.
    more: Option<Box<More>>,
}

struct More {
    /// Read from the socket already, by somebody before us.
    ahead: BytesMut,
    tls: Option<Connection>,
    has_said_goodbye: bool,
}

impl End {
    /// A plain connection; `ahead` was read from it before.
    pub fn plain(tcp: tokio::net::TcpStream, ahead: BytesMut) -> io::Result<Self> {
        Self::new(tcp, ahead, None)
    }

    /// A connection with TLS after its handshake; `ahead` was read from the socket before, but not by TLS.
    pub fn secure(tcp: tokio::net::TcpStream, ahead: BytesMut, tls: Connection) -> io::Result<Self> {
        Self::new(tcp, ahead, Some(tls))
    }

    fn new(tcp: tokio::net::TcpStream, ahead: BytesMut, tls: Option<Connection>) -> io::Result<Self> {
        let tcp = TcpStream::from_std(tcp.into_std()?);
        let has_more_to_it = !ahead.is_empty() || tls.is_some();
        let more = has_more_to_it.then(|| Box::new(More { ahead, tls, has_said_goodbye: false }));
        Ok(Self { tcp, has_more: true, is_ending: false, has_room: true, more })
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
        if self.more.is_some() {
            return self.read_more(place);
        }
        let size = unless_blocked(|| receive(&self.tcp, place))?;
        // Less than there was room for was all there was.
        self.has_more = size.is_some_and(|size| size == place.len() || self.is_ending);
        Ok(size)
    }

    fn read_more(&mut self, place: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(more) = &mut self.more else { return Ok(None) };
        let mut raw = Raw { tcp: &mut self.tcp, ahead: &mut more.ahead };
        let Some(tls) = &mut more.tls else {
            let size = unless_blocked(|| raw.read(place));
            if more.ahead.is_empty() {
                self.more = None;
            }
            return size;
        };
        if let Some(size) = unless_blocked(|| tls.reader().read(place))? {
            return Ok(Some(size));
        }
        if unless_blocked(|| tls.read_tls(&mut raw))?.is_none() {
            self.has_more = false;
            return Ok(None);
        }
        let outcome = tls.process_new_packets();
        // TLS may have something to say about it.
        while tls.wants_write() && unless_blocked(|| tls.write_tls(&mut raw.tcp))?.is_some() {}
        outcome.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // What has come need not be a whole record, nor one with bytes in it.
        unless_blocked(|| tls.reader().read(place))
    }

    /// Bytes taken, at least one; `None` if there is no room now.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        // Nothing is taken before what was taken has left.
        if !self.flush()? || !self.has_room {
            return Ok(None);
        }
        let taken = match self.more.as_mut().and_then(|more| more.tls.as_mut()) {
            None => unless_blocked(|| send(&self.tcp, bytes))?,
            Some(tls) => {
                let taken = tls.writer().write(bytes)?;
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
        let Some(tls) = self.more.as_mut().and_then(|more| more.tls.as_mut()) else { return Ok(true) };
        while self.has_room && tls.wants_write() {
            self.has_room = unless_blocked(|| tls.write_tls(&mut self.tcp))?.is_some();
        }
        Ok(!tls.wants_write())
    }

    /// Nothing more is written; true once the other machine has been told.
    pub(super) fn close(&mut self) -> io::Result<bool> {
        if let Some(more) = &mut self.more
            && let Some(tls) = &mut more.tls
            && !more.has_said_goodbye
        {
            more.has_said_goodbye = true;
            tls.send_close_notify();
        }
        if !self.flush()? {
            return Ok(false);
        }
        self.tcp.shutdown(Shutdown::Write).map(|()| true)
    }
}

/// The socket, behind what was read from it before.
struct Raw<'a> {
    tcp: &'a mut TcpStream,
    ahead: &'a mut BytesMut,
}

impl Read for Raw<'_> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            return self.tcp.read(place);
        }
        let size = self.ahead.len().min(place.len());
        self.ahead.copy_to_slice(&mut place[..size]);
        Ok(size)
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
