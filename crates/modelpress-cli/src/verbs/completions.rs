//! `modelpress completions`: a script that completes the program's arguments in a shell.

use crate::error::Error;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

/// Print a completion script for a shell.
#[derive(Args)]
#[command(
    after_help = "Example:\n  modelpress completions bash > ~/.local/share/bash-completion/completions/modelpress"
)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<(), Error> {
        let mut script = Vec::new();
        let mut command = crate::Program::command();
        clap_complete::generate(self.shell, &mut command, "modelpress", &mut script);
        std::io::stdout().write_all(&script).map_err(Error::Output)
    }
}
