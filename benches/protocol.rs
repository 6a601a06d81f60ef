//! What one request costs before any network: signatures, parameters, routing, choosing, rendering.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use usher::bbb::{self, Algorithm, Call, Params};
use usher::clock::Millis;
use usher::config::{Config, WhenFull};
use usher::ids::{BbbMeetingId, InternalId, MeetingId, MeetingKey, Secret, ServerId, TenantId};
use usher::limit::{Claim, Limiter};
use usher::metrics::Metrics;
use usher::placement::{Confirmed, Ledger, LedgerSettings, Wish};
use usher::pool::Health;
use usher::proxy::Route;
use usher::store::{Confirmation, ServerRecord};
use usher::tenant::TenantLimits;

const QUERY: &str = "fullName=J%C3%BCrgen+M%C3%BCller&meetingID=physics-101&role=VIEWER&userID=4711&redirect=true";
const NOW: Millis = Millis(1_900_000_000_000);

fn signatures(c: &mut Criterion) {
    let secrets = [Secret::new("s3cr3t-Rust-LB-0001"), Secret::new("s3cr3t-Rust-LB-0002")];
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
        let given = bbb::sign("join", QUERY, &secrets[0], algorithm);
        c.bench_function(&format!("verify {algorithm}"), |b| {
            b.iter(|| {
                bbb::verify("join", QUERY.as_bytes(), given.as_bytes(), black_box(&secrets).iter(), &Algorithm::ALL)
            });
        });
    }
    c.bench_function("sign sha256", |b| b.iter(|| bbb::sign("join", black_box(QUERY), &secrets[0], Algorithm::Sha256)));
    let received = format!("{QUERY}&checksum={}", bbb::sign("join", QUERY, &secrets[0], Algorithm::Sha256));
    c.bench_function("strip checksum", |b| b.iter(|| bbb::strip_checksum(black_box(received.as_bytes()))));
}

fn parameters(c: &mut Criterion) {
    c.bench_function("parse query", |b| b.iter(|| Params::parse(black_box(QUERY.as_bytes()), 512)));
    let params = Params::parse(QUERY.as_bytes(), 512).expect("few parameters");
    c.bench_function("write query", |b| b.iter(|| black_box(&params).to_query()));
}

fn routing(c: &mut Criterion) {
    for path in ["/bigbluebutton/api/join", "/t/moodle/bigbluebutton/api/getMeetings", "/favicon.ico"] {
        c.bench_function(&format!("route {path}"), |b| b.iter(|| Route::of(black_box(path))));
    }
    c.bench_function("name a call", |b| b.iter(|| Call::from_segment(black_box("getMeetings"))));
}

fn server(id: i64) -> ServerRecord {
    ServerRecord {
        id: ServerId(id),
        ..ServerRecord::new(
            format!("bbb{id}"),
            format!("https://bbb{id}.example.org/bigbluebutton/api/"),
            Secret::new("secret"),
        )
    }
}

fn wish(number: u32) -> Wish {
    let key = MeetingKey { tenant: TenantId(1), meeting: MeetingId::new(format!("room-{number}")) };
    let bbb_id = BbbMeetingId::new(key.meeting.as_str());
    Wish { when_full: WhenFull::Accept, ..Wish::new(key, bbb_id) }
}

/// A ledger with `servers` servers that are up and `meetings` confirmed meetings.
fn pool(servers: i64, meetings: u32) -> Ledger {
    let load = Config::builtin().load;
    let ledger = Ledger::new(LedgerSettings { load, ..LedgerSettings::default() });
    ledger.set_servers((1..=servers).map(server).collect(), NOW);
    for id in 1..=servers {
        ledger.set_health(ServerId(id), Health::Up, NOW);
    }
    for number in 0..meetings {
        let wish = wish(number);
        let Ok(choice) = ledger.choose(&wish, NOW) else { continue };
        let fragment = format!(
            "<meeting><meetingName>Room {number}</meetingName><meetingID>room-{number}</meetingID>{}</meeting>",
            "<attendees><attendee><userID>w_abcdefghijkl</userID><fullName>Ann</fullName></attendee></attendees>"
                .repeat(5)
        );
        let confirmed = Confirmed {
            confirmation: Confirmation {
                internal_id: InternalId::new(format!("{number:040x}-1900000000000")),
                create_time: NOW.0,
                attendee_pw: None,
                moderator_pw: None,
            },
            fragment: Bytes::from(fragment),
            created_at: NOW,
        };
        ledger.confirm(&wish.key, choice.server, confirmed);
    }
    ledger
}

fn placing(c: &mut Criterion) {
    let large = pool(500, 20_000);
    let mut next = 1_000_000;
    c.bench_function("choose among 500 servers with 20000 meetings, and give back", |b| {
        b.iter_batched(
            || {
                next += 1;
                wish(next)
            },
            |wish| {
                if let Ok(choice) = large.choose(&wish, NOW) {
                    large.cancel(&wish.key, choice.server);
                }
            },
            BatchSize::SmallInput,
        );
    });
    let limits = TenantLimits::default();
    for (name, ledger) in [("20000 meetings", &large), ("one meeting", &pool(1, 1))] {
        let key = wish(0).key;
        c.bench_function(&format!("admit a join, {name}"), |b| {
            let mut now = NOW;
            b.iter(|| {
                now = Millis(now.0 + 61_000); // so that joins on their way do not pile up
                ledger.admit_join(&key, &limits, now).is_ok()
            });
        });
    }
    c.bench_function("tick 20000 meetings", |b| b.iter(|| large.tick(NOW)));
}

fn rendering(c: &mut Criterion) {
    let ledger = pool(20, 200);
    c.bench_function("getMeetings with 200 meetings", |b| {
        b.iter(|| {
            let picture = ledger.meetings_of(TenantId(1));
            bbb::meetings(picture.fragments.iter().map(|fragment| &fragment.xml))
        });
    });
    let picture = ledger.meetings_of(TenantId(1));
    let listed = bbb::meetings(picture.fragments.iter().map(|fragment| &fragment.xml));
    c.bench_function("read a poll of 200 meetings", |b| b.iter(|| bbb::read_meetings(black_box(&listed))));
}

fn limits(c: &mut Criterion) {
    let metrics = Metrics::new().expect("metrics have different names");
    let (limiter, config) = (Limiter::new(&metrics), Config::builtin());
    let client = Some(IpAddr::from([192, 0, 2, 1]));
    let now = Instant::now();
    let checksum = [b'a'; 64];
    c.bench_function("count a connection", |b| b.iter(|| limiter.connect(black_box(client), &config, now)));
    c.bench_function("count a join", |b| b.iter(|| limiter.join(black_box(client), &checksum, &config, now)));
    c.bench_function("count an unsigned request", |b| {
        b.iter(|| limiter.unsigned(black_box(client), Claim::Nobody, &config, now))
    });
}

criterion_group!(benches, signatures, parameters, routing, placing, rendering, limits);
criterion_main!(benches);
