//! A university behind one address, by the shipped settings and on a clock of its own.

use std::time::{Duration, Instant};

use super::*;

const PEOPLE: u32 = 5000;
const FILES: u32 = 40;

struct World {
    limiter: Limiter,
    config: Config,
}

const NAT: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

impl World {
    fn new() -> Self {
        let metrics = Metrics::new().unwrap();
        Self { limiter: Limiter::new(&metrics), config: Config::load(None, std::iter::empty()).unwrap() }
    }

    fn accept(&self, person: u32, now: Instant) -> Claim {
        Claim::Session(self.limiter.sessions.accept(Mark::Token, &person.to_le_bytes(), NAT, now))
    }

    fn carried(&self, claim: Claim, now: Instant) -> bool {
        self.limiter.carried(NAT, claim, &self.config, now).is_ok()
    }

    /// Everybody within a minute; the files are asked for as `of` says. What was refused.
    fn lecture(&self, of: impl Fn(Claim) -> Claim) -> [usize; 3] {
        let start = Instant::now();
        let (mut open, mut refused) = (Vec::new(), [0; 3]);
        for person in 0..PEOPLE {
            let now = start + Duration::from_secs(60) * person / PEOPLE;
            // The signed join, the same at its server, and the page.
            let mut connection = self.limiter.connect(NAT, &self.config, now);
            refused[0] += usize::from(connection.crowd() == Crowd::Over);
            self.limiter.claim(&mut connection, Claim::Tenant, &self.config, now);
            refused[1] += usize::from(!self.carried(Claim::Tenant, now));
            let session = self.accept(person, now);
            let own = of(session);
            self.limiter.claim(&mut connection, own, &self.config, now);
            open.push(connection);
            let requests = 1 + FILES + 1;
            refused[1] += (0..requests).filter(|_| !self.carried(own, now)).count();
            for _ in 0..2 {
                let mut socket = self.limiter.connect(NAT, &self.config, now);
                refused[1] += usize::from(!self.carried(own, now));
                self.limiter.claim(&mut socket, own, &self.config, now);
                refused[2] += usize::from(socket.crowd() == Crowd::Over);
                open.push(socket);
            }
        }
        refused
    }
}

#[test]
fn a_university_gets_in_within_a_minute() {
    assert_eq!(World::new().lecture(|session| session), [0; 3], "all say whose they are");
    assert_eq!(World::new().lecture(|_| Claim::Nobody), [0; 3], "nobody says so after the join");
}

#[test]
fn a_neighbour_who_floods_hurts_no_session_and_nothing_that_is_signed() {
    let (world, now) = (World::new(), Instant::now());
    let honest = world.accept(1, now);
    let idle: Vec<_> = (0..3000).map(|_| world.limiter.connect(NAT, &world.config, now)).collect();
    assert!(idle.iter().filter(|connection| connection.crowd() == Crowd::Over).count() > 900);
    let taken = (0..50_000).filter(|_| world.carried(Claim::Nobody, now)).count();
    assert!((10_000..10_100).contains(&taken), "{taken}");
    assert!((0..100).all(|_| world.carried(honest, now)));
    assert!((0..10_000).all(|_| world.carried(Claim::Tenant, now)));
}

/// Each session has its own, and beyond that it is its address's.
#[test]
fn a_session_is_bounded_too() {
    let (world, now) = (World::new(), Instant::now());
    let greedy = world.accept(1, now);
    let own = world.config.limits.carried_per_session as usize * 10;
    let of_address = (world.config.limits.carried_per_address + CARRIED_UNTOLD_OF_SESSION) as usize * 10;
    let taken = (0..100_000).filter(|_| world.carried(greedy, now)).count();
    assert!((own + of_address..own + of_address + 100).contains(&taken), "{taken}");
    let other = world.accept(2, now);
    assert!(world.carried(other, now));
}
