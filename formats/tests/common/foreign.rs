//! ZIP archives, NumPy arrays and ONNX models, built byte by byte.
#![allow(dead_code)] // Each test takes what it needs.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use countermark_formats::{Result, Source, StoredTensor, Tensors};

/// Files by path.
pub fn files(files: &[(&str, &[u8])]) -> Vec<(String, Source)> {
    files.iter().map(|(path, bytes)| ((*path).to_owned(), Arc::new(bytes.to_vec()) as Source)).collect()
}

pub fn open(list: &[(&str, &[u8])]) -> Result<Tensors> {
    Tensors::open(&files(list)).map(|found| found.expect("there are weights"))
}

/// What one file holds, and the bytes of each tensor.
pub fn all(path: &str, bytes: &[u8]) -> Vec<(StoredTensor, Vec<u8>)> {
    let tensors = open(&[(path, bytes)]).unwrap();
    (0..tensors.list().len()).map(|index| (tensors.list()[index].clone(), read(&tensors, index).unwrap())).collect()
}

pub fn read(tensors: &Tensors, index: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tensors.reader(index)?.read_to_end(&mut bytes)?;
    if let Some((source, range)) = tensors.plain(index) {
        let mut plain = vec![0; (range.end - range.start) as usize];
        source.read_exact_at(&mut plain, range.start)?;
        assert_eq!(plain, bytes);
    }
    Ok(bytes)
}

/// The message of a file that must be refused.
#[track_caller]
pub fn refused(path: &str, bytes: &[u8], words: &str) {
    let error = open(&[(path, bytes)]).err().unwrap_or_else(|| panic!("accepted, not refused with {words:?}"));
    assert!(error.to_string().contains(words), "{error} does not say {words:?}");
}

/// How a member is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    pub deflated: bool,
    pub descriptor: bool,
    /// Sizes in a ZIP64 field of the local header.
    pub wide: bool,
}

pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive of members (name, bytes, how), with a ZIP64 end record or without.
pub fn zip(members: &[(&str, &[u8], How)], end64: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes, how) in members {
        let at = file.len() as u32;
        let packed = if how.deflated { deflate(bytes) } else { bytes.to_vec() };
        let flags: u16 = if how.descriptor { 0x808 } else { 0x800 };
        let method: u16 = if how.deflated { 8 } else { 0 };
        let (crc, small, large) = (crc32(bytes), packed.len() as u32, bytes.len() as u32);
        let mut extra = Vec::new();
        let told = if how.descriptor {
            [0, 0, 0]
        } else if how.wide {
            extra.extend([1, 0, 16, 0]);
            extra.extend(u64::from(large).to_le_bytes());
            extra.extend(u64::from(small).to_le_bytes());
            [crc, u32::MAX, u32::MAX]
        } else {
            [crc, small, large]
        };
        file.extend(b"PK\x03\x04\x2d\0");
        file.extend(flags.to_le_bytes());
        file.extend(method.to_le_bytes());
        file.extend([0; 4]);
        told.iter().for_each(|number| file.extend(number.to_le_bytes()));
        file.extend((name.len() as u16).to_le_bytes());
        file.extend((extra.len() as u16).to_le_bytes());
        file.extend(name.as_bytes());
        file.extend(extra);
        file.extend(&packed);
        if how.descriptor {
            file.extend(b"PK\x07\x08");
            [crc, small, large].iter().for_each(|number| file.extend(number.to_le_bytes()));
        }
        directory.extend(b"PK\x01\x02\x2d\0\x2d\0");
        directory.extend(flags.to_le_bytes());
        directory.extend(method.to_le_bytes());
        directory.extend([0; 4]);
        [crc, small, large].iter().for_each(|number| directory.extend(number.to_le_bytes()));
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend([0; 12]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, offset, size) = (members.len() as u64, file.len() as u64, directory.len() as u64);
    file.extend(directory);
    if end64 {
        let at = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend(44u64.to_le_bytes());
        file.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        [count, count, size, offset].iter().for_each(|number| file.extend(number.to_le_bytes()));
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(at.to_le_bytes());
        file.extend(1u32.to_le_bytes());
    }
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend((count as u16).to_le_bytes());
    file.extend((count as u16).to_le_bytes());
    file.extend((size as u32).to_le_bytes());
    file.extend((offset as u32).to_le_bytes());
    file.extend([0, 0]);
    file
}

/// Members as they are.
pub fn plain<'a>(members: &[(&'a str, &'a [u8])]) -> Vec<(&'a str, &'a [u8], How)> {
    members.iter().map(|(name, bytes)| (*name, *bytes, How::default())).collect()
}

/// An `.npy` file, version 1, with this dictionary.
pub fn npy(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((dictionary.len() as u16).to_le_bytes());
    file.extend(dictionary.as_bytes());
    file.extend(data);
    file
}

pub fn npy_of(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    npy(&format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"), data)
}

/// A protocol buffer field with bytes.
pub fn bytes_field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut field = varint(u64::from(number << 3 | 2));
    field.extend(varint(bytes.len() as u64));
    field.extend(bytes);
    field
}

/// A protocol buffer field with a number.
pub fn number_field(number: u32, value: u64) -> Vec<u8> {
    let mut field = varint(u64::from(number << 3));
    field.extend(varint(value));
    field
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// A `TensorProto`: dimensions, data type, name, and whatever holds the values.
pub fn tensor(shape: &[u64], kind: u64, name: &str, values: &[u8]) -> Vec<u8> {
    let mut message: Vec<u8> = shape.iter().flat_map(|extent| number_field(1, *extent)).collect();
    message.extend(number_field(2, kind));
    message.extend(bytes_field(8, name.as_bytes()));
    message.extend(values);
    message
}

/// A model with this graph.
pub fn onnx(graph: &[u8]) -> Vec<u8> {
    [number_field(1, 8), bytes_field(7, graph)].concat()
}

/// A node with one output and these attributes.
pub fn node(output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut message = bytes_field(2, output.as_bytes());
    attributes.iter().for_each(|attribute| message.extend(bytes_field(5, attribute)));
    bytes_field(1, &message)
}

pub fn attribute(name: &str, field: u32, value: &[u8]) -> Vec<u8> {
    [bytes_field(1, name.as_bytes()), bytes_field(field, value)].concat()
}

/// `external_data` and `data_location` of a tensor.
pub fn external(entries: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| {
        bytes_field(13, &[bytes_field(1, key.as_bytes()), bytes_field(2, value.as_bytes())].concat())
    };
    let mut fields: Vec<u8> = entries.iter().flat_map(entry).collect();
    fields.extend(number_field(14, 1));
    fields
}
