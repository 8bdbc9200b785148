//! Keeps certificates fresh, the edge's and those for services: at SIGHUP and when a file has changed; and says when the edge's end. Not
//! the building (`renewal`, `upstream`). Invariant: a set that is wrong changes nothing and is said once; clients' connections that
//! stand keep what they began with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use super::expiry::Reminder;
use super::{Renewal, ServicesRenewal, Trouble};

/// Time between two looks at the files. They are some kilobytes.
const LOOK: Duration = Duration::from_secs(3);

/// Runs for as long as it is polled. Without TLS there is nothing to read again, and SIGHUP is answered with a line.
pub async fn watch(
    mut edge: Option<(Renewal, Arc<ArcSwap<ServerConfig>>)>,
    mut services: Option<ServicesRenewal>,
    mut hangup: Signal,
    unix_ms: fn() -> u64,
) {
    if edge.is_none() && services.is_none() {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: there are no certificates to read again");
        }
        return std::future::pending().await;
    }
    let mut reminder = Reminder::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let forced = tokio::select! {
            _ = looks.tick() => false,
            _ = hangup.recv() => true,
        };
        if let Some((renewal, edge)) = &mut edge
            && let Some(renewed) = renewal.renew(forced)
        {
            let stored = renewed.map(|config| edge.store(Arc::new(config)));
            if stored.is_ok() {
                reminder.reset();
            }
            say(stored, "certificates renewed");
        }
        if let Some(services) = &mut services
            && let Some(renewed) = services.renew(forced)
        {
            say(renewed, "certificates for services renewed");
        }
        if let Some((renewal, _)) = &edge {
            for (file, line) in reminder.due(renewal.dated(), unix_ms()) {
                tracing::warn!(setting = "TLS_CERT", file, "{line}");
            }
        }
    }
}

fn say(renewed: Result<(), Vec<Trouble>>, fine: &'static str) {
    match renewed {
        Ok(()) => tracing::info!("{fine}"),
        Err(troubles) => {
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
}
