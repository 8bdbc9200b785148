//! The generator against servers that misbehave once.
