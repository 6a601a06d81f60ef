//! Reload and stop.

use tokio::net::TcpStream;

use super::stage::{Plain, log_says, passes, pool, rest};
async fn fixed() -> (Plain, String) {
    let server = Plain::start().await;
    let toml =
        format!("[[l4.listener]]\nname = \"tcp\"\nlisten = [\"127.0.0.1:PORT\"]\ntarget = \"{}\"\n", server.address);
    (server, toml)
}

/// Nobody new, or nobody at all.
async fn is_closed(edge: std::net::SocketAddr) {
    if let Ok(mut stream) = TcpStream::connect(edge).await {
        assert_eq!(rest(&mut stream).await, b"");
    }
}

#[tokio::test]
async fn a_stop_waits_for_what_is_open() {
    let (server, toml) = fixed().await;
    let (pool, edge) = pool(&toml).await;
    let (mut client, mut far) = server.pair(edge).await;
    passes(&mut client, &mut far, "before").await;
    pool.signal("TERM");
    log_says(&pool, &["stopping"]).await;
    is_closed(edge).await;
    passes(&mut client, &mut far, "after").await;
    passes(&mut far, &mut client, "and back").await;
    drop(client);
    assert_eq!(rest(&mut far).await, b"");
    drop(far);
    assert_eq!(pool.wait_exit().await, Some(0));
    assert!(pool.log().contains("end=client"), "{}", pool.log());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let (server, toml) = fixed().await;
    let (pool, edge) = pool(&toml).await;
    let (mut client, mut far) = server.pair(edge).await;
    passes(&mut client, &mut far, "hello").await;
    pool.signal("TERM");
    assert_eq!(pool.wait_exit().await, Some(0));
    assert_eq!((rest(&mut client).await, rest(&mut far).await), (Vec::new(), Vec::new()));
    assert!(pool.log().contains("end=drained"), "{}", pool.log());
}

#[tokio::test]
async fn a_reload_changes_routes_and_leaves_what_is_open() {
    let ((one, toml), two) = (fixed().await, Plain::start().await);
    let (pool, edge) = pool(&toml).await;
    let (mut client, mut far) = one.pair(edge).await;
    let text = std::fs::read_to_string(pool.config_path()).unwrap();
    std::fs::write(pool.config_path(), text.replace(&one.address.to_string(), &two.address.to_string())).unwrap();
    pool.signal("HUP");
    log_says(&pool, &["configuration reloaded"]).await;
    let (mut new_client, mut new_far) = two.pair(edge).await;
    passes(&mut new_client, &mut new_far, "new").await;
    passes(&mut client, &mut far, "old").await;
    assert!(!pool.log().contains("takes effect at the next restart"), "{}", pool.log());
}
