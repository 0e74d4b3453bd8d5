//! HTTP/2 towards clients, before upstreams scripted in the test.

mod ambiguity;
mod draining;
mod forwarding;
mod frames;
mod limits;
mod tunnels;

use http::{Method, Request};
use sidestream::front::listener::{Http2Settings, ListenerSettings, Tls, TlsSettings};

use super::stage::{Forwarding, Front, PATIENCE, Upstream};
use crate::support::secure::{Files, Identity};

/// A listener in clear that takes HTTP/2 by prior knowledge.
pub(super) fn clear(upstream: &Upstream) -> Front {
    let settings = settings(|_| ());
    Front::start(Forwarding::new(upstream.settings()), settings)
}

fn settings(change: impl FnOnce(&mut ListenerSettings)) -> ListenerSettings {
    let mut settings = ListenerSettings {
        http2: Http2Settings {
            prior_knowledge: true,
            ..Http2Settings::default()
        },
        ..ListenerSettings::default()
    };
    change(&mut settings);
    settings
}

/// A listener that offers HTTP/2 over TLS.
fn secure(upstream: &Upstream, identity: &Identity) -> Front {
    let files = Files::of(identity);
    let tls = TlsSettings {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        only_13: false,
        handshake_max: PATIENCE,
        http2: true,
    };
    let settings = ListenerSettings {
        tls: Some(Tls::load(tls).expect("files")),
        ..ListenerSettings::default()
    };
    Front::start(Forwarding::new(upstream.settings()), settings)
}

pub(super) fn request(method: Method, target: &str) -> Request<()> {
    let request = Request::builder().method(method);
    let request = request.uri(format!("http://h{target}"));
    request.body(()).expect("a request")
}

fn get(target: &str) -> Request<()> {
    request(Method::GET, target)
}
