//! The policy, and the revocation lists and hand-overs that go with it.

use std::path::{Path, PathBuf};

use countermark_io::files;
use countermark_lineage::credential::logged::MAX_FILE;
use countermark_lineage::credential::policy::Policy;
use countermark_lineage::verify::{Belief, Named};

use crate::{Error, keyset};

/// Beside a policy, this list is found without being named.
pub const LIST: &str = "revocations.json";

/// What was read.
#[derive(Default)]
pub(crate) struct Trust {
    pub policy: Option<Policy>,
    pub revocations: Vec<Named>,
    pub hand_overs: Vec<Named>,
}

impl Trust {
    /// Reads the policy, the lists beside it and those that it names, and the files that were given.
    pub fn load(policy: Option<&Path>, revocations: &[PathBuf], hand_overs: &[PathBuf]) -> Result<Self, Error> {
        let mut trust = Trust { policy: policy.map(keyset::load_policy).transpose()?, ..Trust::default() };
        let mut lists = revocations.to_vec();
        if let (Some(path), Some(known)) = (policy, &trust.policy) {
            let beside = keyset::beside(path, LIST);
            if files::exists(&beside) {
                lists.push(beside);
            }
            let named = known.revocation_lists.iter().filter_map(|list| list.file.as_deref());
            lists.extend(named.map(|file| keyset::beside(path, file)));
        }
        trust.revocations = read(&lists)?;
        trust.hand_overs = read(hand_overs)?;
        Ok(trust)
    }

    /// All of it, to judge by at `now`.
    pub fn belief(&self, now: i64) -> Belief<'_> {
        let policy = self.policy.as_ref();
        Belief { policy, revocations: &self.revocations, hand_overs: &self.hand_overs, blocks: None, now }
    }
}

/// Reads files, each content once.
fn read(paths: &[PathBuf]) -> Result<Vec<Named>, Error> {
    let mut read: Vec<Named> = Vec::new();
    for path in paths {
        let bytes = files::read(path, MAX_FILE)?;
        if !read.iter().any(|(_, known)| *known == bytes) {
            let name =
                path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
            read.push((name, bytes));
        }
    }
    Ok(read)
}
