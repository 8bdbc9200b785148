//! Where Redis is and how it is reached: the URL, TLS, a single server or a cluster. Not what is said there (`link`). Invariant: a link
//! that is given out has just done what requests will need.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::cluster::ClusterClient;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisResult, TlsCertificates};

use super::Store;
use super::link::{Brought, CHANNEL, Fleet, Link, Wire, within};
use super::reason::{Failure, Reason};
use crate::config::Secret;

/// Connecting, TLS and authentication included.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Where the store is.
#[derive(Clone)]
pub(super) struct Address {
    url: Secret,
    is_cluster: bool,
    timeout: Duration,
    /// `REDIS_CA`, read again for each connection.
    ca_file: Option<Arc<str>>,
    /// As it was last built.
    clients: Arc<ArcSwap<Clients>>,
}

struct Clients {
    ca: Option<Vec<u8>>,
    single: Client,
    cluster: Option<ClusterClient>,
}

impl Clients {
    fn new(url: &Secret, ca: Option<Vec<u8>>, is_cluster: bool) -> Result<Self, Failure> {
        let info = url.reveal().into_connection_info()?;
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let info = info.set_tcp_settings(tcp);
        let certificates = ca.clone().map(|ca| TlsCertificates {
            client_tls: None,
            root_cert: Some(ca),
        });
        let cluster = if is_cluster {
            let mut builder = ClusterClient::builder([info.clone()])
                .connection_timeout(CONNECT_MAX)
                .response_timeout(CONNECT_MAX)
                .retries(1);
            if let Some(certificates) = certificates.clone() {
                builder = builder.certs(certificates);
            }
            Some(builder.build()?)
        } else {
            None
        };
        let single = match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        Ok(Self {
            ca,
            single,
            cluster,
        })
    }
}

impl Address {
    /// Reads the URL and `REDIS_CA`. The error names no part of the URL.
    pub(super) fn new(store: &Store) -> Result<Self, Reason> {
        // TLS needs one provider for the process; another part may have set the same one before.
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let _ = provider.install_default();
        let read =
            |file: &String| std::fs::read(file).map_err(|error| format!("REDIS_CA: {error}"));
        let ca = store.ca_file.as_ref().map(read).transpose()?;
        let clients = Clients::new(&store.url, ca, store.cluster).map_err(|failure| failure.why)?;
        Ok(Self {
            url: store.url.clone(),
            is_cluster: store.cluster,
            timeout: store.timeout,
            ca_file: store.ca_file.as_deref().map(Arc::from),
            clients: Arc::new(ArcSwap::from_pointee(clients)),
        })
    }

    /// The clients with the authorities as the file has them now. One that is gone or broken keeps those that were.
    fn clients(&self) -> Arc<Clients> {
        let clients = self.clients.load_full();
        let read = self.ca_file.as_ref();
        let read = read.and_then(|file| std::fs::read(file.as_ref()).ok());
        if read.is_some()
            && read != clients.ca
            && let Ok(fresh) = Clients::new(&self.url, read, self.is_cluster)
        {
            self.clients.store(Arc::new(fresh));
            return self.clients.load_full();
        }
        clients
    }

    /// Connects, agrees on the limits and makes a call, so that a link that is given back can do its work.
    pub(super) async fn reach(
        &self,
        site: &str,
        brought: Brought,
    ) -> Result<(Link, u32, Fleet), Failure> {
        let clients = self.clients();
        let connect = async {
            let wire = match &clients.cluster {
                Some(cluster) => Wire::Cluster(cluster.get_async_connection().await?),
                None => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(CONNECT_MAX))
                        .set_response_timeout(Some(CONNECT_MAX));
                    let client = &clients.single;
                    let single = client.get_multiplexed_async_connection_with_config(&config);
                    Wire::Single(single.await?)
                }
            };
            RedisResult::Ok(wire)
        };
        let wire = within(CONNECT_MAX, connect).await?;
        let link = Link::new(wire, self.timeout);
        let (nodes, fleet) = confirm(&link, site, brought).await?;
        link.clone().prove(site, fleet).await?;
        Ok((link, nodes, fleet))
    }

    /// The second connection: what is told to all nodes.
    pub(super) async fn listen(&self) -> Result<redis::aio::PubSub, Failure> {
        let clients = self.clients();
        let listen = async {
            let mut channel = clients.single.get_async_pubsub().await?;
            channel.subscribe(CHANNEL).await?;
            RedisResult::Ok(channel)
        };
        within(CONNECT_MAX, listen).await
    }
}

/// Writes once, and reads what the fleet agrees on: before a call is made on a link that was given up, or is new.
pub(super) async fn confirm(
    link: &Link,
    site: &str,
    brought: Brought,
) -> Result<(u32, Fleet), Failure> {
    let nodes = link.clone().heartbeat(site).await?;
    let (fleet, _) = link.clone().fleet(brought).await?;
    Ok((nodes, fleet))
}
