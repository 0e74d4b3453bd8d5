//! The proxy half: listener, raw heads, forwarding, tunnels, against upstreams scripted in the test.

mod endings;
mod expect;
mod fidelity;
mod forwarding;
mod greeting;
mod heads;
mod http2;
mod idle;
mod listening;
mod pace;
mod secure;
mod smuggling;
mod stage;
mod tunnels;
mod upstreams;
