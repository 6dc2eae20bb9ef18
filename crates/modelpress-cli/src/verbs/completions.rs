//! `modelpress completions`: a script that completes the program's arguments in a shell.

use crate::context::Context;
use crate::error::{Error, Usage};
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
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        if cx.is_json() {
            return Err(Usage::ScriptOnly.into());
        }
        let mut script = Vec::new();
        let mut command = crate::Program::command();
        clap_complete::generate(self.shell, &mut command, "modelpress", &mut script);
        std::io::stdout().write_all(&script).map_err(Error::Output)
    }
}
