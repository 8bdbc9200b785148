//! Reports from made-up figures: they can be read by programs and hold every figure.
