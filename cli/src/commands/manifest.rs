//! `manifest read`.

use countermark::io::files;
use countermark::lineage::credential::c2pa;

use crate::args::Manifest;
use crate::print::{self, Result};

const MAX_MANIFEST: u64 = 64 << 20;

pub fn run(args: Manifest) -> Result<u8> {
    let Manifest::Read { file } = args;
    print::json(&c2pa::read(&files::read(&file, MAX_MANIFEST)?)?)?;
    Ok(0)
}
