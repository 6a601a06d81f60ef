//! The side of the new Usher: it asks for the sockets when everything else is prepared, and says when it is ready.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::{info, warn};

use super::wire::{ALL, HELLO, Heard, LISTEN, Line, READY, REFUSED, RETIRED, STORE};
use crate::process::Process;
use crate::serve::sockets::Bound;

/// How long the running Usher may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long the old one may answer requests beside this one: connections that were kept alive.
const COMPANY_LIMIT: Duration = Duration::from_secs(3600);

/// An upgrade under way. Dropped before [`Takeover::finish`], it leaves the running Usher as it was.
pub struct Takeover {
    line: Line,
}

/// Why the running Usher goes on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TakeoverError {
    #[error("no Usher hands its sockets over at {0} ({1}); start this one without --upgrade")]
    Nobody(PathBuf, Arc<io::Error>),
    #[error("it refuses: {0}")]
    Refused(String),
    #[error("it does not hand its sockets over: {0}")]
    Broken(String),
}

impl Takeover {
    /// Asks the Usher behind `path`, which must use the same `store`, for its sockets; it goes on serving with them meanwhile.
    pub fn begin(path: &Path, store: &str) -> Result<(Self, Vec<Bound>), TakeoverError> {
        let line = Line::to(path).map_err(|error| TakeoverError::Nobody(path.to_owned(), Arc::new(error)))?;
        let broken = |error: io::Error| TakeoverError::Broken(error.to_string());
        line.say(&format!("{HELLO} {} {STORE}{store}", env!("CARGO_PKG_VERSION")), None).map_err(broken)?;
        let mut sockets = Vec::new();
        loop {
            let heard = line.hear(ANSWER_LIMIT).map_err(broken)?;
            let Heard { text, socket } =
                heard.ok_or_else(|| TakeoverError::Broken("it has ended the conversation".to_owned()))?;
            let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
            match (word, rest.parse(), socket) {
                (LISTEN, Ok(address), Some(socket)) => sockets.push((address, socket)),
                (ALL, ..) => return Ok((Self { line }, sockets)),
                (REFUSED, ..) => return Err(TakeoverError::Refused(rest.to_owned())),
                _ => return Err(TakeoverError::Broken("it says what this version does not understand".to_owned())),
            }
        }
    }

    /// Tells the old Usher that this one is ready, and waits until it takes no further connection. If it has died in that
    /// moment, or hangs, this one serves all the same: somebody must.
    pub fn finish(self, process: Arc<Process>) -> Result<(), TakeoverError> {
        let said = self.line.say(READY, None);
        match said.and_then(|()| self.line.hear(ANSWER_LIMIT)) {
            Ok(Some(heard)) if heard.text == RETIRED => self.keep_company(process),
            Ok(Some(heard)) => {
                let why = heard.text.strip_prefix(REFUSED).unwrap_or(&heard.text).trim();
                return Err(TakeoverError::Refused(why.to_owned()));
            }
            Ok(None) => warn!("the old Usher ended without a word, this one serves"),
            Err(error) => warn!(error:% = error; "the old Usher does not answer, this one serves"),
        }
        Ok(())
    }

    /// Until the old one has answered its last request, what it makes is looked for in the store.
    fn keep_company(self, process: Arc<Process>) {
        process.set_elder(true);
        let alone = process.clone();
        let waiting = move || {
            let _ = self.line.hear(COMPANY_LIMIT);
            process.set_elder(false);
            info!("the old Usher answers no further requests");
        };
        if let Err(error) = thread::Builder::new().name("company".to_owned()).spawn(waiting) {
            alone.set_elder(false);
            warn!(error:% = error; "cannot wait for the old Usher's last request");
        }
    }
}
