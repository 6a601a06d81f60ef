//! What must hold for everything a TLS client may begin with (src/l4/client_hello.rs). The judge is rustls, which reads
//! ClientHellos for a living.
//!
//! An input is how the bytes come, in its first line, and the bytes. Each byte of that line is the end of a piece, in
//! 256ths of the whole.

use rustls::server::Acceptor;
use usher::l4::client_hello::{Hello, MAX_HELLO, Reader, Reading, host_name};

pub fn check(data: &[u8]) {
    let Some(line_end) = data.iter().position(|&byte| byte == b'\n') else { return };
    let (cuts, bytes) = (&data[..line_end], &data[line_end + 1..]);
    let whole = Reader::default().read(bytes);
    assert_eq!(in_pieces(bytes, cuts), whole, "the pieces make a difference");
    match &whole {
        Reading::Hello(hello) => {
            is_sound(hello);
            assert_eq!(Reader::default().read(&written(hello)), whole, "what is written reads back equal");
            let behind = [bytes, b"and more"].concat();
            assert_eq!(Reader::default().read(&behind), whole, "what comes later changes nothing");
            judged(bytes, hello);
        }
        Reading::NeedsMore => assert!(bytes.len() < MAX_HELLO),
        Reading::NotTls => {
            let behind = [bytes, b"\x16\x03\x01"].concat();
            assert_eq!(Reader::default().read(&behind), Reading::NotTls, "refused for good");
        }
    }
}

/// A reader that has decided is not asked again, and has not decided on less than it needs.
fn in_pieces(bytes: &[u8], cuts: &[u8]) -> Reading {
    let mut ends: Vec<usize> = cuts.iter().map(|&cut| bytes.len() * usize::from(cut) / 256).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    let mut reader = Reader::default();
    for end in ends {
        let reading = reader.read(&bytes[..end]);
        if reading != Reading::NeedsMore {
            return reading;
        }
    }
    Reading::NeedsMore
}

fn is_sound(hello: &Hello) {
    if let Some(name) = &hello.name {
        assert_eq!(host_name(name.as_bytes()).as_ref(), Some(name), "a name, in lower case");
        assert!(!name.is_empty() && !name.starts_with('.') && !name.contains(".."));
    }
    for protocol in hello.protocols() {
        assert!(!protocol.is_empty() && hello.offers(protocol));
    }
}

/// A ClientHello of another client with the same wishes.
fn written(hello: &Hello) -> Vec<u8> {
    let list = |content: &[u8]| [&(content.len() as u16).to_be_bytes()[..], content].concat();
    let mut extensions = Vec::new();
    let protocols: Vec<u8> = hello.protocols().flat_map(|one| [&[one.len() as u8], one].concat()).collect();
    if !protocols.is_empty() {
        extensions.extend([&[0, 16][..], &list(&list(&protocols))].concat());
    }
    if let Some(name) = &hello.name {
        let entry = [&[0][..], &list(name.as_bytes())].concat();
        extensions.extend([&[0, 0][..], &list(&list(&entry))].concat());
    }
    let body = [&[3, 1][..], &[8; 32], &[1, 5, 0, 4, 0x13, 1, 0x13, 2, 1, 0], &list(&extensions)].concat();
    let length = u32::try_from(body.len()).expect("a short one").to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    message.chunks(1000).flat_map(|chunk| [&[22, 3, 3][..], &list(chunk)].concat()).collect()
}

/// What another reader takes for a ClientHello asks for the same.
fn judged(bytes: &[u8], hello: &Hello) {
    let mut acceptor = Acceptor::default();
    let mut left = bytes;
    while !left.is_empty() {
        let Ok(1..) = acceptor.read_tls(&mut left) else { return };
        match acceptor.accept() {
            Ok(None) => {}
            Err(_) => return,
            Ok(Some(accepted)) => {
                let theirs = accepted.client_hello();
                // It gives no name where it would not know a host by it, such as an address.
                if let Some(name) = theirs.server_name() {
                    let name = name.trim_end_matches('.').to_ascii_lowercase();
                    assert_eq!(hello.name.as_deref(), Some(name.as_str()));
                }
                let protocols: Vec<&[u8]> = theirs.alpn().into_iter().flatten().collect();
                assert!(hello.protocols().eq(protocols), "other protocols");
                return;
            }
        }
    }
}
