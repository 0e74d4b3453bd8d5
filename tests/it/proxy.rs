//! The proxy half: listener, raw heads, forwarding, tunnels, against upstreams scripted in the test.

mod expect;
mod forwarding;
mod heads;
mod listening;
mod stage;
mod tunnels;
