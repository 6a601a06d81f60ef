//! When a relay has been silent for too long, without a look at the clock for each message.
//!
//! A timer rings every sixteenth of the time that silence may last, and asks whether bytes have moved since. Only when
//! none have, the rest of the time is waited for at once. So silence ends a relay after its time, and at most a sixteenth
//! later.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Looks within the time that silence may last.
const LOOKS: u32 = 16;
/// How long a connection may be silent that one side has closed. It only waits for the end of an answer.
pub const HALF_CLOSED: Duration = Duration::from_secs(120);

pub struct Silence {
    limit: Duration,
    is_half: bool,
    /// Bytes have moved since the timer was set.
    has_moved: bool,
    /// Nothing has moved for a sixteenth of the time; the timer rings at the end of the rest.
    is_counting: bool,
}

impl Silence {
    pub fn new(limit: Duration) -> Self {
        Self { limit, is_half: false, has_moved: false, is_counting: false }
    }

    /// Until the first look.
    pub fn first(&self) -> Duration {
        self.limit / LOOKS
    }

    /// Takes note that bytes have moved; `poll` comes before the next ones or when the timer rings.
    pub fn is_broken(&mut self) {
        self.has_moved = true;
    }

    /// True if the timer is set as it should be, however much has moved.
    pub fn can_wait(&self, is_half: bool) -> bool {
        !self.is_counting && self.is_half == is_half
    }

    /// Ready when silence has lasted too long; `is_half` once one side has closed.
    pub fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, is_half: bool) -> Poll<()> {
        if is_half && !self.is_half {
            (self.is_half, self.limit) = (true, self.limit.min(HALF_CLOSED));
            self.look_again(timer.as_mut());
        } else if self.has_moved && self.is_counting {
            self.look_again(timer.as_mut());
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if self.has_moved {
                self.look_again(timer.as_mut());
            } else if self.is_counting {
                return Poll::Ready(());
            } else {
                self.is_counting = true;
                timer.as_mut().reset(Instant::now() + (self.limit - self.first()));
            }
        }
    }

    fn look_again(&mut self, timer: Pin<&mut Sleep>) {
        (self.has_moved, self.is_counting) = (false, false);
        timer.reset(Instant::now() + self.first());
    }
}
