//! A line typed at a terminal that does not show it.

use std::io::{Read, Stdin, Write};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::outcome::CliError;

/// Longest line, bytes: what a terminal gives at once.
const MAX_LINE: usize = 4096;
/// What Ctrl-C and Ctrl-\\ send.
const INTERRUPT: u8 = 0x03;
const QUIT: u8 = 0x1c;

/// Until it is dropped, the terminal shows nothing of what is typed.
pub struct Unseen<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Unseen<'a> {
    /// `None` if standard input is no terminal.
    pub fn begin(stdin: &'a Stdin) -> Option<Self> {
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut hidden = before.clone();
        // A signal would end the process with the terminal left as it is now: Ctrl-C ends the line instead.
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        hidden.special_codes[SpecialCodeIndex::VEOL2] = QUIT;
        tcsetattr(stdin.as_fd(), OptionalActions::Flush, &hidden).ok()?;
        Some(Self { stdin, before })
    }

    pub fn line(self, prompt: &str) -> Result<String, CliError> {
        let mut errors = std::io::stderr().lock();
        let _ = write!(errors, "{prompt}").and_then(|()| errors.flush());
        let mut bytes = [0; MAX_LINE];
        let read = self.stdin.lock().read(&mut bytes);
        let _ = writeln!(errors);
        let read =
            read.map_err(|error| CliError::Failed(format!("cannot read the secret from the terminal: {error}")))?;
        if matches!(bytes[..read].last(), Some(&(INTERRUPT | QUIT))) {
            return Err(CliError::Failed("interrupted; nothing was changed".to_owned()));
        }
        Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.stdin.as_fd(), OptionalActions::Flush, &self.before);
    }
}
