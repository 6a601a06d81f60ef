//! Sockets with little to say: SFU signalling, etherpad's socket.io, and those that repeat what they hear (SIP,
//! LiveKit, shared notes).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::super::server::Shared;
use super::SimClient;
use super::socket::{Act, Kind};

/// Says every message back.
pub(super) struct Echo;

impl Kind for Echo {
    fn hear(&mut self, _shared: &Shared, message: &Message) -> Vec<Act> {
        vec![Act::Say(message.clone())]
    }
}

/// bbb-webrtc-sfu: pings a silent client, and ends the connection if no pong comes (bbb-http-surface.md section 2.5).
pub(super) struct Sfu {
    ping: Duration,
    pong: Duration,
    heard_at: Instant,
    /// Set while a pong is awaited.
    pinged_at: Option<Instant>,
}

impl Sfu {
    pub(super) fn new(client: &SimClient) -> Self {
        Self { ping: client.sfu_ping, pong: client.sfu_pong, heard_at: Instant::now(), pinged_at: None }
    }
}

impl Kind for Sfu {
    fn hear(&mut self, _shared: &Shared, message: &Message) -> Vec<Act> {
        self.heard_at = Instant::now();
        let Message::Text(text) = message else { return Vec::new() };
        let heard: Value = serde_json::from_str(text).unwrap_or_default();
        let answer = match heard["id"].as_str() {
            Some("ping") => json!({"id": "pong"}),
            Some("start" | "subscribe") => json!({
                "id": "startResponse", "type": heard["type"], "role": heard["role"], "response": "accepted",
                "sdpAnswer": "v=0\r\n",
            }),
            Some("stop" | "onIceCandidate" | "iceCandidate") => return Vec::new(),
            _ => json!({"id": "error", "code": 2200, "message": "SFU_INVALID_REQUEST"}),
        };
        vec![Act::Say(Message::text(answer.to_string()))]
    }

    fn pong(&mut self) {
        self.heard_at = Instant::now();
        self.pinged_at = None;
    }

    fn tick(&mut self, _shared: &Shared) -> Vec<Act> {
        match self.pinged_at {
            Some(asked) if asked.elapsed() > self.pong => vec![Act::Drop],
            None if self.heard_at.elapsed() >= self.ping => {
                self.pinged_at = Some(Instant::now());
                vec![Act::Say(Message::Ping("sfu".into()))]
            }
            _ => Vec::new(),
        }
    }

    fn period(&self) -> Duration {
        self.ping.min(self.pong) / 4
    }

    fn limit(&self) -> usize {
        51_200
    }
}

/// etherpad: opens as engine.io does, answers its probe, says messages back.
pub(super) struct Pad;

impl Kind for Pad {
    fn open(&mut self) -> Vec<Act> {
        let hello = r#"0{"sid":"simulated","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;
        vec![Act::Say(Message::text(hello))]
    }

    fn hear(&mut self, _shared: &Shared, message: &Message) -> Vec<Act> {
        let Message::Text(text) = message else { return Vec::new() };
        let answer = match text.as_str() {
            "2probe" => "3probe".to_owned(),
            "2" => "3".to_owned(),
            "40" => r#"40{"sid":"simulated"}"#.to_owned(),
            event if event.starts_with("42") => event.to_owned(),
            _ => return Vec::new(),
        };
        vec![Act::Say(Message::text(answer))]
    }
}
