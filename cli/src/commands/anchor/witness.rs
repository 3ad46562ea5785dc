//! `anchor witness`: asking witnesses, and being one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countermark::anchor::witness::{self, Witnessed};
use countermark::io::anchor::witness::{Answered, Asked, Reply, Witness as Store, serve as serve_witness};
use countermark::io::log::Log;
use countermark::lineage::anchor::cosignature::WitnessKey;
use countermark::lineage::anchor::note::VerifierKey;
use countermark::lineage::graph::statement::rfc3339;
use countermark::lineage::verdict::State;

use crate::args::Format;
use crate::print::{self, BOLD, RESET, Result};

/// Witnesses see to it that a log shows everybody the same tree: ask them, or be one
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark anchor witness ask log --policy policy.toml
  countermark anchor witness init w1 --name witness.example/w1
  countermark anchor witness add-log w1 log.example+5e680137+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4
  countermark anchor witness serve w1 --listen 127.0.0.1:8080")]
pub struct Witness {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Ask(Ask),
    Init(Init),
    AddLog(AddLog),
    Serve(Serve),
}

/// Have witnesses cosign the newest checkpoint of a log, and add what they answer to it
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark anchor witness ask log --policy policy.toml
  countermark anchor witness ask log --witness witness.example/w1+20324abe+BCms...=https://witness.example/w1
Then: countermark anchor upgrade LOG FILE..., which proves releases anew under a checkpoint that was cosigned.
Exit codes: 0 the quorum is there (without --policy: everybody cosigned), 3 it is not,
1 somebody has seen more of this log than is here, or another one: an older copy was restored, or its key is used
elsewhere.")]
struct Ask {
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// A witness and where it answers
    #[arg(long, value_name = "VKEY=URL", value_parser = asked)]
    witness: Vec<Asked>,
    /// A policy with tlog_policy, or the text of a C2SP tlog-policy: all its witnesses that have a URL are asked
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Make a witness with a key of its own, and print its verifier key
#[derive(Args)]
struct Init {
    /// A folder that is not there yet, or empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// A URL without its scheme
    #[arg(long)]
    name: String,
}

/// Watch a log, also while the witness is served
#[derive(Args)]
struct AddLog {
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The log's verifier key, as `anchor status` prints it
    vkey: String,
}

/// Cosign checkpoints of the logs that are watched, over HTTP, until stopped
///
/// Prints the verifier key and the URL once it answers. What was cosigned is on disk before anybody sees it, so it may
/// be killed at any time. Put it behind a web server that speaks TLS.
#[derive(Args)]
struct Serve {
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
}

/// Reads `VKEY=URL`; Base64 may end in `=`.
fn asked(text: &str) -> std::result::Result<Asked, String> {
    let at = text.find("=http").ok_or("expected VKEY=http://... or VKEY=https://...")?;
    let key = WitnessKey::parse(&text[..at]).map_err(|error| error.problem())?;
    Ok(Asked { key, url: text[at + 1..].to_owned() })
}

pub fn run(args: Witness) -> Result<u8> {
    match args.verb {
        Verb::Ask(args) => ask(&args),
        Verb::Init(args) => {
            let witness = Store::create(&args.folder, &args.name)?;
            print::line(witness.verifier())?;
            let folder = args.folder.display();
            eprintln!("next: countermark anchor witness add-log {folder} VKEY, then witness serve {folder}");
            Ok(0)
        }
        Verb::AddLog(args) => {
            let log = VerifierKey::parse(&args.vkey)?;
            Store::open(&args.folder)?.add_log(&log)?;
            eprintln!("watches {}", print::foreign(&log.name));
            Ok(0)
        }
        Verb::Serve(args) => {
            let witness = Store::open(&args.folder)?;
            let key = witness.verifier().clone();
            serve_witness(witness, &args.listen, move |address| {
                // Nobody may read this; the witness answers all the same.
                let _ = print::line(format_args!("{key}\nhttp://{address}"));
            })?;
            Ok(0)
        }
    }
}

fn ask(args: &Ask) -> Result<u8> {
    let log = Log::open(&args.log)?;
    let witnessed = witness::ask(&log, args.witness.clone(), args.policy.as_deref())?;
    match args.format {
        Format::Json => print::json(&json(&witnessed))?,
        Format::Human => {
            for Answered { key, reply } in &witnessed.answers {
                let (word, detail) = told(reply);
                print::line(format_args!("{:24} {BOLD}{word:9}{RESET} {detail}", print::foreign(&key.name)))?;
            }
            if let Some((_, detail)) = &witnessed.quorum {
                print::line(format_args!("quorum                   {}", print::foreign(detail)))?;
            }
        }
    }
    let is_alarm = |answer: &Answered| matches!(answer.reply, Reply::Ahead(_) | Reply::Forked(_));
    if witnessed.answers.iter().any(is_alarm) {
        eprintln!(
            "help: stop writing to this log. Put its newest copy back; if there is none, or its key was used elsewhere, \
             tell everybody who relies on it, and begin a log of another name"
        );
        return Ok(1);
    }
    let is_good = match &witnessed.quorum {
        Some((state, _)) => *state == State::Verified,
        None => witnessed.answers.iter().all(|answer| matches!(answer.reply, Reply::Cosigned(_))),
    };
    if is_good {
        eprintln!("next: countermark anchor upgrade {} FILE...", args.log.display());
    }
    Ok(if is_good { 0 } else { 3 })
}

fn told(reply: &Reply) -> (&'static str, String) {
    match reply {
        Reply::Cosigned(time) => ("cosigned", rfc3339(i64::try_from(*time).unwrap_or(i64::MAX))),
        Reply::Ahead(size) => ("ahead", format!("has seen {size} entries of this log, more than are here")),
        Reply::Forked(problem) => ("forked", format!("has seen another tree of this log: {problem}")),
        Reply::Failed(problem) => ("failed", problem.clone()),
    }
}

fn json(witnessed: &Witnessed) -> serde_json::Value {
    let answers = witnessed.answers.iter().map(|Answered { key, reply }| {
        let (state, detail) = told(reply);
        serde_json::json!({ "witness": key.to_string(), "state": state, "detail": detail })
    });
    let quorum = witnessed
        .quorum
        .as_ref()
        .map(|(state, detail)| serde_json::json!({ "met": *state == State::Verified, "detail": detail }));
    serde_json::json!({ "size": witnessed.size, "answers": answers.collect::<Vec<_>>(), "quorum": quorum })
}
