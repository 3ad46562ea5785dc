//! A public instance of our own: certificate authority, certificate log and transparency log, all with real signatures.
