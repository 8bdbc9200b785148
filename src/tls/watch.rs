//! Keeps the edge's certificates fresh: at SIGHUP and when a file has changed. Not the building (`renewal`). Invariant: a set that is
//! wrong changes nothing and is said once; connections that stand keep what they began with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::Renewal;

/// Time between two looks at the files. They are some kilobytes.
const LOOK: Duration = Duration::from_secs(3);

/// Runs for as long as it is polled. Without TLS nobody listens to SIGHUP, which then ends the process as ever.
pub async fn watch(fresh: Option<(Renewal, Arc<ArcSwap<ServerConfig>>)>) {
    let Some((mut renewal, edge)) = fresh else {
        return std::future::pending().await;
    };
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(%error, "SIGHUP cannot be listened to: certificates are not renewed");
            return std::future::pending().await;
        }
    };
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
                tracing::info!("certificates renewed");
            }
            Some(Err(troubles)) => {
                for trouble in troubles {
                    let (setting, what) = (trouble.setting, trouble.what);
                    tracing::error!(
                        setting,
                        what,
                        "certificates not renewed, the old ones are kept"
                    );
                }
            }
        }
    }
}
