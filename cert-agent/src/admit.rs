//! What `exec` asks of the rest of the agent: the terms of a program, its first identity, its files.

use std::{path::PathBuf, sync::Arc};

use crate::{
    exec::{Admission, Answer, Terms},
    handout::files::Files,
    judge::Judge,
    refusals::Refusals,
    workload::{Program, Refused, Workload},
};

/// The agent's answers to `exec`.
#[derive(Debug)]
pub struct Admit {
    /// Who may run.
    pub judge: Judge,
    /// Where refusals are kept.
    pub refusals: Refusals,
    /// Who writes certificate files.
    pub files: Files,
    /// The Workload API socket.
    pub socket: PathBuf,
}

impl Admit {
    async fn terms(&self, grant: &str, program: &Program) -> Result<Terms, Refused> {
        let grant = self.judge.program(grant, program.digest()).await?;
        Ok(Terms {
            selectors: grant.terms.selectors.clone(),
            role: grant.role,
            socket: self.socket.clone(),
        })
    }

    /// Without files nothing is made yet: the key is born when the program asks for it.
    async fn first(&self, workload: &Arc<Workload>, files: Option<PathBuf>) -> Result<(), Refused> {
        match files {
            Some(directory) => self.files.begin(workload, directory).await,
            None => Ok(()),
        }
    }
}

impl Admission for Admit {
    fn admit<'a>(&'a self, grant: &'a str, program: &'a Program) -> Answer<'a, Terms> {
        Box::pin(self.terms(grant, program))
    }

    fn begin(&self, workload: Arc<Workload>, files: Option<PathBuf>) -> Answer<'_, ()> {
        Box::pin(async move { self.first(&workload, files).await })
    }

    fn refuse(&self, refused: Refused) {
        self.refusals.keep(&self.judge.nearest(refused));
    }
}
