//! Sidestream: real time in front of a REST API that already exists.
//!
//! One process stands before the API. A request for `/<collection>/_streams/<name>` that asks for a WebSocket or for
//! Server-Sent Events is served from MongoDB change streams; everything else is forwarded to the upstream unchanged.
//!
//! # The house
//!
//! Each module below is a wing, each file in its folder a room. Floors, from the top down; a room imports only from
//! the floors below its own, never sideways (`tests/it/house.rs` holds this table against the `use crate::` lines):
//!
//! | floor | wings |
//! |---|---|
//! | 5 | [`app`] |
//! | 4 | [`front`], [`admin`] |
//! | 3 | [`streams`], [`session`] |
//! | 2 | [`access`], [`engine`], [`proxy`] |
//! | 1 | [`query`], [`wire`], [`notation`], [`delivery`], [`mongo`], [`config`] |
//! | 0 | [`lifecycle`], below the ground floor: everybody may use it, for nobody else spawns |
//!
//! `streams` is the one exception: it also reads `access::Principal`. `ARCHITECTURE.md` is the map for people.

pub mod access;
pub mod admin;
pub mod app;
pub mod config;
pub mod delivery;
pub mod engine;
pub mod front;
pub mod lifecycle;
pub mod mongo;
pub mod notation;
pub mod proxy;
pub mod query;
pub mod session;
pub mod streams;
pub mod wire;
