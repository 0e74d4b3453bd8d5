//! Rooms together, without a server.

mod simulation;
