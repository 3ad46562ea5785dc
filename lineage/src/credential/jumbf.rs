//! JUMBF (ISO 19566-5), as strictly as C2PA writes it: one encoding for one tree of boxes.
//!
//! A box is a length (u32, big-endian, header included), a four-byte type and a content. A superbox (`jumb`) begins with
//! a description box (`jumd`: type UUID, toggles, NUL-ended label, perhaps a salt) and holds further boxes. Other parsers
//! tolerate lengths that do not add up and bytes after the store; here every length equals the sum of its parts.

use sha2::{Digest as _, Sha256};

use super::c2pa::Refusal;

/// Stores are small: a manifest of a few kilobytes for each ancestor. Above this nothing is parsed.
pub(super) const MAX_STORE: usize = 64 << 20;
/// Assertions lie this deep: store, manifest, assertion store, assertion. Nothing above them is hashed whole.
const SALTED_DEPTH: usize = 3;

/// C2PA allows 100,000 assertions in a manifest, each of three or four boxes.
const MAX_BOXES: usize = 400_000;

/// Store, manifest, assertion store, assertion.
const MAX_DEPTH: usize = 4;

/// Toggle bits of a description box (ISO 19566-5, A.3): requestable and labelled, with or without a private box.
const LABELLED: u8 = 0x03;
const LABELLED_AND_SALTED: u8 = 0x13;

/// A superbox.
pub(super) struct SuperBox<'a> {
    /// First four bytes of the type UUID, which C2PA calls the type.
    pub kind: [u8; 4],
    pub label: &'a str,
    /// Everything after the eight bytes of the header: what C2PA hashes.
    pub body: &'a [u8],
    pub children: Vec<Node<'a>>,
}

/// What a superbox holds.
pub(super) enum Node<'a> {
    Super(SuperBox<'a>),
    Content { kind: [u8; 4], data: &'a [u8] },
}

impl<'a> SuperBox<'a> {
    /// SHA-256 over the body: how hashed URIs name this box.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.body).into()
    }

    /// The superboxes in here, or a refusal when there is anything else.
    pub fn into_superboxes(self) -> Result<Vec<SuperBox<'a>>, Refusal> {
        let superbox = |node| match node {
            Node::Super(superbox) => Ok(superbox),
            Node::Content { kind, .. } => {
                Err(Refusal::invalid(format!("box {:?} holds a stray {:?} box", self.label, name(kind))))
            }
        };
        self.children.into_iter().map(superbox).collect()
    }

    /// The content of the only child, which must be of this type.
    pub fn only(&self, wanted: &[u8; 4]) -> Result<&'a [u8], Refusal> {
        match &*self.children {
            [Node::Content { kind, data }] if kind == wanted => Ok(data),
            _ => Err(Refusal::invalid(format!("box {:?} must hold one {:?} box alone", self.label, name(*wanted)))),
        }
    }
}

/// Reads the one superbox that `bytes` is.
pub(super) fn parse(bytes: &[u8]) -> Result<SuperBox<'_>, Refusal> {
    if bytes.len() > MAX_STORE {
        return Err(Refusal::unsupported(format!("the store is above {} MiB", MAX_STORE >> 20)));
    }
    let mut reader = Reader { bytes, offset: 0 };
    let Node::Super(store) = reader.node(0, &mut 0)? else {
        return Err(Refusal::invalid("these bytes are not a manifest store: no JUMBF superbox at byte 0".into()));
    };
    if !reader.bytes.is_empty() {
        return Err(reader.refuse(format!("{} bytes follow the store", reader.bytes.len())));
    }
    Ok(store)
}

/// What is left of a box, and where in the store that begins.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn refuse(&self, problem: String) -> Refusal {
        Refusal::invalid(format!("store byte {}: {problem}", self.offset))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Refusal> {
        let Some((taken, left)) = self.bytes.split_at_checked(n) else {
            return Err(self.refuse(format!("{n} bytes are needed, {} are left", self.bytes.len())));
        };
        (self.bytes, self.offset) = (left, self.offset + n);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        // `take` gave exactly N bytes.
        Ok(self.take(N)?.try_into().unwrap_or([0; N]))
    }

    /// Header and content of the next box. Lengths 0 (to the end) and 1 (64 bits) are other spellings, and refused.
    fn header(&mut self) -> Result<([u8; 4], Reader<'a>), Refusal> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let kind = self.array()?;
        let Some(content) = length.checked_sub(8) else {
            return Err(self.refuse(format!("box length {length} is not supported")));
        };
        let offset = self.offset;
        Ok((kind, Reader { bytes: self.take(content)?, offset }))
    }

    /// `boxes` counts what has been read so far.
    fn node(&mut self, depth: usize, boxes: &mut usize) -> Result<Node<'a>, Refusal> {
        *boxes += 1;
        if *boxes > MAX_BOXES {
            return Err(self.refuse(format!("more than {MAX_BOXES} boxes")));
        }
        let (kind, mut content) = self.header()?;
        if kind != *b"jumb" {
            return Ok(Node::Content { kind, data: content.bytes });
        }
        if depth >= MAX_DEPTH {
            return Err(content.refuse("superboxes nest too deep".into()));
        }
        let body = content.bytes;
        let (kind, label) = description(&mut content, depth >= SALTED_DEPTH)?;
        let mut children = Vec::new();
        while !content.bytes.is_empty() {
            children.push(content.node(depth + 1, boxes)?);
        }
        Ok(Node::Super(SuperBox { kind, label, body, children }))
    }
}

/// The description box: type and label. A salt only makes hashes unguessable, and stands where a hash covers it.
fn description<'a>(content: &mut Reader<'a>, salted: bool) -> Result<([u8; 4], &'a str), Refusal> {
    let (kind, mut inner) = content.header()?;
    if kind != *b"jumd" {
        return Err(content.refuse(format!("a superbox begins with {:?}, not with its description", name(kind))));
    }
    let uuid: [u8; 16] = inner.array()?;
    let (kind, rest) = uuid.split_at(4);
    let kind: [u8; 4] = kind.try_into().unwrap_or_default();
    // ISO 19566-5: a four-character type, then this; embedded files have a UUID of their own.
    if rest != b"\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71" && uuid != *EMBEDDED_FILE {
        return Err(inner.refuse("unknown type of superbox".into()));
    }
    let [toggles] = inner.array()?;
    let label = match inner.bytes.iter().position(|byte| *byte == 0) {
        Some(end) => inner.take(end)?,
        None => return Err(inner.refuse("label without its NUL".into())),
    };
    let label = match std::str::from_utf8(label) {
        Ok(label) if !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') => label,
        _ => return Err(inner.refuse("label is not printable ASCII without slashes".into())),
    };
    inner.take(1)?;
    match toggles {
        LABELLED => {}
        LABELLED_AND_SALTED => {
            let (kind, salt) = inner.header()?;
            if !salted {
                return Err(inner.refuse("a salt stands where no signature covers it".into()));
            }
            if kind != *b"c2sh" || !matches!(salt.bytes.len(), 16 | 32) {
                return Err(inner.refuse(format!("{:?} is not a salt of 16 or 32 bytes", name(kind))));
            }
        }
        _ => return Err(inner.refuse(format!("toggles 0x{toggles:02x} are not supported"))),
    }
    if inner.bytes.is_empty() { Ok((kind, label)) } else { Err(inner.refuse("bytes follow the label".into())) }
}

/// Type of a superbox that holds an embedded file (ISO 19566-5, B.1).
pub(super) const EMBEDDED_FILE: &[u8; 16] = b"\x40\xcb\x0c\x32\xbb\x8a\x48\x9d\xa7\x0b\x2a\xd6\xf4\x7f\x43\x69";

/// A box type for messages.
pub(super) fn name(kind: [u8; 4]) -> String {
    kind.escape_ascii().to_string()
}
