//! The bounded queue of shared frames to one session, and how a session is ended from below.
//!
//! Whoever produces frames (hub, catch-up, dedicated cursor) holds an [`Outbox`]; the session's writer holds the one
//! [`Outlet`]. Ending closes the outbox at once, whichever task runs next: nothing that is pushed after [`Outbox::end`]
//! has returned can reach the client.

mod budget;
mod ending;
mod outbox;
mod run;

pub use budget::Budget;
pub use ending::Ending;
pub use outbox::{
    Direct, DirectTotals, Outbox, Outcome, Outlet, SendError, Sent, channel, channel_within,
};
pub use run::Run;
