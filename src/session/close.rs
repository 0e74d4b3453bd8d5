//! Endings and what clients, metrics and logs are told of them.

use crate::{delivery::Ending, session::ClosedBy};

/// Returns the close code and the reason that a client is told: on a WebSocket in the CLOSE frame, on SSE in `event: close`.
///
/// Source: design section 7.
pub fn code(ending: Ending) -> (u16, &'static str) {
    match ending {
        Ending::Draining => (1001, "going away, come back"),
        Ending::OurFault => (1011, "internal error"),
        Ending::FeedAway => (1011, "database away, come back and resume with the last id"),
        Ending::DefinitionChanged => (1012, "stream definition changed, reconnect"),
        Ending::PermissionChanged => (1012, "permission changed, reconnect"),
        Ending::CredentialsExpired => (4401, "credentials expired"),
        Ending::CredentialsChanged => (4401, "credentials changed"),
        Ending::PermissionGone => (4403, "permission revoked"),
        Ending::StreamGone => (4404, "stream removed"),
        Ending::CollectionGone => (4404, "collection removed"),
        Ending::Slow => (4408, "client too slow, resume with the last id"),
        Ending::HistoryLost => (4410, "events are missing, read the state anew"),
    }
}

/// Returns the label of a close in metrics and logs.
pub fn label(by: ClosedBy) -> &'static str {
    match by {
        ClosedBy::Ending(ending) => ending_label(ending),
        ClosedBy::Client(_) => "client",
        ClosedBy::ClientLeft => "client_left",
        ClosedBy::Violation(_) => "protocol_error",
        ClosedBy::Silent => "silent",
        ClosedBy::Stuck => "stuck",
        ClosedBy::Broken(_) => "broken",
    }
}

fn ending_label(ending: Ending) -> &'static str {
    match ending {
        Ending::Draining => "draining",
        Ending::OurFault => "our_fault",
        Ending::FeedAway => "feed_away",
        Ending::DefinitionChanged => "definition_changed",
        Ending::PermissionChanged => "permission_changed",
        Ending::CredentialsExpired => "credentials_expired",
        Ending::CredentialsChanged => "credentials_changed",
        Ending::PermissionGone => "permission_gone",
        Ending::StreamGone => "stream_gone",
        Ending::CollectionGone => "collection_gone",
        Ending::Slow => "slow",
        Ending::HistoryLost => "history_lost",
    }
}

#[cfg(test)]
mod tests;
