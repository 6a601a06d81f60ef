//! Issue point 3: what is accepted as a signature, and how servers are signed to.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use usher::sim::HashName;

use crate::harness::{Answer, Builder, FrontEnd, Pool, TenantBuilder, eventually};

/// The secret of the vectors in bbb-api.md section 2.8.
const S1: &str = "s3cr3t-Rust-LB-0001";

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-1, 256, 384, 512 of the same call.
fn digests(call: &str, query: &str, secret: &str) -> [String; 4] {
    let text = format!("{call}{query}{secret}");
    [hex(Sha1::digest(&text)), hex(Sha256::digest(&text)), hex(Sha384::digest(&text)), hex(Sha512::digest(&text))]
}

async fn fetch(moodle: &FrontEnd, call: &str, query: &str) -> Answer {
    moodle.fetch(&format!("{}/{call}?{query}", moodle.api)).await
}

async fn with_s1() -> (Pool, FrontEnd) {
    let pool = Builder::new(1).tenants(vec![TenantBuilder::new("main", S1, &[])]).start().await;
    let moodle = pool.front_end();
    (pool, moodle)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vectors_of_the_reference_are_accepted() {
    let (pool, moodle) = with_s1().await;
    for (call, query, digest, key) in [
        ("getMeetings", "", "0475c880b9cb93e9c053199826881adff1c045b8", "noMeetings"),
        ("getMeetings", "", "365bc0145a0fdff72ddf097fb0a5f0dbfdc416722011072d5ac70aca8e5f6e6a", "noMeetings"),
        (
            "getMeetings",
            "",
            "b52f8e6a17c3141466a8409c6bf13139ef0c4c9ac778379dc320f7dedbc8e77e425998459efbad05ddf2352127a959f2",
            "noMeetings",
        ),
        (
            "getMeetings",
            "",
            "493b9985ac66c8d656914af085b27b8dcdd2180dc67db0a424aca7f9a4d9a3f4cee25880709a1c38ad5558652fad41e95f4d122e62469e3e01269924e1020292",
            "noMeetings",
        ),
        (
            "create",
            "name=Physics+101&meetingID=phy-101&record=true",
            "69b8a37da06996dd633e83d33c04910bba2f4eb41b3bd55e9fa59da97315285b",
            "",
        ),
        (
            "create",
            "name=Physics%20101&meetingID=phy-101&record=true",
            "e026f92165513542fe34ee5ca85070b6d16b6e70b992d738a3bb8da58eb9f457",
            "duplicateWarning",
        ),
        (
            "create",
            "meetingID=phy-101&name=Physics+101&record=true",
            "3b8bbd7b36dd8c7f23311acdc2c4e298f3bdd5d7107a87475e6a5bc351df1c39",
            "duplicateWarning",
        ),
        ("isMeetingRunning", "meetingID=phy-101", "4addb9df21b798f6dd66f7a70a6d8456a00676f2", ""),
        ("isMeetingRunning", "meetingID=a1&meetingID=b2", "b204cc89e1d1f4f71dc90e4f9121d04589468468", ""),
        ("getMeetingInfo", "meetingID=phy-101", "be44e57b581cb9fd37ee9a2ad4cb3929fb7d381f04991f3c6a980a5b7b97088b", ""),
        (
            "getRecordings",
            "recordID=0f00ba47aa5b3a6ad0e51c1f6ffb5d7b3b5a8c11-1700000000000,77aa&state=published,unpublished&meta_course=bio",
            "9f7f7c23240d450a4c9655a301c1b1a31708fd571a9faa8d0287e335ef4450ec",
            "noRecordings",
        ),
    ] {
        let signed = if query.is_empty() { format!("checksum={digest}") } else { format!("{query}&checksum={digest}") };
        let answer = fetch(&moodle, call, &signed).await;
        assert_eq!(
            (answer.returncode().as_str(), answer.key().as_str()),
            ("SUCCESS", key),
            "{call} {query}: {}",
            answer.body
        );
        // One digit off.
        let wrong =
            signed.replace(digest, &digest.replacen(&digest[..1], if digest.starts_with('a') { "b" } else { "a" }, 1));
        assert_eq!(fetch(&moodle, call, &wrong).await.key(), "checksumError", "{wrong}");
    }
    for (query, digest) in [
        (
            "fullName=J%C3%BCrgen+M%C3%BCller&meetingID=phy-101&role=VIEWER&redirect=false",
            "707d555dc9d2f5fb289cddb25793e4611950ddd1ba74972d80f9fa8a19347749",
        ),
        (
            "fullName=J%c3%bcrgen+M%c3%bcller&meetingID=phy-101&role=VIEWER&redirect=false",
            "d7f8a964a7ff37000bdd96eddcc25f9fbdbfc513674c7a64262d77054cabf34b",
        ),
        (
            "&fullName=Ann&meetingID=phy-101&role=VIEWER&redirect=true&existingUserID=w_abcdefghijkl",
            "9457d4ede25ba849a3e21819bc7d1a1c17c7c4de",
        ),
    ] {
        let answer = fetch(&moodle, "join", &format!("{query}&checksum={digest}")).await;
        assert!(answer.headers["location"].starts_with(&pool.servers[0].url()), "{query}: {:?}", answer.headers);
    }
    // Era B: the sorted body.
    let form = "name=Physics+101&meetingID=phy-101&attendeePW=ap&moderatorPW=mp";
    let answer = post_form(&moodle, "create", "checksum=a3b9934e7957ccfb7d988372879c22de9239575b", form).await;
    assert_eq!(answer.key(), "idNotUnique", "accepted, and other passwords than the meeting's: {}", answer.body);
    // The text track's, whose body is not signed.
    let query = "recordID=abc-1700000000000&kind=subtitles&lang=en-US&checksum=2f8f31af5614568e37eebdcbf1717e442c9f633ebad2829a3c47fd7c18311abe";
    let request = moodle.http.post(format!("{}/putRecordingTextTrack?{query}", moodle.api));
    let request = request.header("content-type", "multipart/form-data; boundary=b").body("--b--\r\n");
    assert!(moodle.send(request).await.body.contains("noRecordings"));
}

async fn post_form(moodle: &FrontEnd, call: &str, query: &str, body: &str) -> Answer {
    let request = moodle.http.post(format!("{}/{call}?{query}", moodle.api));
    moodle.send(request.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_documented_vector_is_accepted() {
    let secret = "639259d4-9dd8-4b25-bf01-95f9567eaf4b";
    let pool = Builder::new(1).tenants(vec![TenantBuilder::new("main", secret, &[])]).start().await;
    let query = "name=Test+Meeting&meetingID=abc123&attendeePW=111222&moderatorPW=333444&checksum=1fcbb0c4fc1f039f73aa6d697d2db9ba7f803f17";
    assert_eq!(fetch(&pool.front_end(), "create", query).await.returncode(), "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_may_stand_anywhere_in_any_case() {
    let (_pool, moodle) = with_s1().await;
    let query = "name=Room&meetingID=room&meta_a=b";
    for digest in digests("create", query, S1) {
        for signed in [
            format!("checksum={digest}&{query}"),
            query.replace("&meta", &format!("&checksum={digest}&meta")),
            format!("{query}&checksum={digest}"),
            format!("{query}&checksum={}", digest.to_uppercase()),
        ] {
            let answer = fetch(&moodle, "create", &signed).await;
            assert_eq!(answer.returncode(), "SUCCESS", "{signed}: {}", answer.body);
        }
        for wrong in [
            query.to_owned(),
            format!("{query}&checksum="),
            format!("{query}&checksum={}", &digest[1..]),
            format!("{query}&checksum={digest}0"),
            format!("{query}&Checksum={digest}"),
            format!("{query}&more=1&checksum={digest}"),
            format!("{query}&&checksum={digest}"),
            format!("name=Room&meta_a=b&meetingID=room&checksum={digest}"),
            query.replace("Room", "%52oom") + &format!("&checksum={digest}"),
        ] {
            assert_eq!(fetch(&moodle, "create", &wrong).await.key(), "checksumError", "{wrong}");
        }
        // Signed for one call, sent to another.
        let replayed = fetch(&moodle, "getMeetingInfo", &format!("{query}&checksum={digest}")).await;
        assert_eq!(replayed.key(), "checksumError");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_rolled_over_without_an_outage() {
    let pool = Builder::new(1).start().await;
    let old = pool.front_end();
    let new = FrontEnd::new(&old.api, "the-new-secret");
    assert_eq!(new.get("getMeetings", "").await.key(), "checksumError");
    pool.cli_ok(&["tenant", "secret", "add", "main", "--secret", "the-new-secret"]);
    eventually("the new secret is taken", || async {
        (new.get("getMeetings", "").await.key() == "noMeetings").then_some(())
    })
    .await;
    assert_eq!(old.get("getMeetings", "").await.key(), "noMeetings", "the old one still works");
    let listed: serde_json::Value =
        serde_json::from_str(&pool.cli_ok(&["--json", "tenant", "secret", "list", "main", "--reveal"])).unwrap();
    let secrets = listed.as_array().or_else(|| listed["secrets"].as_array()).unwrap().clone();
    let first = secrets.iter().find(|secret| secret["secret"] == old.secret).unwrap();
    pool.cli_ok(&["tenant", "secret", "retire", "main", &first["id"].to_string()]);
    eventually("the old secret is refused", || async {
        (old.get("getMeetings", "").await.key() == "checksumError").then_some(())
    })
    .await;
    assert_eq!(new.get("getMeetings", "").await.key(), "noMeetings");
    assert_eq!(FrontEnd::new(&old.api, "").get("getMeetings", "").await.key(), "checksumError", "no empty secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_signed_whole() {
    let (pool, moodle) = with_s1().await;
    let body = "name=Room&meetingID=form";
    let sorted = "meetingID=form&name=Room";
    for digest in digests("create", sorted, S1) {
        assert_eq!(post_form(&moodle, "create", &format!("checksum={digest}"), body).await.returncode(), "SUCCESS");
        let inside = format!("{body}&checksum={digest}");
        assert_eq!(post_form(&moodle, "create", "", &inside).await.returncode(), "SUCCESS");
        let more = format!("{body}&record=true");
        assert_eq!(post_form(&moodle, "create", &format!("checksum={digest}"), &more).await.key(), "checksumError");
    }
    // A constant checksum of a call would let anybody who saw one send any form.
    let constant = digests("create", "", S1)[1].clone();
    assert_eq!(
        post_form(&moodle, "create", &format!("checksum={constant}"), "name=Room&meetingID=unsigned").await.key(),
        "checksumError"
    );
    // Nor may an unsigned form stand beside a signed query.
    let query = "name=Room&meetingID=beside";
    let digest = digests("create", query, S1)[1].clone();
    let beside = post_form(&moodle, "create", &format!("{query}&checksum={digest}"), "moderatorPW=mine").await;
    assert_eq!(beside.key(), "checksumError");
    assert!(pool.holders("unsigned").is_empty() && pool.holders("beside").is_empty());
    // An empty form leaves nothing unsigned.
    assert_eq!(post_form(&moodle, "create", &format!("{query}&checksum={digest}"), "").await.returncode(), "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_forms_are_taken_where_the_operator_says_so() {
    let pool = Builder::new(1)
        .tenants(vec![TenantBuilder::new("main", S1, &[])])
        .config("[api]\nunsigned_form_bodies = true\n")
        .start()
        .await;
    let moodle = pool.front_end();
    let constant = "checksum=37a4a780b854f1c1269908cee3790dced584054ff79bc06c1b9fef6a5a0b28de";
    let answer = post_form(&moodle, "create", constant, "name=Room&meetingID=unsigned").await;
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    let query = "name=Room&meetingID=beside";
    let digest = digests("create", query, S1)[1].clone();
    let answer =
        post_form(&moodle, "create", &format!("{query}&checksum={digest}"), "moderatorPW=mine&attendeePW=ap").await;
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    assert_eq!(pool.servers[0].meeting("beside").unwrap().moderator_password, "mine");
    let sorted = digests("create", "meetingID=sorted&name=Room", S1)[0].clone();
    assert_eq!(
        post_form(&moodle, "create", &format!("checksum={sorted}"), "name=Room&meetingID=sorted").await.returncode(),
        "SUCCESS"
    );
    // Still a signature: another call's constant, or a wrong one, is none.
    let other = digests("end", "", S1)[1].clone();
    assert_eq!(
        post_form(&moodle, "create", &format!("checksum={other}"), "name=Room&meetingID=x1").await.key(),
        "checksumError"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn algorithms_can_be_withdrawn() {
    let pool = Builder::new(1).config("[api]\nchecksum_algorithms = [\"sha256\", \"sha512\"]\n").start().await;
    let moodle = pool.front_end();
    let taken: Vec<bool> = {
        let mut taken = Vec::new();
        for digest in digests("getMeetings", "", &moodle.secret) {
            taken.push(fetch(&moodle, "getMeetings", &format!("checksum={digest}")).await.returncode() == "SUCCESS");
        }
        taken
    };
    assert_eq!(taken, [false, true, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_is_signed_to_as_it_wants() {
    let names = [HashName::Sha1, HashName::Sha256, HashName::Sha384, HashName::Sha512];
    let mut builder = Builder::new(4);
    for (index, (name, word)) in names.into_iter().zip(["sha1", "sha256", "sha384", "sha512"]).enumerate() {
        builder =
            builder.sim(index, |options| options.algorithms = vec![name]).server_args(index, &["--checksum", word]);
    }
    let pool = builder.start().await;
    let moodle = pool.front_end();
    for number in 0..4 {
        let meeting = format!("room-{number}");
        moodle.create(&meeting, "").await;
        let location = moodle.join(&meeting, "Ann").await;
        assert!(moodle.fetch(&location).await.headers["location"].contains("sessionToken="));
    }
    for (server, length) in pool.servers.iter().zip([40, 64, 96, 128]) {
        assert_eq!(server.meetings().len(), 1, "every server takes one");
        let signed = server.calls().into_iter().filter(|seen| seen.call != "index");
        for seen in signed {
            let checksum = seen.raw_query.rsplit_once("checksum=").unwrap().1;
            assert_eq!(checksum.len(), length, "{}", seen.call);
        }
    }
}
