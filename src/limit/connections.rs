//! Connections by address: counted are those for which nobody has spoken.
//!
//! A connection is nobody's until its first request is read. One that carried a signed call is the tenant's, one that
//! carried a request of an accepted session is that session's, and neither counts among those of the address: what is
//! limited is the unsigned and the idle. Each session may have so many; what is more counts again. Sessions that are known
//! at an address widen its share, for what browsers open without saying whose it is.
//!
//! Above all stands half of all connections for one address, so that nobody takes the whole house with stolen links.

use std::net::IpAddr;
use std::time::Instant;

use pingora_limits::inflight::{Guard, Inflight};

use super::address::Caller;
use super::is_exempt;
use super::sessions::{SessionKey, Sessions};
use crate::config::{CONNECTIONS_OF_SESSION, Config, UNTOLD_OF_SESSION};

/// Whose a request is, and with it its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Nobody,
    /// A session that a server has accepted.
    Session(SessionKey),
    /// It is signed.
    Tenant,
}

/// How near a connection is to its address's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    Free,
    /// Over half: answered, and then closed instead of kept for the next request.
    Crowded,
    /// Over: told so, unless somebody speaks for it.
    Over,
}

/// One connection, counted as long as this lives.
pub struct Counted {
    standing: Standing,
    /// Nothing of an address that is exempt.
    all: Option<(Caller, Guard)>,
}

enum Standing {
    Exempt,
    Counted { crowd: Crowd, _guard: Guard },
    Session { key: SessionKey, _guard: Guard },
    Tenant,
}

/// The books.
pub(super) struct Connections {
    /// Nobody's, by address.
    of_nobody: Inflight,
    /// All of an address.
    all: Inflight,
    of_session: Inflight,
}

impl Default for Connections {
    fn default() -> Self {
        Self { of_nobody: Inflight::new(), all: Inflight::new(), of_session: Inflight::new() }
    }
}

impl Counted {
    pub fn crowd(&self) -> Crowd {
        match self.standing {
            Standing::Counted { crowd, .. } => crowd,
            _ => Crowd::Free,
        }
    }

    /// It is booked as that already.
    pub fn is(&self, claim: Claim) -> bool {
        match (claim, &self.standing) {
            (_, Standing::Exempt) | (Claim::Tenant, Standing::Tenant) | (Claim::Nobody, Standing::Counted { .. }) => {
                true
            }
            (Claim::Session(key), Standing::Session { key: known, .. }) => key == *known,
            _ => false,
        }
    }

    /// The session whose it is.
    pub fn session(&self) -> Option<SessionKey> {
        match self.standing {
            Standing::Session { key, .. } => Some(key),
            _ => None,
        }
    }

    pub fn is_exempt(&self) -> bool {
        self.all.is_none()
    }
}

impl Connections {
    /// One more of `peer`, the address that it really comes from.
    pub fn begin(&self, peer: Option<IpAddr>, sessions: &Sessions, config: &Config, now: Instant) -> Counted {
        let is_limited = config.limits.connections_per_address > 0;
        let Some(peer) = peer.filter(|peer| is_limited && !is_exempt(*peer, config)) else {
            return Counted { standing: Standing::Exempt, all: None };
        };
        let caller = Caller::of(peer);
        let (all, _) = self.all.incr(caller, 1);
        let mut counted = Counted { standing: Standing::Exempt, all: Some((caller, all)) };
        self.count(&mut counted, sessions, config, now);
        counted
    }

    /// The connection is whose its present request is.
    pub fn claim(&self, counted: &mut Counted, claim: Claim, sessions: &Sessions, config: &Config, now: Instant) {
        let Some((_, all)) = counted.all.as_ref().filter(|_| !counted.is(claim)) else { return };
        match claim {
            Claim::Tenant => counted.standing = Standing::Tenant,
            Claim::Session(key) => {
                let (guard, open) = self.of_session.incr(key, 1);
                if open <= CONNECTIONS_OF_SESSION as isize && all.get() <= most(config) {
                    counted.standing = Standing::Session { key, _guard: guard };
                } else {
                    drop(guard);
                    self.count(counted, sessions, config, now);
                }
            }
            Claim::Nobody => self.count(counted, sessions, config, now),
        }
    }

    /// Counts it among those of its address for which nobody speaks, if it is not counted yet.
    fn count(&self, counted: &mut Counted, sessions: &Sessions, config: &Config, now: Instant) {
        let Some((caller, all)) = &counted.all else { return };
        if matches!(counted.standing, Standing::Counted { .. }) {
            return;
        }
        let (guard, open) = self.of_nobody.incr(*caller, 1);
        let more = sessions.of(*caller, now) as isize * UNTOLD_OF_SESSION as isize;
        let limit = (config.limits.connections_per_address as isize + more).min(most(config));
        let crowd = match open {
            open if open > limit || all.get() > most(config) => Crowd::Over,
            open if open > (limit + 1) / 2 => Crowd::Crowded,
            _ => Crowd::Free,
        };
        counted.standing = Standing::Counted { crowd, _guard: guard };
    }
}

/// What one address may have in all.
fn most(config: &Config) -> isize {
    (config.limits.connections / 2).max(config.limits.connections_per_address) as isize
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    use super::super::sessions::Mark;

    struct World {
        connections: Connections,
        sessions: Sessions,
        config: Config,
        now: Instant,
    }

    impl World {
        /// With the settings that are shipped.
        fn new() -> Self {
            let config = Config::load(None, std::iter::empty()).unwrap();
            Self { connections: Connections::default(), sessions: Sessions::default(), config, now: Instant::now() }
        }

        fn open(&self, claim: Claim) -> Counted {
            let peer = Some(IpAddr::from([192, 0, 2, 1]));
            let mut counted = self.connections.begin(peer, &self.sessions, &self.config, self.now);
            self.claim(&mut counted, claim);
            counted
        }

        fn claim(&self, counted: &mut Counted, claim: Claim) {
            self.connections.claim(counted, claim, &self.sessions, &self.config, self.now);
        }

        fn session(&self, number: usize) -> Claim {
            let client = Some(IpAddr::from([192, 0, 2, 1]));
            Claim::Session(self.sessions.accept(Mark::Token, &number.to_le_bytes(), client, self.now))
        }
    }

    #[test]
    fn what_somebody_speaks_for_is_not_counted() {
        let world = World::new();
        let share = world.config.limits.connections_per_address;
        let mut idle: Vec<_> = (0..share).map(|_| world.open(Claim::Nobody)).collect();
        assert_eq!(idle.last().unwrap().crowd(), Crowd::Crowded);
        assert_eq!(world.open(Claim::Nobody).crowd(), Crowd::Over);
        let signed: Vec<_> = (0..500).map(|_| world.open(Claim::Tenant)).collect();
        assert!(signed.iter().all(|counted| counted.crowd() == Crowd::Free));
        let people: Vec<_> = (0..5000)
            .map(|number| (world.session(number), [0; 3].map(|_| world.open(world.session(number)))))
            .collect();
        assert!(people.iter().flat_map(|(_, open)| open).all(|counted| counted.crowd() == Crowd::Free));
        // The address's share has grown with them; a connection may change hands.
        let mut more = world.open(Claim::Nobody);
        assert_ne!(more.crowd(), Crowd::Over);
        world.claim(&mut more, people[0].0);
        world.claim(&mut more, Claim::Nobody);
        assert_ne!(more.crowd(), Crowd::Over);
        // Nothing is left when all have gone.
        idle.clear();
        drop((more, people, signed));
        let caller = Caller::of(IpAddr::from([192, 0, 2, 1]));
        assert_eq!((world.connections.all.incr(caller, 1).1, world.connections.of_nobody.incr(caller, 1).1), (1, 1));
    }

    #[test]
    fn a_session_is_no_key_to_the_whole_house() {
        let world = World::new();
        let session = world.session(1);
        let share = world.config.limits.connections_per_address + UNTOLD_OF_SESSION;
        let held: Vec<_> = (0..CONNECTIONS_OF_SESSION + share).map(|_| world.open(session)).collect();
        assert!(held.iter().all(|counted| counted.crowd() != Crowd::Over));
        assert_eq!(world.open(session).crowd(), Crowd::Over, "a session more than its own");
        drop(held);
        // Nor are thousands of sessions of one address.
        let most = most(&world.config) as usize;
        assert_eq!(most, world.config.limits.connections / 2);
        let held: Vec<_> = (0..most).map(|number| world.open(world.session(number / 8))).collect();
        assert!(held.iter().all(|counted| counted.crowd() == Crowd::Free));
        assert_eq!(world.open(world.session(0)).crowd(), Crowd::Over);
        assert_eq!(world.open(Claim::Tenant).crowd(), Crowd::Free, "signed calls never count");
    }
}
