//! Parse arguments, call the library, map the result to an exit code; nothing else.
//!
//! Two process-wide choices are made here, before any thread exists: the allocator, and the provider of TLS
//! cryptography (several crates link rustls, and each would otherwise refuse to guess).

use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    usher::tls::install_provider();
    ExitCode::from(usher::cli::run(std::env::args_os()).code())
}
