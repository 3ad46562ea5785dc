//! Has checkpoints of a log held by others, and puts what shows it into bundles and notes of marks.
//!
//! Nobody waits here: [`submit`] orders, [`upgrade`] asks what became of it, again and again until all is final, and
//! [`attach`] proves everything anew under a checkpoint that somebody holds.

use std::path::{Path, PathBuf};

use countermark_io::anchor::{Headers, Job, Jobs, Order, State};
use countermark_io::log::Log;
use countermark_lineage::credential::policy::AnchorKind;
use serde::Serialize;

use crate::{Error, keyset};

mod attach;
mod policy;
mod receipt;
pub mod witness;

pub use attach::{Attached, attach};
pub use policy::{chain_entries, chains};
pub use receipt::{VerifyRequest, receipt, verify};

/// How far an anchor of a checkpoint is.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Entries under the checkpoint.
    pub size: u64,
    /// The anchor's name in the log's folder.
    pub name: String,
    /// What holds it.
    pub kind: AnchorKind,
    /// How far it is.
    pub state: State,
    /// Where it is, or what is wrong and how to mend it.
    pub detail: String,
    /// Unix seconds of the last change of state.
    pub since: i64,
}

/// Orders anchors of the log's newest checkpoint. What was ordered before is only looked after.
///
/// # Errors
/// When the log cannot be used. Somebody who does not answer is no error: the order stays, and the report says so.
pub fn submit(log: &Path, orders: Vec<Order>) -> Result<Vec<Report>, Error> {
    let open = Log::open(log)?;
    let (size, checkpoint) = open.anchorable()?;
    // Lines that witnesses added: an anchor holds the checkpoint without them, and proofs lead to it with them.
    let (head, note) = open.checkpoint()?;
    if head.size == size && note != checkpoint {
        open.add_cosignatures(&note)?;
    }
    let jobs = Jobs::of(log);
    let one = |order: Order| {
        let name = order.name();
        let failure = jobs.submit(size, &checkpoint, order, keyset::now()).err();
        report(&jobs, size, &name, failure)
    };
    orders.into_iter().map(one).collect()
}

/// Has every proof of OpenTimestamps that is not final yet take headers of Bitcoin from there.
///
/// # Errors
/// When the log's folder cannot be read or written.
pub fn take_headers_from(log: &Path, headers: &Headers) -> Result<(), Error> {
    let jobs = Jobs::of(log);
    for (size, _, mut job) in jobs.all()? {
        if let (Order::OpenTimestamps(calendars), false) = (&mut job.order, job.state.is_done()) {
            calendars.bitcoin = Some(headers.clone());
            jobs.save(size, &job)?;
        }
    }
    Ok(())
}

/// Looks after every anchor of the log that is not final yet.
///
/// # Errors
/// As [`submit`].
pub fn upgrade(log: &Path) -> Result<Vec<Report>, Error> {
    let jobs = Jobs::of(log);
    let one = |(size, name, job): (u64, String, Job)| {
        let failure = jobs.advance(size, job, keyset::now()).err();
        report(&jobs, size, &name, failure)
    };
    jobs.all()?.into_iter().map(one).collect()
}

/// How far every anchor of the log is, as far as was seen last. Nobody is asked.
///
/// # Errors
/// When the log's folder cannot be read.
pub fn status(log: &Path) -> Result<Vec<Report>, Error> {
    let jobs = Jobs::of(log);
    jobs.all()?.into_iter().map(|(size, name, _): (u64, String, Job)| report(&jobs, size, &name, None)).collect()
}

/// What is written down about a job, and what went wrong just now.
fn report(jobs: &Jobs, size: u64, name: &str, failure: Option<countermark_io::Error>) -> Result<Report, Error> {
    let Some(job) = jobs.load(size, name)? else {
        return Err(failure.map_or_else(
            || countermark_io::Error::refused(&PathBuf::from(name), "was removed meanwhile", "submit again").into(),
            Error::from,
        ));
    };
    let detail = failure.map_or(job.detail, |failure| failure.to_string().replace("\nhelp: ", "; "));
    Ok(Report { size, name: name.to_owned(), kind: job.order.kind(), state: job.state, detail, since: job.since })
}
