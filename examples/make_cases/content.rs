//! What has a manifest and no bundle: content and what it was made with, models and data by a sidecar alone, and each part
//! of them changed, stripped, or put in the place of another.

#[path = "../../tests/c2pa/samples.rs"]
mod samples;

use std::fs;
use std::path::PathBuf;

use countermark::content::{self, InputRequest, Request};
use countermark::io::c2pa::Signer;
use countermark::io::certificate::Chain;
use countermark::io::content::{Content, Input, format, sidecar};
use countermark::io::keys;
use countermark::lineage::credential::declared::Declared;
use countermark::lineage::digest::Hash;
use countermark::lineage::graph::statement::rfc3339;
use countermark::lineage::graph::{Kind, Relation};
use countermark::{keyset, silent};

use crate::{Case, Result, World};

/// Everything lies in this folder of the cases.
const FOLDER: &str = "content";

/// Name, story, file, its bytes, state and reason.
type Medium<'a> = (&'a str, &'a str, &'a str, &'a [u8], &'a str, &'a str);

/// Name, story, what is there, its sidecar, state and reason.
type Side<'a> = (&'a str, &'a str, &'a [u8], Vec<u8>, &'a str, &'a str);

/// The good ones, from which the others are made.
struct Maker<'w> {
    world: &'w World,
    cases: Vec<Case>,
}

/// The cases, with their files written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    fs::create_dir_all(world.out.join(FOLDER))?;
    let mut maker = Maker { world, cases: vec![] };
    maker.inputs()?;
    maker.good()?;
    maker.media()?;
    maker.sidecars()?;
    maker.chain()?;
    maker.policies()?;
    Ok(maker.cases)
}

impl Maker<'_> {
    fn work(&self, name: &str) -> PathBuf {
        self.world.at(name)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(fs::read(self.work(name))?)
    }

    /// A file among the cases.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.world.out.join(FOLDER).join(name);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        Ok(fs::write(path, bytes)?)
    }

    fn case(&mut self, name: &str, story: &str, path: &str, options: &[(&str, &str)], state: &str, reason: &str) {
        let mut options = options.to_vec();
        if !options.iter().any(|(option, _)| *option == "policy") {
            options.push(("policy", "policy.toml"));
        }
        self.cases.push(Case::new(name, story, "verify", &format!("{FOLDER}/{path}"), &options, state, reason));
    }

    /// A sidecar with its own copy of the text that it is about, or of other bytes.
    fn side(
        &mut self,
        name: &str,
        story: &str,
        (about, store): (&[u8], &[u8]),
        state: &str,
        reason: &str,
    ) -> Result<()> {
        let file = format!("{name}.txt");
        self.put(&file, about)?;
        self.put(&format!("{file}.c2pa"), store)?;
        self.case(name, story, &file, &[], state, reason);
        Ok(())
    }

    /// A model without parents, a stranger with keys and a model, and what both produced.
    fn inputs(&mut self) -> Result<()> {
        keyset::generate(&self.work("strange"), "Stranger")?;
        for (name, fill) in [("painter", 0), ("imposter", 1)] {
            fs::create_dir(self.work(name))?;
            let header = r#"{"w":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}"#;
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[fill; 8]].concat();
            fs::write(self.work(name).join("model.safetensors"), bytes)?;
        }
        self.world.sign("painter", &[])?;
        let request = countermark::sign::Request::new(self.work("imposter"), self.work("strange/owner.key"));
        countermark::sign::sign(&request, &silent())?;
        for (name, bytes) in samples::all().into_iter().chain([("dog.png", samples::png(7))]) {
            fs::write(self.work(name), bytes)?;
        }
        fs::write(self.work("answer.txt"), "forty-two\n")?;
        fs::write(self.work("other.txt"), "forty-three\n")?;
        self.paint("cat.png", "painter", "keys", "painted.png")?;
        self.paint("dog.png", "painter", "keys", "painted-dog.png")?;
        self.paint("song.wav", "painter", "keys", "played.wav")?;
        self.paint("answer.txt", "painter", "keys", "answer.c2pa")?;
        self.paint("other.txt", "painter", "keys", "other.c2pa")?;
        Ok(())
    }

    /// What `model` produced, signed with the owner's or the stranger's key.
    fn paint(&self, name: &str, model: &str, keys: &str, out: &str) -> Result<()> {
        let mut request = Request::new(self.work(name), self.work(keys).join("owner.key"));
        let bundle = self.work(&format!("{model}.provenance.json"));
        request.inputs = vec![InputRequest::model(&bundle.to_string_lossy())];
        request.out = Some(self.work(out));
        content::create(&request, &silent())?;
        Ok(())
    }

    fn good(&mut self) -> Result<()> {
        for (name, file, story) in [
            ("content-image", "painted.png", "an image that names the model which produced it"),
            ("content-sound", "played.wav", "a sound that names the model which produced it"),
        ] {
            self.put(file, &self.read(file)?)?;
            self.case(name, story, file, &[], "unanchored", "");
        }
        let (answer, store) = (self.read("answer.txt")?, self.read("answer.c2pa")?);
        self.side("content-text", "a text with its sidecar", (&answer, &store), "unanchored", "")?;
        self.put("painter.json", &self.read("painter.provenance.json")?)?;
        self.put("other.json", &self.read("other.csv.provenance.json")?)?;
        let bundle = |name| [("bundle", name)];
        let story = "its model's bundle is at hand";
        self.case("content-with-bundle", story, "painted.png", &bundle("content/painter.json"), "unanchored", "");
        let story = "the bundle of something else";
        let path = "painted.png";
        self.case(
            "content-other-bundle",
            story,
            path,
            &bundle("content/other.json"),
            "invalid",
            "no input is other.csv",
        );
        Ok(())
    }

    fn media(&mut self) -> Result<()> {
        let (cat, dog) = (self.read("painted.png")?, self.read("painted-dog.png")?);
        let mut changed = cat.clone();
        let pixel = find(&changed, b"IDAT")? + 20;
        changed[pixel] ^= 1;
        let (store, span) = store_in_png(&cat)?;
        let (dogs_store, _) = store_in_png(&dog)?;
        let swapped = [&cat[..span.0], &samples::png_chunk(b"caBX", &dogs_store), &cat[span.1..]].concat();
        let stripped = store_of(&manifests_of(&store)[1..]);
        let stripped = [&cat[..span.0], &samples::png_chunk(b"caBX", &stripped), &cat[span.1..]].concat();
        let twice = [&cat[..span.1], &cat[span.0..]].concat();
        let mut bare = cat[..span.0].to_vec();
        bare.extend(&cat[span.1..]);
        let mut sound = self.read("played.wav")?;
        let sample = sound.windows(4).position(|window| window == b"data").ok_or("samples were expected")? + 9;
        sound[sample] ^= 1;
        let files: [Medium<'_>; 6] = [
            ("image-pixel-changed", "one pixel", "pixel.png", &changed, "invalid", "dataHash.mismatch"),
            (
                "manifest-of-other-image",
                "another image's manifest",
                "swapped.png",
                &swapped,
                "invalid",
                "manifest binding",
            ),
            (
                "image-model-stripped",
                "the model's manifest is gone",
                "stripped.png",
                &stripped,
                "invalid",
                "missing from the store",
            ),
            ("image-two-manifests", "the manifest twice", "twice.png", &twice, "unknown", "cannot be read"),
            ("image-manifest-removed", "no manifest at all", "bare.png", &bare, "absent", "no provenance"),
            ("sound-sample-changed", "one sample", "sample.wav", &sound, "invalid", "dataHash.mismatch"),
        ];
        for (name, story, file, bytes, state, reason) in files {
            self.put(file, bytes)?;
            self.case(name, story, file, &[], state, reason);
        }
        Ok(())
    }

    fn sidecars(&mut self) -> Result<()> {
        let (answer, other) = (self.read("answer.txt")?, self.read("other.txt")?);
        let (store, others) = (self.read("answer.c2pa")?, self.read("other.c2pa")?);
        let manifests = manifests_of(&store);
        let [model, own] = &*manifests else { return Err("two manifests were expected".into()) };
        let flipped = |needle: &[u8]| -> Result<Vec<u8>> {
            let mut bytes = store.clone();
            let place = find(&bytes, needle)?;
            bytes[place + needle.len() - 1] ^= 1;
            Ok(bytes)
        };
        let unreferenced = store_of(&[manifests_of(&others)[1].clone(), model.clone(), own.clone()]);
        let mut rest = store.clone();
        rest[3] ^= 8;
        let files: Vec<Side<'_>> = vec![
            ("text-of-another", "another text", &other, store.clone(), "invalid", "manifest is about bytes"),
            (
                "sidecar-truncated",
                "the end is missing",
                &answer,
                store[..store.len() - 9].to_vec(),
                "invalid",
                "framing",
            ),
            ("sidecar-empty", "nothing", &answer, vec![], "invalid", "framing"),
            ("sidecar-png-instead", "an image", &answer, samples::png(0), "invalid", "framing"),
            ("sidecar-trailing-garbage", "bytes after it", &answer, [&store[..], b"x"].concat(), "invalid", "follow"),
            ("sidecar-trailing-zeros", "zeros after it", &answer, [&store[..], &[0; 4]].concat(), "invalid", "follow"),
            ("sidecar-twice", "two stores", &answer, [&store[..], &store].concat(), "invalid", "follow"),
            ("sidecar-length", "another length in front", &answer, rest, "invalid", "framing"),
            (
                "sidecar-flipped-assertion",
                "another source type",
                &answer,
                flipped(b"trainedAlgorithmicMedia")?,
                "invalid",
                "not the one that was signed",
            ),
            (
                "sidecar-unreferenced",
                "a manifest that nothing names",
                &answer,
                unreferenced,
                "invalid",
                "nothing refers to",
            ),
            (
                "sidecar-manifest-twice",
                "a manifest twice",
                &answer,
                store_of(&[model.clone(), model.clone(), own.clone()]),
                "invalid",
                "stands there twice",
            ),
            (
                "sidecar-model-stripped",
                "the model's manifest is gone",
                &answer,
                store_of(std::slice::from_ref(own)),
                "invalid",
                "missing from the store",
            ),
            (
                "sidecar-content-stripped",
                "only the model's manifest",
                &answer,
                store_of(std::slice::from_ref(model)),
                "invalid",
                "manifest is about bytes",
            ),
            (
                "sidecar-swapped",
                "the model's manifest last",
                &answer,
                store_of(&[own.clone(), model.clone()]),
                "invalid",
                "manifest is about bytes",
            ),
        ];
        for (name, story, about, store, state, reason) in files {
            self.side(name, story, (about, &store), state, reason)?;
        }
        // Two sidecars under the two names that are looked for.
        self.side(
            "sidecar-one-of-two-bad",
            "a good sidecar and a bad one",
            (&answer, &store),
            "invalid",
            "manifest is about",
        )?;
        self.put("sidecar-one-of-two-bad.c2pa", &others)?;
        // A release's sidecar without its bundle.
        self.put("data.csv", &self.read("data.csv")?)?;
        self.put("data.csv.c2pa", &self.read("data.csv.c2pa")?)?;
        let story = "a release's sidecar without its bundle";
        self.case("statement-not-at-hand", story, "data.csv", &[], "unknown", "which is not at hand");
        Ok(())
    }

    /// What the manifests behind it come to.
    fn chain(&mut self) -> Result<()> {
        self.paint("answer.txt", "base", "keys", "deep.c2pa")?;
        let answer = self.read("answer.txt")?;
        let deep = self.read("deep.c2pa")?;
        self.side("chain-of-three", "content, its model, the model's data", (&answer, &deep), "unanchored", "")?;
        self.paint("answer.txt", "imposter", "keys", "of-stranger.c2pa")?;
        let store = self.read("of-stranger.c2pa")?;
        let story = "nobody vouches for the model's signer";
        self.side("parent-signer-unknown", story, (&answer, &store), "unknown-signer", "input imposter")?;
        self.paint("answer.txt", "painter", "strange", "by-stranger.c2pa")?;
        let store = self.read("by-stranger.c2pa")?;
        let story = "nobody vouches for whoever signed it";
        self.side("content-signer-unknown", story, (&answer, &store), "unknown-signer", "manifest signer")?;
        for (name, story, relation, kind) in [
            ("parent-without-manifest", "its model is a name only", Relation::GeneratedBy, Kind::GeneratedContent),
            ("dataset-without-hash", "its data are a name only", Relation::TrainedOn, Kind::Model),
        ] {
            let store = self.unbound(&answer, relation, kind)?;
            self.side(name, story, (&answer, &store), "unknown", "named, not bound")?;
        }
        Ok(())
    }

    /// A sidecar that names an input without saying which bytes it was.
    fn unbound(&self, about: &[u8], relation: Relation, kind: Kind) -> Result<Vec<u8>> {
        let chain = Chain::from_pem(&fs::read_to_string(self.work("keys/owner.crt"))?)?;
        let signer = Signer::new(keys::load(&self.work("keys/owner.key"))?, &chain)?;
        let input = Input { relation, name: "something", kind: None, statement: None, root: None, manifest: None };
        let declared = Declared::default();
        let (prompt, software, listing) = (None, None, None);
        let content =
            Content { name: "x.txt", kind, inputs: vec![input], prompt, software, declared: &declared, listing };
        debug_assert!(format::of(about).is_none());
        Ok(sidecar(content, Hash::sha256(about).0, &signer)?)
    }

    fn policies(&mut self) -> Result<()> {
        let policy = String::from_utf8(self.read("keys/policy.toml")?)?;
        let key = policy.lines().find(|line| line.starts_with("key = ")).ok_or("a key")?.to_owned();
        let signer = policy.find("[[signer]]").ok_or("a signer")?;
        let root = policy.find("[[certificate_root]]").ok_or("a root")?;
        let only_root = format!("{}{}", &policy[..signer], &policy[root..]);
        let years = rfc3339(keyset::now() + 2 * 366 * 86_400);
        let changes: [(&str, &str, String, &str, &str); 5] = [
            (
                "content-signer-revoked",
                "its signer's key was stolen",
                format!("{policy}\n[[revoked]]\n{key}\nreason = \"stolen\"\n"),
                "revoked",
                "stolen",
            ),
            (
                "content-name-denied",
                "its signer may vouch for other names",
                policy.replacen(&key, &format!("{key}\nnames = [\"x*\"]"), 1),
                "unknown-signer",
                "may not vouch",
            ),
            (
                "content-relation-denied",
                "its signer may not say what models produced",
                policy.replacen(&key, &format!("{key}\nrelations = [\"trained-on\"]"), 1),
                "unknown-signer",
                "may not state",
            ),
            (
                "content-log-required",
                "the policy asks for a log entry",
                format!("{policy}\n[require]\nlog = true\n"),
                "unknown",
                "log entry",
            ),
            ("content-root-only", "the policy knows the root and no key", only_root.clone(), "unanchored", ""),
        ];
        for (name, story, policy, state, reason) in changes {
            let file = format!("{name}.toml");
            self.put(&file, policy.as_bytes())?;
            self.case(name, story, "painted.png", &[("policy", &format!("{FOLDER}/{file}"))], state, reason);
        }
        let options = [("policy", "content/content-root-only.toml"), ("at", &*years)];
        let story = "the certificate expired, and nothing dates the signature";
        self.case("content-certificate-expired", story, "painted.png", &options, "unknown", "expired");
        Ok(())
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Result<usize> {
    Ok(bytes.windows(needle.len()).rposition(|window| window == needle).ok_or("bytes were expected")?)
}

/// The store in a PNG, and begin and end of its chunk.
fn store_in_png(bytes: &[u8]) -> Result<(Vec<u8>, (usize, usize))> {
    let kind = bytes.windows(4).position(|window| window == b"caBX").ok_or("a manifest was expected")?;
    let length = u32::from_be_bytes(bytes[kind - 4..kind].try_into()?) as usize;
    Ok((bytes[kind + 4..kind + 4 + length].to_vec(), (kind - 4, kind + 8 + length)))
}

/// The manifests of a store, as whole boxes.
fn manifests_of(store: &[u8]) -> Vec<Vec<u8>> {
    boxes(boxes(store)[0].get(8..).unwrap_or_default())[1..].iter().map(|manifest| manifest.to_vec()).collect()
}

fn boxes(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(length) = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
        let Some((next, rest)) = bytes.split_at_checked(length.max(8)) else { break };
        found.push(next);
        bytes = rest;
    }
    found
}

/// A store of these manifests (JUMBF: description of type `c2pa`, requestable, labelled).
fn store_of(manifests: &[Vec<u8>]) -> Vec<u8> {
    let boxed = |kind: &[u8; 4], data: &[u8]| [&(data.len() as u32 + 8).to_be_bytes()[..], kind, data].concat();
    let description = boxed(b"jumd", b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\x03c2pa\0");
    boxed(b"jumb", &[description, manifests.concat()].concat())
}
