//! The Python package countermark.
