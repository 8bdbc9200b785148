//! Keeps certificates fresh, the edge's and those for services: at SIGHUP and when a file has changed. Not the building
//! (`renewal`, `upstream`). Invariant: a set that is wrong changes nothing and is said once; clients' connections that
//! stand keep what they began with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::{Renewal, ServicesRenewal, Trouble};

/// Time between two looks at the files. They are some kilobytes.
const LOOK: Duration = Duration::from_secs(3);

/// Runs for as long as it is polled. With nothing to keep fresh nobody listens to SIGHUP, which then ends the process
/// as ever.
pub async fn watch(
    mut edge: Option<(Renewal, Arc<ArcSwap<ServerConfig>>)>,
    mut services: Option<ServicesRenewal>,
) {
    if edge.is_none() && services.is_none() {
        return std::future::pending().await;
    }
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
        if let Some((renewal, edge)) = &mut edge
            && let Some(renewed) = renewal.renew(forced)
        {
            let stored = renewed.map(|config| edge.store(Arc::new(config)));
            say(stored, "certificates renewed");
        }
        if let Some(services) = &mut services
            && let Some(renewed) = services.renew(forced)
        {
            say(renewed, "certificates for services renewed");
        }
    }
}

fn say(renewed: Result<(), Vec<Trouble>>, fine: &'static str) {
    match renewed {
        Ok(()) => tracing::info!("{fine}"),
        Err(troubles) => {
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
