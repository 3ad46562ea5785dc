//! The tree of a proof: at each node a message, with attestations about it and operations that lead to other messages.
//!
//! ```text
//! node  = *( ff item ) item
//! item  = 00 attestation / operation node
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::attestation::Attestation;
use super::file::{MAX_FILE, Reader};
use super::operation::Operation;
use crate::Error;

/// So many operations stand at most between a digest and an attestation.
pub const MAX_DEPTH: usize = 255;

const MORE: u8 = 0xff;
const ATTESTATION: u8 = 0x00;

/// What is known of a message. The message itself is not kept: whoever asks has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Who says that it existed.
    pub attestations: BTreeSet<Attestation>,
    /// What can be made of it.
    pub operations: BTreeMap<Operation, Node>,
}

impl Node {
    /// Somebody's word for the message itself.
    pub fn attested(attestation: Attestation) -> Self {
        Node { attestations: [attestation].into(), operations: BTreeMap::new() }
    }

    /// The node before this one.
    pub fn under(self, operation: Operation) -> Self {
        Node { attestations: BTreeSet::new(), operations: [(operation, self)].into() }
    }

    /// Reads what a calendar says of `message`.
    ///
    /// # Errors
    /// [`Error::Input`] with the byte.
    pub fn parse(bytes: &[u8], message: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > MAX_FILE {
            return Err(reader.refuse(format!("is above {} KiB", MAX_FILE >> 10)));
        }
        let node = Node::read(&mut reader, message)?;
        reader.finish()?;
        Ok(node)
    }

    pub(super) fn read(reader: &mut Reader<'_>, message: &[u8]) -> Result<Self, Error> {
        Node::read_at(reader, message, 0)
    }

    fn read_at(reader: &mut Reader<'_>, message: &[u8], depth: usize) -> Result<Self, Error> {
        if depth > MAX_DEPTH {
            return Err(reader.refuse(format!("more than {MAX_DEPTH} operations follow on each other")));
        }
        let mut node = Node::default();
        loop {
            let first = reader.byte()?;
            let is_last = first != MORE;
            let tag = if is_last { first } else { reader.byte()? };
            let is_new = if tag == ATTESTATION {
                node.attestations.insert(Attestation::read(reader)?)
            } else {
                let operation = Operation::read(tag, reader)?;
                reader.spend(message.len())?;
                let Some(result) = operation.apply(message) else {
                    return Err(reader.refuse("the operation cannot be applied to a message of this length"));
                };
                let next = Node::read_at(reader, &result, depth + 1)?;
                node.operations.insert(operation, next).is_none()
            };
            // Readers differ in which of the two they keep.
            if !is_new {
                return Err(reader.refuse("an attestation or operation stands there twice"));
            }
            if is_last {
                return Ok(node);
            }
        }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let mut left = self.attestations.len() + self.operations.len();
        let mut begin = |to: &mut Vec<u8>| {
            left -= 1;
            if left > 0 {
                to.push(MORE);
            }
        };
        for attestation in &self.attestations {
            begin(to);
            to.push(ATTESTATION);
            attestation.write(to);
        }
        for (operation, node) in &self.operations {
            begin(to);
            operation.write(to);
            node.write(to);
        }
    }

    /// Adds what another tree says of the same message.
    pub fn merge(&mut self, other: Node) {
        self.attestations.extend(other.attestations);
        for (operation, node) in other.operations {
            match self.operations.get_mut(&operation) {
                Some(known) => known.merge(node),
                None => {
                    self.operations.insert(operation, node);
                }
            }
        }
    }

    /// Adds what is known of `commitment`, wherever this tree leads to it. `message` is that of this node.
    pub fn graft(&mut self, message: &[u8], commitment: &[u8], known: &Node) {
        // What was grafted is not searched again.
        for (operation, node) in &mut self.operations {
            if let Some(result) = operation.apply(message) {
                node.graft(&result, commitment, known);
            }
        }
        if message == commitment {
            self.merge(known.clone());
        }
    }

    /// Takes away every attestation for which `is_kept` says no, and every branch that leads to none any more.
    pub fn prune(&mut self, message: &[u8], is_kept: &mut dyn FnMut(&[u8], &Attestation) -> bool) {
        self.attestations.retain(|attestation| is_kept(message, attestation));
        self.operations.retain(|operation, node| {
            let Some(result) = operation.apply(message) else { return false };
            node.prune(&result, is_kept);
            !node.is_empty()
        });
    }

    /// True when it says nothing. Such a tree cannot be written.
    pub fn is_empty(&self) -> bool {
        self.attestations.is_empty() && self.operations.is_empty()
    }

    /// Shows every attestation, with the message that it is about. `message` is that of this node.
    pub fn visit(&self, message: &[u8], see: &mut dyn FnMut(&[u8], &Attestation)) {
        self.attestations.iter().for_each(|attestation| see(message, attestation));
        for (operation, node) in &self.operations {
            // A tree that was read has operations that can be done.
            if let Some(result) = operation.apply(message) {
                node.visit(&result, see);
            }
        }
    }
}
