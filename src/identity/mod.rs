//! Room to be furnished.

/// Who a verified token speaks for.
#[derive(Debug)]
pub struct Identity {
    _private: (),
}
