//! Every socket that is listened on: handed over by who listened before, or bound.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use tokio::net::TcpListener;

use crate::app::StartError;
use crate::config::Config;
use crate::front::listener::{ListenError, Listener};
use crate::lifecycle::{Handover, Inherited};

/// The sockets, bound and not yet accepting.
pub(super) struct Sockets {
    /// Those for clients, and which of them speak TLS.
    pub(super) public: Vec<(Listener, bool)>,
    pub(super) admin: Option<TcpListener>,
    /// All of them, for who comes next.
    pub(super) handover: Handover,
}

impl Sockets {
    /// Binds every address of the configuration on which nothing that was inherited listens already.
    pub(super) async fn bind(
        config: &Config,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let mut handover = Handover::to_own_program();
        let mut public = Vec::new();
        let secure = config.server.tls.iter().flat_map(|tls| &tls.listen);
        let plain = config.server.listen.iter().map(|address| (address, false));
        for (&address, is_secure) in plain.chain(secure.map(|address| (address, true))) {
            let name = if is_secure { "tls" } else { "public" };
            let listener = listener(name, address, inherited)?;
            let added = handover.add(name, address, listener.as_fd());
            added.map_err(StartError::Handover)?;
            public.push((listener, is_secure));
        }
        let admin = match config.admin {
            Some(address) => {
                let listener = admin(address, inherited).await?;
                let added = handover.add("admin", address, listener.as_fd());
                added.map_err(StartError::Handover)?;
                Some(listener)
            }
            None => None,
        };
        for address in inherited.unclaimed() {
            if !inherited.is_replacing() {
                // Whoever gave it keeps it open: clients would wait in its queue for ever.
                return Err(StartError::Unclaimed { address });
            }
            tracing::info!(%address, "no longer listening on {address}");
        }
        Ok(Self {
            public,
            admin,
            handover,
        })
    }
}

fn listener(
    name: &'static str,
    address: SocketAddr,
    inherited: &mut Inherited,
) -> Result<Listener, ListenError> {
    match inherited.claim(name, address) {
        Some(socket) => Listener::adopt(name, address, socket),
        None => Listener::bind(name, address),
    }
}

async fn admin(address: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener, StartError> {
    let refused = |source| StartError::Admin { address, source };
    let listener = match inherited.claim("admin", address) {
        Some(socket) => TcpListener::from_std(socket),
        None => TcpListener::bind(address).await,
    };
    let listener = listener.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    tracing::info!(listener = "admin", %address, "listening");
    Ok(listener)
}
