//! How a command ends: an exit code, and if it failed one sentence that says what to do next.
//!
//! The codes are a promise (interface.md section 1): 0 done, 1 failed, 2 wrong usage, 3 refused because something would
//! be lost. A command never exits by itself; it returns an error and `main` maps it to the code.

use crate::store::StoreError;

/// Exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    Usage,
    /// Something would be lost; `--force` says yes.
    Refused,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
        }
    }
}

/// Why a command did not do what it was asked; the text is one sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Refused(String),
}

impl CliError {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Failed(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
            Self::Refused(_) => Exit::Refused,
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(text) => Self::Refused(format!("{text}; add --force to do it anyway")),
            StoreError::Busy => Self::Failed("the store is overloaded; try again in a moment".into()),
            StoreError::Failed(text) => {
                Self::Failed(format!("the store failed: {text}; `usher check --online` tests it alone"))
            }
            StoreError::Conflict(text) | StoreError::NotFound(text) => Self::Failed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_interface() {
        assert_eq!([Exit::Done, Exit::Failed, Exit::Usage, Exit::Refused].map(Exit::code), [0, 1, 2, 3]);
    }

    #[test]
    fn a_refusal_of_the_store_keeps_its_exit_code_and_names_the_way_out() {
        let error = CliError::from(StoreError::Refused("server `a` still has 2 meetings".into()));
        assert_eq!(error.exit(), Exit::Refused);
        assert!(error.to_string().contains("--force"));
        assert_eq!(CliError::from(StoreError::NotFound("no such row".into())).exit(), Exit::Failed);
    }
}
