//! Bundles beside a release of ours, which `verify` judges with it.

use std::fs;

use countermark::oms::{SignRequest, sign};
use countermark::silent;

use super::{FOLDER, Forge};
use crate::{Case, Result, World};

impl Forge {
    pub fn releases(&mut self, world: &World) -> Result<()> {
        fs::create_dir_all(world.at("release"))?;
        fs::write(world.at("release/w.bin"), "1")?;
        world.sign("release", &[])?;
        fs::copy(world.at("release.provenance.json"), self.out.join("release.json"))?;
        let sign_with = |key: &str, model: &str| -> Result<Vec<u8>> {
            let mut request = SignRequest::new(world.at(model), world.at(key));
            request.out = Some(world.at("release.sig"));
            sign(&request, &silent())?;
            Ok(fs::read(world.at("release.sig"))?)
        };
        let owner = "keys/owner.p256.key";
        let mut broken = sign_with(owner, "release")?;
        broken.truncate(200);
        let cases = [
            ("good", "signed by the owner", sign_with(owner, "release")?, "unanchored", ""),
            ("of-another", "the owner's, of another model", sign_with(owner, "base")?, "invalid", "oms files"),
            (
                "of-a-stranger",
                "by a key that nobody vouches for",
                sign_with("oms.key", "release")?,
                "unknown-signer",
                "hint",
            ),
            ("truncated", "the first bytes of it", broken, "invalid", "oms bundle"),
            (
                "alone",
                "without a bundle of provenance",
                sign_with(owner, "release")?,
                "unanchored",
                "speaks for the bytes",
            ),
        ];
        for (name, story, bundle, state, reason) in cases {
            let folder = self.out.join(format!("release-{name}"));
            fs::create_dir_all(&folder)?;
            fs::copy(world.at("release/w.bin"), folder.join("w.bin"))?;
            fs::write(folder.join("model.sig"), bundle)?;
            let mut options = vec![("policy", "policy.toml".to_owned())];
            if name != "alone" {
                options.push(("bundle", format!("{FOLDER}/release.json")));
            }
            let options: Vec<(&str, &str)> = options.iter().map(|(option, value)| (*option, &**value)).collect();
            let path = format!("{FOLDER}/release-{name}");
            self.cases.push(Case::new(&format!("oms-release-{name}"), story, "verify", &path, &options, state, reason));
        }
        Ok(())
    }
}
