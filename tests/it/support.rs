//! What every test needs: real servers, the binaries under test, and a client that hides nothing.

#![allow(dead_code, reason = "a helper may come before its second caller")]

pub(crate) mod client;
pub(crate) mod http2;
pub(crate) mod json;
pub(crate) mod mongod;
pub(crate) mod names;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod replicas;
pub(crate) mod secure;
pub(crate) mod sidestream;
pub(crate) mod stack;
pub(crate) mod upstream;

#[allow(unused_imports, reason = "rooms use what they need")]
pub(crate) use mongod::{ReplicaSet, client_of, mongo_client, mongo_uri};

mod tests;
