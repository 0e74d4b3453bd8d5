//! The proxy half: listener, raw heads, forwarding, tunnels, against upstreams scripted in the test.

mod expect;
mod fidelity;
mod forwarding;
mod heads;
mod listening;
mod smuggling;
mod stage;
mod tunnels;
