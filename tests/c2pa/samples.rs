//! The smallest files of each kind of medium into which a manifest can be written. Nothing here is more than its container
//! asks for.

/// A name and the bytes of each.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("cat.png", png(0)),
        ("cat.jpg", jpeg()),
        ("cat.gif", b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;".to_vec()),
        ("cat.webp", riff(b"WEBP", &[(b"VP8L", b"\x2f\0\0\0\0\x88\x88\x08")])),
        ("cat.tiff", tiff()),
        ("cat.svg", b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"><rect/></svg>\n".to_vec()),
        ("song.wav", wav()),
        ("song.mp3", [&b"\xff\xfb\x90\x64"[..], &[0; 413]].concat().repeat(3)),
        ("song.flac", flac()),
        ("film.mp4", mp4()),
        ("film.avi", riff(b"AVI ", &[(b"LIST", &[b"hdrlavih\x38\0\0\0", &[0; 56][..]].concat()), (b"LIST", b"movi")])),
    ]
}

/// Four by four pixels, whose colours begin at `shade`.
pub fn png(shade: u8) -> Vec<u8> {
    let rows: Vec<u8> = (0..4).flat_map(|_| std::iter::once(0).chain((0..12).map(|x| x + shade))).collect();
    // Deflate without compression: one stored block (RFC 1951, 3.2.4) in zlib's frame (RFC 1950).
    let length = (rows.len() as u16).to_le_bytes();
    let complement = (!(rows.len() as u16)).to_le_bytes();
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in &rows {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let adler = (b << 16 | a).to_be_bytes();
    let data = [&[0x78, 1, 1], &length[..], &complement, &rows, &adler].concat();
    let header = [0, 0, 0, 4, 0, 0, 0, 4, 8, 2, 0, 0, 0];
    let chunks = [png_chunk(b"IHDR", &header), png_chunk(b"IDAT", &data), png_chunk(b"IEND", b"")];
    [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()
}

/// Length, type, data and CRC (PNG, 5.3).
pub fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let covered = [kind, data].concat();
    let crc = covered.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    [&(data.len() as u32).to_be_bytes()[..], &covered, &(!crc).to_be_bytes()].concat()
}

pub fn wav() -> Vec<u8> {
    let format = [1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8, 0];
    riff(b"WAVE", &[(b"fmt ", &format), (b"data", &[128; 100])])
}

fn riff(kind: &[u8; 4], chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = kind.to_vec();
    for (kind, data) in chunks {
        body.extend(*kind);
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(*data);
        body.extend(vec![0; data.len() % 2]);
    }
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

fn jpeg() -> Vec<u8> {
    let tables = [&b"\xff\xdb\0C\0"[..], &[16; 64]].concat();
    let codes = |class: u8| [&[0xff, 0xc4, 0, 0x14, class, 1][..], &[0; 15], &[0]].concat();
    [
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
        &tables[..],
        b"\xff\xc0\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0",
        &codes(0),
        &codes(0x10),
        b"\xff\xda\0\x08\x01\x01\0\0?\0\x3f\xff\xd9",
    ]
    .concat()
}

/// One grey pixel (TIFF 6.0, section 3).
fn tiff() -> Vec<u8> {
    let tags: [(u16, u16, u32); 8] =
        [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 3, 1), (279, 4, 1)];
    let mut bytes = b"II*\0\x0a\0\0\0\x7f\0\x08\0".to_vec();
    for (tag, kind, value) in tags {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    bytes
}

fn flac() -> Vec<u8> {
    let block = [0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0xc4, 0x42, 0xf0, 0, 0, 0, 0];
    [&b"fLaC\x80\0\0\x22"[..], &block, &[0; 16], b"\xff\xf8", &[0; 20]].concat()
}

/// Brand, header and data (ISO 14496-12).
fn mp4() -> Vec<u8> {
    let boxed = |kind: &[u8; 4], data: &[u8]| [&(data.len() as u32 + 8).to_be_bytes()[..], kind, data].concat();
    let mut header = vec![0; 12];
    header.extend([0, 0, 3, 0xe8, 0, 0, 3, 0xe8, 0, 1, 0, 0, 1, 0]);
    header.extend([0; 10]);
    for n in [0x10000_u32, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000] {
        header.extend(n.to_be_bytes());
    }
    header.extend([0; 24]);
    header.extend([0, 0, 0, 2]);
    let samples: Vec<u8> = (0..64).collect();
    let brand = boxed(b"ftyp", b"isom\0\0\x02\0isommp41");
    [brand, boxed(b"moov", &boxed(b"mvhd", &header)), boxed(b"mdat", &samples)].concat()
}
