//! What the two Ushers of an upgrade say to each other: short texts over a Unix socket that keeps messages apart, some
//! with a listening socket attached.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, sendmsg,
    socket_with,
};

/// Bytes of the longest message.
const LONGEST: usize = 512;
/// How long a message may take to be taken.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// The greeting's first words; a later version that says other things takes another number.
pub const HELLO: &str = "usher-upgrade 1";
/// Before the identity of the store, behind the version.
pub const STORE: &str = "store=";
pub const LISTEN: &str = "listen";
pub const ALL: &str = "all";
pub const READY: &str = "ready";
pub const RETIRED: &str = "retired";
pub const REFUSED: &str = "refused";

/// One end of a conversation.
pub struct Line(OwnedFd);

/// A message and what came with it.
pub struct Heard {
    pub text: String,
    pub socket: Option<OwnedFd>,
}

/// Where conversations begin.
pub struct Door(OwnedFd);

fn unix_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Door {
    /// Makes `path`; fails if it is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let socket = unix_socket()?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        listen(&socket, 1)?;
        Ok(Self(socket))
    }

    /// Waits for somebody; with their process id and user id.
    pub fn accept(&self) -> io::Result<(Line, i32, u32)> {
        let socket = accept_with(&self.0, SocketFlags::CLOEXEC)?;
        let who = socket_peercred(&socket)?;
        Ok((Line::new(socket)?, who.pid.as_raw_pid(), who.uid.as_raw()))
    }
}

impl Line {
    pub fn to(path: &Path) -> io::Result<Self> {
        let socket = unix_socket()?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::new(socket)
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        set_socket_timeout(&socket, Timeout::Send, Some(SEND_LIMIT))?;
        Ok(Self(socket))
    }

    pub fn say(&self, text: &str, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let sockets: Vec<BorrowedFd<'_>> = socket.into_iter().collect();
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut attached = SendAncillaryBuffer::new(&mut room);
        if !sockets.is_empty() {
            attached.push(SendAncillaryMessage::ScmRights(&sockets));
        }
        sendmsg(self.0.as_fd(), &[IoSlice::new(text.as_bytes())], &mut attached, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message, within `limit`; `None` if the other end is gone.
    pub fn hear(&self, limit: Duration) -> io::Result<Option<Heard>> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(limit))?;
        let mut text = [0; LONGEST];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut attached = RecvAncillaryBuffer::new(&mut room);
        let into = &mut [IoSliceMut::new(&mut text)];
        let message = match recvmsg(self.0.as_fd(), into, &mut attached, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message,
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        };
        if message.bytes == 0 {
            return Ok(None);
        }
        let socket = attached.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        Ok(Some(Heard { text: String::from_utf8_lossy(&text[..message.bytes]).into_owned(), socket }))
    }
}
