//! Releases with the manifest inside the file: signed, carried, verified; damaged in every place; read once; and loaded by
//! everybody else.

mod foreign;
mod once;

use std::fs;
use std::path::{Path, PathBuf};

use countermark::formats::manifest::{self, Found};
use countermark::lineage::bundle::{Bundle, Bytes};
use countermark::lineage::credential::{c2pa, embedded};
use countermark::lineage::graph::Relation;
use countermark::lineage::verdict::{State, Verdict};
use countermark::sign::{self, ParentRequest};
use countermark::verify::{self, Part};
use countermark::{embed, keyset, silent};

/// A folder with keys and a log.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = World { folder: tempfile::tempdir().unwrap() };
        keyset::generate(&world.at("keys"), "Example Lab").unwrap();
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn request(&self, path: &str, embed: Option<&str>) -> sign::Request {
        let mut request = sign::Request::new(self.at(path), self.at("keys/owner.key"));
        request.log = Some(self.at("log"));
        request.embed = embed.map(|embed| self.at(embed));
        request
    }

    fn sign(&self, path: &str, embed: Option<&str>) {
        sign::sign(&self.request(path, embed), &silent()).unwrap();
    }

    fn verify(&self, path: &str, bundle: Option<&str>) -> Verdict {
        let mut request = verify::Request::new(self.at(path));
        request.bundle = bundle.map(|bundle| self.at(bundle));
        request.policy = Some(self.at("keys/policy.toml"));
        verify::verify(&request, &silent()).unwrap()
    }

    fn bundle(&self, name: &str) -> Bundle {
        Bundle::parse(&fs::read(self.at(name)).unwrap()).unwrap()
    }
}

#[track_caller]
fn assert_row(verdict: &Verdict, state: State, name: &str, words: &str) {
    let found = verdict.checks.iter().any(|row| row.state == state && row.name == name && row.detail.contains(words));
    assert!(found, "{state} {name}: {words}: {verdict:#?}");
}

/// One tensor of `length` bytes.
fn model(length: usize) -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt"}},"w":{{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}"#
    );
    let weights = (0..length).map(|i| (i % 251) as u8);
    (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(weights).collect()
}

/// An ONNX model with one initialiser of bytes, and a Parquet file without columns.
fn others() -> [(&'static str, Vec<u8>); 2] {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let tensor = [&[1 << 3, 3, 2 << 3, 2][..], &field(8, b"w"), &field(9, b"abc")].concat();
    let onnx = [&[1 << 3, 8][..], &field(7, &field(5, &tensor)), &field(8, &[2 << 3, 17])].concat();
    let parquet = [&b"PAR1columns"[..], &[0x15, 4, 0], &[3, 0, 0, 0], b"PAR1"].concat();
    [("m.onnx", onnx), ("d.parquet", parquet)]
}

#[test]
fn a_release_of_every_format() {
    let world = World::new();
    for (name, bytes) in [("m.safetensors", model(300))].into_iter().chain(others()) {
        world.write(name, &bytes);
        let copy = format!("dist/{name}");
        world.sign(name, Some(&copy));
        assert_eq!(fs::read(world.at(name)).unwrap(), bytes, "the original stays");
        assert!(!world.at(&format!("{name}.c2pa")).exists() && !world.at(&format!("dist/{name}.c2pa")).exists());
        let verdict = world.verify(&copy, None);
        assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
        assert_row(&verdict, State::Verified, "embedded manifest", "are that of the bundle");
        assert_row(&verdict, State::Verified, "files", "without its manifest");
        assert_row(&verdict, State::Verified, "manifest binding", "all but its own text");

        // The file that there was before is what was signed, and lacks its manifest.
        let verdict = world.verify(name, Some(&format!("{copy}.provenance.json")));
        assert_eq!(verdict.state, State::Unknown, "{verdict:#?}");
        assert_row(&verdict, State::Verified, "files", "1 file re-hashed, root");
        assert_row(&verdict, State::Unknown, "embedded manifest", "is not there");

        // Under another name it is the same file.
        let renamed = format!("renamed-{name}");
        fs::copy(world.at(&copy), world.at(&renamed)).unwrap();
        let verdict = world.verify(&renamed, Some(&format!("{copy}.provenance.json")));
        assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    }
    let mut request = verify::Request::new(world.at("dist/m.safetensors"));
    request.policy = Some(world.at("keys/policy.toml"));
    request.part = Some(Part::Tensor("w".into()));
    let verdict = verify::verify(&request, &silent()).unwrap();
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert_row(&verdict, State::Verified, "manifest binding", "only its form was checked");
}

#[test]
fn every_byte_of_the_file_counts() {
    let world = World::new();
    for (name, bytes) in [("m.safetensors", model(40))].into_iter().chain(others()) {
        world.write(name, &bytes);
        let (copy, bundle) = (&*format!("copy-{name}"), &*format!("copy-{name}.provenance.json"));
        world.sign(name, Some(copy));
        let whole = fs::read(world.at(copy)).unwrap();
        assert_eq!(world.verify(copy, Some(bundle)).state, State::Unanchored);
        let mut changed = whole.clone();
        // Each flip asks for a whole verification, so within the text only some places are taken.
        let Ok(Some(Found::Embedded(found))) = manifest::find(name, &whole, None) else { panic!("{name}") };
        let is_text = |at: usize| found.span.contains(&(at as u64));
        for at in (0..whole.len()).filter(|at| !is_text(*at) || at % 97 == 0) {
            changed[at] ^= 1;
            fs::write(world.at(copy), &changed).unwrap();
            let verdict = world.verify(copy, Some(bundle));
            assert_eq!(verdict.state.exit_code().clamp(0, 1), 1, "{name}, byte {at}: {verdict:#?}");
            changed[at] ^= 1;
        }
        for length in (0..whole.len()).step_by(whole.len() / 40) {
            fs::write(world.at(copy), &whole[..length]).unwrap();
            let verdict = world.verify(copy, Some(bundle));
            assert_eq!(verdict.state, State::Invalid, "{name}, cut at {length}: {verdict:#?}");
        }
        fs::write(world.at(copy), [&whole[..], b"\0"].concat()).unwrap();
        assert_eq!(world.verify(copy, Some(bundle)).state, State::Invalid);
    }
}

#[test]
fn both_places_are_checked() {
    let world = World::new();
    world.write("m.safetensors", &model(300));
    world.sign("m.safetensors", Some("dist/m.safetensors"));
    let good = fs::read(world.at("dist/m.safetensors")).unwrap();
    let bundle = world.bundle("dist/m.safetensors.provenance.json");
    let store = bundle.records[0].manifest.clone().unwrap().0;

    // A sidecar beside it must be the same manifest.
    fs::write(world.at("dist/m.safetensors.c2pa"), &store).unwrap();
    assert_eq!(world.verify("dist/m.safetensors", None).state, State::Unanchored);
    world.write("n.safetensors", &model(301));
    world.sign("n.safetensors", None);
    fs::copy(world.at("n.safetensors.c2pa"), world.at("dist/m.safetensors.c2pa")).unwrap();
    let verdict = world.verify("dist/m.safetensors", None);
    assert_eq!(verdict.state, State::Invalid);
    assert_row(&verdict, State::Invalid, "provenance files", "is not what was checked");
    fs::remove_file(world.at("dist/m.safetensors.c2pa")).unwrap();

    // The embedded one must be that of the bundle.
    world.sign("n.safetensors", Some("dist/n.safetensors"));
    let mut swapped = world.bundle("dist/m.safetensors.provenance.json");
    swapped.records[0].manifest = world.bundle("dist/n.safetensors.provenance.json").records[0].manifest.clone();
    world.write("swapped.json", swapped.to_json().as_bytes());
    let verdict = world.verify("dist/m.safetensors", Some("swapped.json"));
    assert_eq!(verdict.state, State::Invalid);
    assert_row(&verdict, State::Invalid, "embedded manifest", "is not that of the bundle");
    assert_row(&verdict, State::Invalid, "log", "the logged manifest is not that of this release");
    // Another good one put inside.
    let Ok(Some(Found::Embedded(other))) =
        manifest::find("m", &fs::read(world.at("dist/n.safetensors")).unwrap(), None)
    else {
        panic!("not found")
    };
    let Ok(Some(Found::Embedded(manifest::Embedded { span, .. }))) = manifest::find("m", &good, None) else {
        panic!("not found")
    };
    let mut file = good.clone();
    assert_eq!(other.store.len(), store.len());
    file[span.start as usize..span.end as usize].copy_from_slice(manifest::encode(&other.store).as_bytes());
    world.write("dist/m.safetensors", &file);
    let verdict = world.verify("dist/m.safetensors", None);
    assert_eq!(verdict.state, State::Invalid);
    assert_row(&verdict, State::Invalid, "embedded manifest", "is not that of the bundle");

    // A bundle without its manifest leaves nothing to take out by.
    let mut stripped = bundle.clone();
    stripped.records[0].manifest = None;
    world.write("stripped.json", stripped.to_json().as_bytes());
    world.write("dist/m.safetensors", &good);
    let verdict = world.verify("dist/m.safetensors", Some("stripped.json"));
    assert_eq!(verdict.state, State::Invalid);
    let mut garbled = bundle;
    garbled.records[0].manifest = Some(Bytes(b"no store".to_vec()));
    world.write("garbled.json", garbled.to_json().as_bytes());
    assert_eq!(world.verify("dist/m.safetensors", Some("garbled.json")).state, State::Invalid);
}

/// A file that came with somebody's manifest inside is signed as it is: then that manifest speaks beside ours.
#[test]
fn a_manifest_that_was_inside_before_is_judged_by_itself() {
    let world = World::new();
    world.write("m.safetensors", &model(300));
    let put_in = |out: &str| {
        let (path, key, out) = (world.at("m.safetensors"), world.at("keys/owner.key"), world.at(out));
        embed::embed(&embed::Request { path, key, certificate: None, out, kind: None }, &silent()).unwrap()
    };
    let written = put_in("found.safetensors");
    world.sign("found.safetensors", None);
    let verdict = world.verify("found.safetensors", None);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert_row(&verdict, State::Verified, "embedded manifest binding", "all but its own text");
    assert_row(&verdict, State::Verified, "embedded manifest signer", "");
    assert_row(&verdict, State::Verified, "files", "1 file re-hashed, root");

    // Signed again after its weights were changed: the statement is right, and what is inside is not.
    let mut file = fs::read(world.at("found.safetensors")).unwrap();
    let last = file.len() - 1;
    file[last] ^= 1;
    world.write("found.safetensors", &file);
    world.sign("found.safetensors", None);
    let verdict = world.verify("found.safetensors", None);
    assert_eq!(verdict.state, State::Invalid);
    assert_row(&verdict, State::Invalid, "embedded manifest binding", "is about bytes with SHA-256");
    // A manifest that can be read in two ways is no better for having been signed.
    file[written.span.0 as usize] = b'!';
    world.write("found.safetensors", &file);
    world.sign("found.safetensors", None);
    let verdict = world.verify("found.safetensors", None);
    assert_eq!(verdict.state, State::Invalid);
    assert_row(&verdict, State::Invalid, "embedded manifest", "not plain Base64");
    // Somebody else's, whom nobody vouches for.
    keyset::generate(&world.at("stranger"), "Stranger").unwrap();
    let (path, key, out) = (world.at("m.safetensors"), world.at("stranger/owner.key"), world.at("strange.safetensors"));
    embed::embed(&embed::Request { path, key, certificate: None, out, kind: None }, &silent()).unwrap();
    world.sign("strange.safetensors", None);
    let verdict = world.verify("strange.safetensors", None);
    assert_eq!(verdict.state, State::UnknownSigner);
    assert_row(&verdict, State::UnknownSigner, "embedded manifest signer", "no given root vouches");
}

#[test]
fn a_parent_with_its_manifest_inside() {
    let world = World::new();
    world.write("base.safetensors", &model(300));
    world.write("child.safetensors", &model(301));
    world.sign("base.safetensors", Some("dist/base.safetensors"));
    let sign = |path: Option<&str>, out: &str| {
        let mut request = world.request("child.safetensors", None);
        request.out = Some(world.at(out));
        let bundle = world.at("dist/base.safetensors.provenance.json");
        request.parents =
            vec![ParentRequest { relation: Relation::FineTunedFrom, bundle, path: path.map(|path| world.at(path)) }];
        sign::sign(&request, &silent()).map_err(|error| error.to_string())
    };
    for (path, out, manifests) in [
        // Its manifest travels along where it was checked against its bytes.
        (Some("dist/base.safetensors"), "with.provenance.json", 2),
        (Some("base.safetensors"), "without.provenance.json", 1),
        (None, "named.provenance.json", 1),
    ] {
        sign(path, out).unwrap();
        let store = world.bundle(out).records[0].manifest.clone().unwrap().0;
        assert_eq!(c2pa::read(&store).unwrap().manifests, manifests, "{out}");
        let verdict = world.verify("child.safetensors", Some(out));
        assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
        assert_row(&verdict, State::Verified, "parent base.safetensors: manifest", "its bytes are not at hand");
    }
    let mut file = fs::read(world.at("dist/base.safetensors")).unwrap();
    let last = file.len() - 1;
    file[last] ^= 1;
    world.write("dist/base.safetensors", &file);
    assert!(sign(Some("dist/base.safetensors"), "bad.provenance.json").unwrap_err().contains("not the parent"));
}

#[test]
fn what_cannot_be_embedded_is_refused_before_anything_is_written() {
    let world = World::new();
    let (name, bytes) = ("m.safetensors", model(300));
    world.write(name, &bytes);
    world.write("data.csv", b"a,b\n");
    world.write("folder/m.safetensors", &bytes);
    world.write("there.safetensors", b"of the user");
    world.write("beside.safetensors.c2pa", b"of something else");
    world.sign(name, Some("done.safetensors"));
    let refused = |path: &str, out: &str| {
        let before = listing(world.folder.path());
        let error = sign::sign(&world.request(path, Some(out)), &silent()).unwrap_err().to_string();
        let (path, key) = (world.at(path), world.at("keys/owner.key"));
        assert!(
            embed::embed(&embed::Request { path, key, certificate: None, out: world.at(out), kind: None }, &silent())
                .is_err()
        );
        assert_eq!(listing(world.folder.path()), before);
        error
    };
    assert!(refused("data.csv", "new").contains("neither safetensors nor ONNX nor Parquet"));
    assert!(refused("folder", "new").contains("is a folder"));
    assert!(refused(name, name).contains("is there already"));
    assert!(refused(name, "there.safetensors").contains("is there already"));
    assert!(refused(name, "beside.safetensors").contains("would stand beside the copy"));
    assert!(refused("done.safetensors", "new").contains("holds a C2PA manifest already"));
    world.write("cut.safetensors", &bytes[..200]);
    assert!(refused("cut.safetensors", "new").contains("data"));
    // An ONNX model whose weights lie elsewhere would be covered in part only.
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let place = field(13, &[field(1, b"location"), field(2, b"w.bin")].concat());
    let tensor = [&[1 << 3, 3, 2 << 3, 2, 14 << 3, 1][..], &field(8, b"w"), &place].concat();
    world.write("outside.onnx", &[&[1 << 3, 8][..], &field(7, &field(5, &tensor))].concat());
    assert!(refused("outside.onnx", "new").contains("name the whole folder"));
    let source = |name: &str| std::sync::Arc::new(fs::read(world.at(name)).unwrap()) as countermark::formats::Source;
    let elsewhere = embedded::lies_elsewhere("outside.onnx", &source("outside.onnx"));
    assert!(elsewhere.is_some_and(|reason| reason.contains("w.bin")));
    let whole = std::sync::Arc::new(others()[0].1.clone()) as countermark::formats::Source;
    assert_eq!(embedded::lies_elsewhere("m.onnx", &whole), None);
}

/// Names of everything below, sorted.
fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_records_of_a_table_with_a_manifest_inside() {
    use parquet::data_type::ByteArrayType;
    use parquet::file::writer::SerializedFileWriter;
    let world = World::new();
    let schema = parquet::schema::parser::parse_message_type("message m { required binary text (UTF8); }").unwrap();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema.into(), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&["a".into(), "b".into()], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    world.write("d.parquet", &writer.into_inner().unwrap());
    let mut request = world.request("d.parquet", Some("dist/d.parquet"));
    request.tree = Some(countermark::records::Tree::default());
    sign::sign(&request, &silent()).unwrap();
    let verdict = world.verify("dist/d.parquet", None);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(verdict.checks.iter().any(|row| row.name.contains("record")), "{verdict:#?}");
    let opened = parquet::file::reader::SerializedFileReader::new(fs::File::open(world.at("dist/d.parquet")).unwrap());
    let metadata = parquet::file::reader::FileReader::metadata(&opened.unwrap()).file_metadata().clone();
    assert_eq!(metadata.num_rows(), 2);
    assert!(metadata.key_value_metadata().unwrap().iter().any(|entry| entry.key == manifest::KEY));
}
