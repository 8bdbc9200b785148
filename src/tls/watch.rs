//! Keeps the edge's certificates fresh: at SIGHUP and when a file has changed; and says when they end. Not the building (`renewal`).
//! Invariant: a set that is wrong changes nothing and is said once; connections that stand keep what they began with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use super::Renewal;
use super::expiry::Reminder;

/// Time between two looks at the files. They are some kilobytes.
const LOOK: Duration = Duration::from_secs(3);

/// Runs for as long as it is polled. Without TLS there is nothing to read again, and SIGHUP is answered with a line.
pub async fn watch(
    fresh: Option<(Renewal, Arc<ArcSwap<ServerConfig>>)>,
    mut hangup: Signal,
    unix_ms: fn() -> u64,
) {
    let Some((mut renewal, edge)) = fresh else {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: there are no certificates to read again");
        }
        return std::future::pending().await;
    };
    let mut reminder = Reminder::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let forced = tokio::select! {
            _ = looks.tick() => false,
            _ = hangup.recv() => true,
        };
        match renewal.renew(forced) {
            None => {}
            Some(Ok(renewed)) => {
                edge.store(Arc::new(renewed));
                reminder.reset();
                tracing::info!("certificates renewed");
            }
            Some(Err(troubles)) => {
                for trouble in troubles {
                    let (setting, what) = (trouble.setting, trouble.what);
                    tracing::warn!(
                        setting,
                        what,
                        "certificates not renewed, the old ones are kept"
                    );
                }
            }
        }
        for (file, line) in reminder.due(renewal.dated(), unix_ms()) {
            tracing::warn!(setting = "TLS_CERT", file, "{line}");
        }
    }
}
