//! tls room tests
