//! Has checkpoints held by chains, calendars and authorities.
//!
//! ```text
//! anchors/<size>/checkpoint              public: what is held, the note with the log's signature alone
//! anchors/<size>/<name>.json             public: the evidence, once there is some
//! anchors/<size>/checkpoint.ots .tsr     public: the same as other programs read it, beside the file that it is about
//! .state/anchors/<size>/<name>.json      private: the job, with what was asked of whom and how far it is
//! ```
//!
//! A job is written down before anything leaves this machine, and every step can be repeated: [`Jobs::advance`] asks what became
//! of it, and sends again what got lost.

mod authority;
mod bitcoin;
mod calendar;
pub mod evm;
pub mod monitor;
pub mod serve;
pub mod witness;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use countermark_lineage::anchor::{Anchor, Evidence};
use countermark_lineage::credential::policy::AnchorKind;
use countermark_lineage::credential::rfc3161;
use serde::{Deserialize, Serialize};

use crate::{Error, files};

pub use authority::Authority;
pub use bitcoin::Headers;
pub use calendar::{Calendars, MAX_CALENDARS, PUBLIC};

const MAX_JOB: u64 = 16 << 20;

/// How far an anchor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It cannot come to anything as it was ordered. The detail says why and what to do.
    Failed,
    /// It was included, and the chain dropped it again. It will be sent anew.
    Dropped,
    /// It was sent, or will be.
    Pending,
    /// There is evidence, which may still become worthless.
    Included,
    /// There is evidence for good.
    Final,
}

impl State {
    /// The word on the command line and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Failed => "failed",
            State::Dropped => "dropped",
            State::Pending => "pending",
            State::Included => "included",
            State::Final => "final",
        }
    }

    /// True when nothing more will come.
    pub fn is_done(self) -> bool {
        matches!(self, State::Failed | State::Final)
    }
}

/// A checkpoint that shall be held by somebody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The note with the log's signature alone.
    pub checkpoint: String,
    /// By whom, and what is known so far.
    pub order: Order,
    /// How far it is.
    pub state: State,
    /// What happened last, for people: where it is, or what is wrong and how to mend it.
    pub detail: String,
    /// Unix seconds of the last change of state.
    pub since: i64,
    /// What shows it, once it is included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// By whom a checkpoint shall be held, and what the one who asks remembers of it. No secret stands in here, only where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Order {
    /// A chain with Ethereum's machine.
    Evm(evm::Work),
    /// A time-stamping authority.
    Rfc3161(Authority),
    /// Calendars of OpenTimestamps, and Bitcoin behind them.
    OpenTimestamps(Calendars),
}

/// Where a step came to.
#[derive(Clone, Debug)]
pub struct Step {
    /// How far it is now.
    pub state: State,
    /// Where it is, or what is wrong and how to mend it.
    pub detail: String,
    /// What shows it.
    pub evidence: Option<Evidence>,
}

/// Writes the order down as it is now. Called before anything leaves this machine that could not be repeated.
pub type Save<'a> = &'a mut dyn FnMut(&Order) -> Result<(), Error>;

/// What a step may use. While it is taken nobody else takes one of the same log.
pub(crate) struct Desk<'a> {
    /// All jobs of the log, to look at.
    pub jobs: &'a Jobs,
    /// Entries under the checkpoint.
    pub size: u64,
    /// Unix seconds.
    pub now: i64,
    /// What was there before the step.
    pub evidence: Option<Evidence>,
    /// Writes the order down.
    pub save: Save<'a>,
}

impl Order {
    /// Which kind of anchor it comes to.
    pub fn kind(&self) -> AnchorKind {
        match self {
            Order::Evm(work) => work.kind(),
            Order::Rfc3161(_) => AnchorKind::Rfc3161,
            Order::OpenTimestamps(_) => AnchorKind::OpenTimestamps,
        }
    }

    /// The name of its files: one order for each somebody, so that asking twice asks once.
    pub fn name(&self) -> String {
        match self {
            Order::Evm(work) => work.name(),
            Order::Rfc3161(authority) => authority.name(),
            // All calendars together make one proof.
            Order::OpenTimestamps(_) => "opentimestamps".to_owned(),
        }
    }

    /// What is known by now, in the form that other programs read, and the ending of such files.
    fn foreign(&self, evidence: Option<&Evidence>) -> Option<(&'static str, Vec<u8>)> {
        match (self, evidence) {
            (Order::OpenTimestamps(calendars), _) => Some(("ots", calendars.file.as_ref()?.0.clone())),
            (_, Some(Evidence::Rfc3161(token))) => Some(("tsr", rfc3161::response_of(&token.token.0))),
            _ => None,
        }
    }

    /// Takes over how something shall be done from an order of the same name that was given later.
    fn take_settings(&mut self, later: &Order) {
        match (self, later) {
            (Order::Evm(known), Order::Evm(later)) => known.take_settings(later),
            (Order::OpenTimestamps(known), Order::OpenTimestamps(later)) => known.take_settings(later),
            _ => {}
        }
    }

    /// Does what is to be done next, and looks what became of what was done.
    ///
    /// # Errors
    /// When somebody cannot be reached or answers nonsense: the job stays as it is and can be tried again.
    fn step(&mut self, checkpoint: &str, state: State, desk: &mut Desk<'_>) -> Result<Step, Error> {
        match self {
            Order::Evm(work) => work.step(checkpoint, state, desk),
            Order::Rfc3161(authority) => authority.step(checkpoint, state),
            Order::OpenTimestamps(calendars) => calendars
                .step(checkpoint, state, &mut |calendars| (desk.save)(&Order::OpenTimestamps(calendars.clone()))),
        }
    }
}

/// The jobs of a log.
pub struct Jobs {
    log: PathBuf,
}

impl Jobs {
    /// Of the log in this folder.
    pub fn of(log: &Path) -> Self {
        Jobs { log: log.to_owned() }
    }

    fn private(&self, size: u64, name: &str) -> PathBuf {
        self.log.join(".state/anchors").join(size.to_string()).join(format!("{name}.json"))
    }

    fn public(&self, size: u64, file: &str) -> PathBuf {
        self.log.join("anchors").join(size.to_string()).join(file)
    }

    /// The job of this name for the checkpoint of `size`.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn load(&self, size: u64, name: &str) -> Result<Option<Job>, Error> {
        let path = self.private(size, name);
        if !path.exists() {
            return Ok(None);
        }
        let help = "restore it from a copy, or remove it and submit again";
        let job = serde_json::from_slice(&files::read(&path, MAX_JOB)?);
        job.map(Some).map_err(|error| Error::refused(&path, error.to_string(), help))
    }

    /// All jobs: the size of the checkpoint, the job's name, the job. In order of size and name.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn all(&self) -> Result<Vec<(u64, String, Job)>, Error> {
        let mut jobs = vec![];
        for (size, folder) in numbered(&self.log.join(".state/anchors"))? {
            for name in names(&folder)? {
                if let Some(job) = self.load(size, &name)? {
                    jobs.push((size, name, job));
                }
            }
        }
        Ok(jobs)
    }

    /// Writes a job, and its evidence where everybody can read it. Evidence that no longer holds is taken away.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn save(&self, size: u64, job: &Job) -> Result<(), Error> {
        let name = job.order.name();
        let to_json = |value: serde_json::Result<Vec<u8>>, path: &Path| {
            value.map_err(|error| Error::refused(path, error.to_string(), "please report this"))
        };
        let private = self.private(size, &name);
        make_folder(&private)?;
        files::write(&private, &to_json(serde_json::to_vec_pretty(job), &private)?, files::SECRET)?;
        let checkpoint = self.public(size, "checkpoint");
        make_folder(&checkpoint)?;
        files::write(&checkpoint, job.checkpoint.as_bytes(), files::PUBLIC)?;
        if let Some((ending, bytes)) = job.order.foreign(job.evidence.as_ref()) {
            files::write(&self.foreign(size, &name, ending, &bytes), &bytes, files::PUBLIC)?;
        }
        let public = self.public(size, &format!("{name}.json"));
        match &job.evidence {
            Some(evidence) => {
                let anchor = Anchor { checkpoint: job.checkpoint.clone(), evidence: evidence.clone() };
                files::write(&public, &to_json(serde_json::to_vec_pretty(&anchor), &public)?, files::PUBLIC)
            }
            None => match fs::remove_file(&public) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io(&public, "remove it by hand")(error))
                }
                _ => Ok(()),
            },
        }
    }

    /// Beside the checkpoint and called after it, as other programs expect it. A second authority's answer has a name of
    /// its own.
    fn foreign(&self, size: u64, name: &str, ending: &str, bytes: &[u8]) -> PathBuf {
        let usual = self.public(size, &format!("checkpoint.{ending}"));
        let is_ours = ending == "ots" || !usual.exists() || fs::read(&usual).is_ok_and(|there| there == bytes);
        if is_ours { usual } else { self.public(size, &format!("{name}.{ending}")) }
    }

    /// Orders that the checkpoint of `size` be held, unless that was ordered before, and takes the first step.
    ///
    /// # Errors
    /// As [`Jobs::advance`]. The job is kept then, and the next [`Jobs::advance`] tries again.
    pub fn submit(&self, size: u64, checkpoint: &str, order: Order, now: i64) -> Result<Job, Error> {
        let _lock = self.lock()?;
        let known = self.load(size, &order.name())?.filter(|job| job.state != State::Failed);
        let job = match known {
            Some(mut job) => {
                job.order.take_settings(&order);
                job
            }
            None => {
                let (detail, checkpoint) = ("ordered, not sent yet".to_owned(), checkpoint.to_owned());
                Job { checkpoint, order, state: State::Pending, detail, since: now, evidence: None }
            }
        };
        self.save(size, &job)?;
        self.take_step(size, job, now)
    }

    /// Takes a job one step further and writes down where it is. Meanwhile somebody else may have done so.
    ///
    /// # Errors
    /// When somebody cannot be reached or answers nonsense: the job stays as it is.
    pub fn advance(&self, size: u64, job: Job, now: i64) -> Result<Job, Error> {
        let _lock = self.lock()?;
        let newest = self.load(size, &job.order.name())?;
        self.take_step(size, newest.unwrap_or(job), now)
    }

    fn take_step(&self, size: u64, mut job: Job, now: i64) -> Result<Job, Error> {
        if job.state.is_done() {
            return Ok(job);
        }
        let mut order = job.order.clone();
        let checkpoint = job.checkpoint.clone();
        let (state, evidence) = (job.state, job.evidence.clone());
        let mut save = |order: &Order| {
            job.order = order.clone();
            self.save(size, &job)
        };
        let mut desk = Desk { jobs: self, size, now, evidence, save: &mut save };
        let step = order.step(&checkpoint, state, &mut desk)?;
        if step.state != state {
            job.since = now;
        }
        job = Job { order, state: step.state, detail: step.detail, evidence: step.evidence, ..job };
        self.save(size, &job)?;
        Ok(job)
    }

    /// One at a time: no two steps of a log sign with the same nonce.
    fn lock(&self) -> Result<File, Error> {
        let path = self.log.join(".state/anchors/lock");
        make_folder(&path)?;
        let help = "is another program at work on the anchors of this log?";
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path, help))?;
        file.lock().map_err(Error::io(&path, help))?;
        Ok(file)
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let folder = files::parent(path);
    fs::create_dir_all(folder).map_err(Error::io(folder, "choose a log that can be written"))
}

/// Folders whose name is a number, in their order.
fn numbered(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut found: Vec<(u64, PathBuf)> =
        entries(folder)?.into_iter().filter_map(|(name, path)| Some((name.parse().ok()?, path))).collect();
    found.sort();
    Ok(found)
}

/// Names of the JSON files in a folder, without their ending, in order.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> =
        entries(folder)?.into_iter().filter_map(|(name, _)| Some(name.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    Ok(names)
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let help = "check that the log's folder can be read";
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(Error::io(folder, help))?,
    };
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.map_err(Error::io(folder, help))?.path();
        Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path))
    };
    entries.map(entry).collect()
}
