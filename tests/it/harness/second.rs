//! A second process on the store of a pool.

use std::process::{Child, Stdio};

use super::{FrontEnd, Pool, eventually, free_port};

/// A second `usher serve` over the same store.
pub struct Second {
    child: Child,
    pub http: String,
}

impl Second {
    pub async fn start(pool: &Pool) -> Self {
        let (http, admin) = (free_port(), free_port());
        let text = std::fs::read_to_string(pool.config_path()).unwrap();
        let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
        let text = text.replace(&port(&pool.http), &http.to_string()).replace(&port(&pool.admin), &admin.to_string());
        let path = pool.dir.path().join("second.toml");
        std::fs::write(&path, text).unwrap();
        let mut command = pool.command(&[]);
        let log = std::fs::File::create(pool.dir.path().join("second.log")).unwrap();
        let mut again = std::process::Command::new(command.get_program());
        again.arg("--config").arg(&path).arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        again.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null());
        let second = Self { child: again.spawn().unwrap(), http: format!("http://127.0.0.1:{http}") };
        let client = FrontEnd::new(&second.http, "");
        eventually("the second usher is ready", || async {
            let answer = client.http.get(format!("{}/readyz", second.http)).send().await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
        second
    }

    /// The front end of the pool's first tenant, calling this process.
    pub fn front_end(&self, pool: &Pool) -> FrontEnd {
        FrontEnd::new(format!("{}/bigbluebutton/api", self.http), pool.front_end().secret)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
