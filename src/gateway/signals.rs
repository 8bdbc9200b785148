//! The signals that the process listens to. Not what is done about them (`gateway`). Invariant: from `listen` on, none of the signals
//! that are sent to daemons for other reasons ends the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// All that is listened to.
pub(super) struct Signals {
    pub(super) end: EndSignals,
    /// SIGHUP: certificates are to be read again.
    pub(super) hangup: Signal,
}

/// SIGTERM, SIGINT and SIGQUIT, which ask for the end.
pub(super) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Listens, within a runtime.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(super) fn listen() -> io::Result<Self> {
        // Nobody hears these: a signal that was listened to once has lost its default action, the process's end, for good. SIGUSR1
        // is what log rotation sends to other daemons.
        for kind in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            drop(signal(kind)?);
        }
        let end = EndSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        };
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { end, hangup })
    }
}

impl EndSignals {
    /// Waits for one of them.
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}
