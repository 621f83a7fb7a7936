//! `forerunner context train`: a dictionary from recorded sessions, for `pools.NAME.contexts.dictionary`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use forerunner_console::{
    Usage,
    output::{self, Output},
};
use forerunner_context::Dictionary;
use serde::Serialize;

use super::bench::{Corpus, Edit, learn};

/// What to learn from, and where to write it.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Recorded sessions of one kind of agent: JSON Lines, plain or in gzip, one session a line with its `messages`.
    #[arg(required = true, value_name = "CORPUS")]
    pub corpora: Vec<PathBuf>,
    /// The file to write. It contains text of the sessions: protect it like them.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Serialize)]
struct TrainSummary {
    file: String,
    dictionary: String,
    bytes: usize,
    sessions: usize,
}

/// Trains and writes the file.
pub async fn run(args: TrainArgs, out: &Output) -> anyhow::Result<()> {
    let (corpora, file) = (args.corpora, args.out);
    let (dictionary, sessions) = tokio::task::spawn_blocking(move || train(&corpora)).await??;
    std::fs::write(&file, dictionary.bytes()).with_context(|| format!("{} cannot be written", file.display()))?;
    let trained = TrainSummary {
        file: file.display().to_string(),
        dictionary: dictionary.id().to_string(),
        bytes: dictionary.bytes().len(),
        sessions,
    };
    out.show(&trained, || {
        let TrainSummary { file, dictionary, bytes, sessions } = &trained;
        format!(
            "dictionary {dictionary} of {} bytes, learnt from {sessions} sessions, is in {file}",
            output::count(*bytes as u64)
        )
    })
}

fn train(corpora: &[PathBuf]) -> anyhow::Result<(Dictionary, usize)> {
    let read: Vec<Corpus> = corpora.iter().map(|path| Corpus::read(path)).collect::<Result<_, _>>()?;
    let sessions: Vec<_> = read.iter().flat_map(|corpus| &corpus.sessions).collect();
    let codec = learn(&sessions, Edit::Append)?;
    let too_little = || {
        Usage("there is too little to learn from, or a dictionary would save nothing; give more sessions".to_owned())
    };
    Ok((codec.dictionary().cloned().ok_or_else(too_little)?, sessions.len()))
}
