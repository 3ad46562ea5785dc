//! OpenSSF Model Signing: what the specification has refused, and what its Python reference lets through. Every forged
//! statement here carries a valid signature, so that nothing but the forgery can be what is refused.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countermark::io::{files, keys};
use countermark::lineage::credential::dsse::pae;
use countermark::lineage::credential::keys::{Algorithm, PrivateKey, signature_to_der};
use countermark::lineage::credential::oms::{Bundle, hint};
use countermark::lineage::digest::Hash;
use countermark::lineage::digest::pieces::{Function, digest, hex};
use countermark::oms::{SignRequest, sign};
use countermark::silent;

use crate::{Case, Result, World};

mod chains;
mod releases;

/// Files of the model, the bundles, and a model with one file more.
const FOLDER: &str = "oms";

/// Long before and long after anybody runs this.
const DECADES: (&str, &str) = ("20200101", "20991231");

struct Forge {
    out: PathBuf,
    key: std::sync::Arc<dyn PrivateKey>,
    cases: Vec<Case>,
}

/// The cases, with models, keys and bundles written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    let out = world.out.join(FOLDER);
    for (name, text) in [("model/w", "1"), ("model/a/b", "2"), ("extra/w", "1"), ("extra/a/b", "2"), ("extra/x", "3")] {
        let path = out.join(name);
        fs::create_dir_all(files::parent(&path))?;
        fs::write(path, text)?;
    }
    for (name, files) in [("missing", &[("w", "1")][..]), ("changed", &[("w", "1"), ("a/b", "5")])] {
        for (file, text) in files {
            let path = out.join(name).join(file);
            fs::create_dir_all(files::parent(&path))?;
            fs::write(path, text)?;
        }
    }
    let (pem, key) = keys::pkcs8::generate(Algorithm::P256, None)?;
    files::write(&world.at("oms.key"), pem.as_bytes(), files::SECRET)?;
    fs::write(out.join("key.pub"), key.public().to_pem())?;
    let (_, other) = keys::pkcs8::generate(Algorithm::P256, None)?;
    fs::write(out.join("other.pub"), other.public().to_pem())?;
    let mut forge = Forge { out, key, cases: vec![] };
    forge.good(world)?;
    forge.bundles()?;
    forge.statements()?;
    forge.files()?;
    forge.certificates()?;
    forge.releases(world)?;
    Ok(forge.cases)
}

fn sha256(text: &str) -> String {
    Hash::sha256(text.as_bytes()).to_string()
}

/// A resource as JSON.
fn resource(name: &str, digest: &str, algorithm: &str) -> String {
    format!(r#"{{"name":"{name}","digest":"{digest}","algorithm":"{algorithm}"}}"#)
}

/// The root over these digests.
fn root(digests: &[&str]) -> String {
    let raw = |digest: &&str| Function::Sha256.parse_digest(digest).or_else(|| Function::Blake2b.parse_digest(digest));
    let bytes: Vec<u8> = digests.iter().filter_map(raw).flatten().collect();
    Hash::sha256(&bytes).to_string()
}

fn statement(root: &str, resources: &[String], serialization: &str) -> String {
    let subject = format!(r#"{{"name":"model","digest":{{"sha256":"{root}"}}}}"#);
    let predicate = format!(r#"{{"resources":[{}],"serialization":{{{serialization}}}}}"#, resources.join(","));
    [
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":["#,
        &subject,
        r#"],"predicateType":"https://model_signing/signature/v1.0","predicate":"#,
        &predicate,
        "}",
    ]
    .concat()
}

const FILES: &str =
    r#""method":"files","hash_type":"sha256","allow_symlinks":false,"ignore_paths":[".git","model.sig"]"#;

/// A good payload for `model`.
fn good() -> String {
    let (a, w) = (sha256("2"), sha256("1"));
    statement(&root(&[&a, &w]), &[resource("a/b", &a, "sha256"), resource("w", &w, "sha256")], FILES)
}

impl Forge {
    /// A case of `oms verify` against our key.
    fn case(&mut self, name: &str, story: &str, model: &str, state: &str, reason: &str) {
        let options = [("signature", format!("{FOLDER}/{name}.sig")), ("key", format!("{FOLDER}/key.pub"))];
        self.push(name, story, model, &options, state, reason);
    }

    fn push(&mut self, name: &str, story: &str, model: &str, options: &[(&str, String)], state: &str, reason: &str) {
        let options: Vec<(&str, &str)> = options.iter().map(|(option, value)| (*option, &**value)).collect();
        let path = format!("{FOLDER}/{model}");
        self.cases.push(Case::new(&format!("oms-{name}"), story, "oms verify", &path, &options, state, reason));
    }

    fn write(&self, name: &str, bundle: &str) -> Result<()> {
        Ok(fs::write(self.out.join(format!("{name}.sig")), bundle)?)
    }

    fn signed(&self, payload: &str) -> Result<String> {
        Ok(Bundle::sign(payload.as_bytes(), &*self.key, &[])?)
    }

    /// Signs under another payload type.
    fn signed_as(&self, payload: &str, payload_type: &str) -> Result<String> {
        let good = self.signed(payload)?;
        let signature = self.key.sign(&pae(payload_type, payload.as_bytes()))?;
        let mut bundle: serde_json::Value = serde_json::from_str(&good)?;
        bundle["dsseEnvelope"]["payloadType"] = payload_type.into();
        bundle["dsseEnvelope"]["signatures"][0]["sig"] =
            STANDARD.encode(signature_to_der(self.key.public().algorithm(), &signature)).into();
        Ok(bundle.to_string())
    }

    fn good(&mut self, world: &World) -> Result<()> {
        for (name, function, shard_size) in [
            ("good", Function::Sha256, None),
            ("good-blake3", Function::Blake3, None),
            ("good-blake2b", Function::Blake2b, None),
            ("good-shards", Function::Sha256, Some(1)),
        ] {
            let mut request = SignRequest::new(self.out.join("model"), world.at("oms.key"));
            request.out = Some(self.out.join(format!("{name}.sig")));
            (request.function, request.shard_size) = (function, shard_size);
            sign(&request, &silent())?;
            self.case(name, "nothing is wrong", "model", "verified", "what was signed");
        }
        self.write("good-other-writer", &self.signed(&good())?)?;
        self.case("good-other-writer", "signed by hand, as other tools do", "model", "verified", "what was signed");
        Ok(())
    }

    fn bundles(&mut self) -> Result<()> {
        let good = self.signed(&good())?;
        let key = hint(&self.key.public());
        let swap = |from: &str, to: &str| good.replacen(from, to, 1);
        let cases = [
            ("media-type", "another media type", swap("v0.3+json", "v0.2+json"), "mediaType"),
            (
                "extra-member",
                "a member that the schema does not know",
                swap(r#"{"mediaType""#, r#"{"x":1,"mediaType""#),
                "unknown field",
            ),
            (
                "key-twice",
                "one key twice in an object",
                swap(r#""tlogEntries":[]"#, r#""tlogEntries":[],"tlogEntries":[]"#),
                "stands twice",
            ),
            ("no-signature", "no signature", swap(r#""signatures":["#, r#""signatures":[],"x":["#), ""),
            (
                "no-material",
                "nothing names the signer",
                swap(&format!(r#""publicKey":{{"hint":"{key}"}},"#), ""),
                "neither key nor certificate",
            ),
            (
                "mixed-material",
                "a key and a certificate",
                swap(r#""publicKey""#, r#""certificate":{"rawBytes":"AAAA"},"publicKey""#),
                "mixes",
            ),
            ("hint-of-another", "names another key", swap(&key, &sha256("")), "another key"),
            ("truncated", "the first half of the file", good[..good.len() / 2].to_owned(), ""),
            ("not-json", "no JSON", "model.sig".to_owned(), ""),
            (
                "payload-swapped",
                "another payload under the signature",
                {
                    let payload = STANDARD.encode(crate::oms::good());
                    let other = STANDARD.encode(crate::oms::good().replace(&sha256("1"), &sha256("9")));
                    swap(&payload, &other)
                },
                "does not fit",
            ),
            (
                "sigstore-without-entry",
                "keyless, without an entry of a log",
                swap(&format!(r#""publicKey":{{"hint":"{key}"}}"#), r#""certificate":{"rawBytes":"AAAA"}"#),
                "method sigstore",
            ),
        ];
        for (name, story, bundle, reason) in cases {
            self.write(name, &bundle)?;
            self.case(name, story, "model", "invalid", reason);
        }
        let bundle = self.signed_as(&crate::oms::good(), "application/json")?;
        self.write("payload-type", &bundle)?;
        self.case("payload-type", "another payload type, signed", "model", "invalid", "payloadType");
        let options = [("signature", format!("{FOLDER}/good.sig")), ("key", format!("{FOLDER}/other.pub"))];
        self.push("wrong-key", "another key was asked for", "model", &options, "invalid", "another key");
        let options = [("signature", format!("{FOLDER}/good.sig")), ("certificate-root", format!("{FOLDER}/root.pem"))];
        self.push(
            "key-verified-as-certificate",
            "signed by a key",
            "model",
            &options,
            "invalid",
            "method certificate was asked for",
        );
        let options = [("signature", format!("{FOLDER}/good.sig")), ("policy", "policy.toml".to_owned())];
        self.push(
            "unknown-to-the-policy",
            "nobody vouches for the key",
            "model",
            &options,
            "unknown-signer",
            "nobody in the policy",
        );
        Ok(())
    }

    /// Statements that are wrong under a signature that is right.
    fn statements(&mut self) -> Result<()> {
        let (a, w) = (sha256("2"), sha256("1"));
        let both = [resource("a/b", &a, "sha256"), resource("w", &w, "sha256")];
        let blake3 = hex(&digest(&b"1"[..], Function::Blake3, &|_| ())?);
        let swap = |from: &str, to: &str| good().replacen(from, to, 1);
        let listed = |resources: &[String], digests: &[&str]| statement(&root(digests), resources, FILES);
        let cases = [
            ("statement-type", "another _type", swap("Statement/v1", "Statement/v0.1"), "_type"),
            ("predicate-type", "another predicateType", swap("signature/v1.0", "signature/v9.0"), "predicateType"),
            (
                "predicate-version",
                "version 1.1 of the predicate",
                swap("signature/v1.0", "signature/v1.1"),
                "predicateType",
            ),
            ("no-predicate", "no predicate", swap(r#""predicate":{"#, r#""subjects":{"#), ""),
            ("no-subject", "no subject", swap(r#""subject":[{"#, r#""subject":[],"predicated":[{"#), ""),
            (
                "two-subjects",
                "two subjects",
                swap(r#""subject":["#, &format!(r#""subject":[{{"name":"x","digest":{{"sha256":"{a}"}}}},"#)),
                "exactly one",
            ),
            ("subject-without-name", "the subject has no name", swap(r#""name":"model""#, r#""name":"""#), "no name"),
            ("root-of-another", "the root of other resources", swap(&root(&[&a, &w]), &root(&[&w])), "not the root"),
            (
                "reordered",
                "the resources in another order than the root",
                swap(&both.join(","), &format!("{},{}", both[1], both[0])),
                "not the root",
            ),
            (
                "no-resources",
                "no resources, and the only files ignored",
                statement(&root(&[]), &[], &FILES.replace(".git", "w")),
                "no resources",
            ),
            (
                "duplicate-resource",
                "one file twice",
                listed(&[both[0].clone(), both[1].clone(), both[1].clone()], &[&a, &w, &w]),
                "listed twice",
            ),
            (
                "name-dot",
                "a name that is not in its shortest form",
                swap(r#""name":"w""#, r#""name":"./w""#),
                "shortest form",
            ),
            ("name-climbs", "a name with ..", swap(r#""name":"w""#, r#""name":"a/../w""#), "climbs"),
            ("name-absolute", "an absolute name", swap(r#""name":"w""#, r#""name":"/w""#), "absolute"),
            ("ignored-glob", "a glob among the ignored paths", swap(r#""model.sig""#, r#""*""#), "glob"),
            ("ignored-absolute", "an absolute ignored path", swap(r#""model.sig""#, r#""/etc""#), "absolute"),
            ("ignored-climbs", "an ignored path that climbs", swap(r#""model.sig""#, r#""../x""#), "climbs"),
            ("ignored-all", "everything ignored", swap(r#""model.sig""#, r#"".""#), "shortest form"),
            (
                "listed-and-ignored",
                "a file that is listed and ignored",
                swap(r#""model.sig""#, r#""a""#),
                "listed and ignored",
            ),
            (
                "hash-type",
                "blake3 stated over sha256 resources",
                swap(r#""hash_type":"sha256""#, r#""hash_type":"blake3""#),
                "hash_type",
            ),
            (
                "hash-unknown",
                "a hash that nobody knows",
                swap(r#""hash_type":"sha256""#, r#""hash_type":"md5""#),
                "hash_type",
            ),
            ("digest-upper-case", "a digest in upper case", swap(&w, &w.to_uppercase()), "lower-case"),
            ("digest-short", "a digest that is too short", swap(&w, &w[..62]), "lower-case"),
            (
                "algorithm-missing",
                "a resource without its algorithm",
                swap(r#","algorithm":"sha256""#, ""),
                "algorithm",
            ),
            (
                "links-unstated",
                "nothing says whether links were followed",
                swap(r#","allow_symlinks":false"#, ""),
                "allow_symlinks",
            ),
            (
                "shard-size-with-files",
                "a shard size beside whole files",
                swap(r#""allow_symlinks""#, r#""shard_size":4,"allow_symlinks""#),
                "shard_size",
            ),
            (
                "extra-predicate-member",
                "a member of the predicate that nobody knows",
                swap(r#""serialization""#, r#""model_card":{},"serialization""#),
                "unknown field",
            ),
            (
                "statement-key-twice",
                "a key twice in the payload",
                swap(r#""name":"w""#, r#""name":"w","name":"w""#),
                "stands twice",
            ),
            (
                "shards-misplaced",
                "a shard that begins where none does",
                statement(
                    &root(&[&w]),
                    &[resource("w:1:2", &w, "sha256-sharded-4")],
                    &FILES.replace(r#""files""#, r#""shards","shard_size":4"#),
                ),
                "shard of 4 bytes",
            ),
            (
                "digest-of-another-hash",
                "the right file under the digest of another hash",
                listed(&[both[0].clone(), resource("w", &blake3, "sha256")], &[&a, &blake3]),
                "w was changed",
            ),
        ];
        for (name, story, payload, reason) in cases {
            let bundle = self.signed(&payload)?;
            self.write(name, &bundle)?;
            self.case(name, story, "model", "invalid", reason);
        }
        let shards = &FILES.replace(r#""files""#, r#""shards","shard_size":4.0"#);
        let payload = statement(
            &root(&[&a, &w]),
            &[resource("a/b:0:1", &a, "sha256-sharded-4"), resource("w:0:1", &w, "sha256-sharded-4")],
            shards,
        );
        let bundle = self.signed(&payload)?;
        self.write("good-shards-of-the-reference", &bundle)?;
        self.case(
            "good-shards-of-the-reference",
            "a shard size written as 4.0",
            "model",
            "verified",
            "shards of 4 bytes",
        );
        Ok(())
    }

    /// Good bundles, other files.
    fn files(&mut self) -> Result<()> {
        let bundle = self.signed(&good())?;
        for (name, story, model, reason) in [
            ("extra-file", "a file that was not signed", "extra", "x was not signed"),
            ("missing-file", "a file is gone", "missing", "a/b is missing"),
            ("changed-file", "a file was changed", "changed", "a/b was changed"),
        ] {
            self.write(name, &bundle)?;
            self.case(name, story, model, "invalid", reason);
        }
        let of_one = statement(&root(&[&sha256("1")]), &[resource(".", &sha256("1"), "sha256")], FILES);
        let bundle = self.signed(&of_one)?;
        self.write("good-single-file", &bundle)?;
        self.case("good-single-file", "one file under the name that the reference gives it", "model/w", "verified", "");
        self.write("single-file-for-folder", &bundle)?;
        self.case("single-file-for-folder", "one file was signed", "model", "invalid", "a single file was signed");
        self.write("another-single-file", &bundle)?;
        self.case(
            "another-single-file",
            "another file than the one that was signed",
            "model/a/b",
            "invalid",
            "was changed",
        );
        Ok(())
    }
}
