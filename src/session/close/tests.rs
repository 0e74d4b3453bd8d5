//! The table of endings.

use std::{collections::HashSet, io::ErrorKind};

use super::{code, label};
use crate::{
    delivery::Ending,
    session::{ClosedBy, websocket::Violation},
};

/// Every ending, its close code and its label. Source: design section 7.
const ENDINGS: [(Ending, u16, &str); 12] = [
    (Ending::Draining, 1001, "draining"),
    (Ending::OurFault, 1011, "our_fault"),
    (Ending::FeedAway, 1011, "feed_away"),
    (Ending::DefinitionChanged, 1012, "definition_changed"),
    (Ending::PermissionChanged, 1012, "permission_changed"),
    (Ending::CredentialsExpired, 4401, "credentials_expired"),
    (Ending::CredentialsChanged, 4401, "credentials_changed"),
    (Ending::PermissionGone, 4403, "permission_gone"),
    (Ending::StreamGone, 4404, "stream_gone"),
    (Ending::CollectionGone, 4404, "collection_gone"),
    (Ending::Slow, 4408, "slow"),
    (Ending::HistoryLost, 4410, "history_lost"),
];

#[test]
fn every_ending_has_its_code_a_reason_and_a_label() {
    for (ending, expected_code, expected_label) in ENDINGS {
        let (code, reason) = code(ending);
        assert_eq!(code, expected_code, "{ending:?}");
        assert_eq!(label(ClosedBy::Ending(ending)), expected_label);
        // 125 bytes of a control frame, less the code; and nothing that JSON would have to escape.
        assert!((1..=123).contains(&reason.len()), "{reason}");
        assert!(
            reason
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b" ,".contains(&byte))
        );
    }
}

#[test]
fn labels_are_distinct() {
    let others = [
        ClosedBy::Client(Some(1000)),
        ClosedBy::ClientLeft,
        ClosedBy::Violation(Violation::NotMasked),
        ClosedBy::Silent,
        ClosedBy::Stuck,
        ClosedBy::Broken(ErrorKind::BrokenPipe),
    ];
    let endings = ENDINGS.map(|(ending, ..)| ClosedBy::Ending(ending));
    let all = endings.into_iter().chain(others).map(label);
    assert_eq!(
        all.collect::<HashSet<_>>().len(),
        ENDINGS.len() + others.len()
    );
}
