//! Giving memory back to the system. Not an allocator. Invariant: it changes no behaviour, only how much memory the process is
//! seen to use.

#![allow(
    unsafe_code,
    reason = "the C library's allocator is asked to return what it holds free"
)]

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    /// glibc's; safe to call at any time from any thread (it takes each arena's own lock).
    safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
}

/// Returns free pages to the system, in a thread of its own: a burst of ten thousand connections leaves some 200 MB free in pieces
/// that the allocator would keep for ever, and returning them takes milliseconds that no worker has.
pub fn give_back() {
    super::tls::shrink();
    #[cfg(target_env = "gnu")]
    {
        // Without a thread to be had the memory stays where it is until the next time.
        let _ = std::thread::Builder::new()
            .name("give-back".to_owned())
            .spawn(|| malloc_trim(0));
    }
}
