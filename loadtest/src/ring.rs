//! A runtime with the ring flags that the gateway uses: cooperative task running and a single issuer.

use std::future::Future;
use std::io;

use monoio::{IoUringDriver, RuntimeBuilder};

/// Runs `main` on a tuned ring.
pub(crate) fn run<F: Future<Output = io::Result<()>>>(main: impl FnOnce() -> F) -> io::Result<()> {
    let mut builder = io_uring::IoUring::builder();
    builder.setup_coop_taskrun().setup_single_issuer();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(builder)
        .with_entries(1024)
        .enable_timer()
        .build()?;
    runtime.block_on(async { main().await })
}
