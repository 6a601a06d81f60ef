//! `usher man`: the manual pages, made from the grammar that parses the command line.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::outcome::CliError;
use super::output::{Report, count};

#[derive(Args)]
pub struct ManArgs {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    to: Option<PathBuf>,
}

pub fn run(command: clap::Command, args: ManArgs) -> Result<Report, CliError> {
    let Some(folder) = args.to else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        rendered.map_err(|error| CliError::Failed(format!("the page cannot be made: {error}")))?;
        let page = String::from_utf8_lossy(&page).into_owned();
        return Ok(Report::new(page.clone(), json!({ "page": page })));
    };
    let shown = folder.display();
    let cannot = |error: std::io::Error| CliError::Failed(format!("cannot write manual pages to {shown}: {error}"));
    std::fs::create_dir_all(&folder).map_err(cannot)?;
    clap_mangen::generate_to(command, &folder).map_err(cannot)?;
    let pages = std::fs::read_dir(&folder).map_err(cannot)?.count();
    Ok(Report::new(format!("{} in {shown}", count(pages as u64, "manual page")), json!({ "folder": folder })))
}
