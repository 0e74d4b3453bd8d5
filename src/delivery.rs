//! The bounded queue of shared frames to one session, and how a session is ended from below.
//!
//! Whoever produces frames (hub, catch-up, dedicated cursor) holds an [`Outbox`]; the session's writer holds the one
//! [`Outlet`]. Ending closes the outbox at once, whichever task runs next: nothing that is pushed after [`Outbox::end`]
//! has returned can reach the client.

mod ending;
mod outbox;
mod run;

pub use ending::Ending;
pub use outbox::{Direct, DirectTotals, Outbox, Outcome, Outlet, SendError, Sent, channel};
pub use run::Run;
