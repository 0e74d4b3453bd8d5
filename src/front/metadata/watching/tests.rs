//! Whose events wait for which database.

use super::*;

fn of(database: &str) -> Scope {
    Scope::Database(database.into())
}

fn watching(grace: Duration) -> Watching {
    let namespaces = [("rules", "acl"), ("people", "users"), ("people", "others")];
    let namespaces = namespaces.map(|(database, name)| Namespace::new(database, name));
    Watching::new(namespaces.into_iter(), grace)
}

#[tokio::test(start_paused = true)]
async fn events_rest_on_what_was_heard_lately_of_other_databases() {
    let watching = watching(Duration::ZERO);
    tokio::time::advance(Duration::from_millis(1)).await;
    let unheard = |scope: &Scope| {
        let unheard = watching.unheard(scope);
        unheard.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(unheard(&of("data")), ["people", "rules"]);
    assert_eq!(unheard(&of("rules")), ["people"], "its own are in order");
    assert!(unheard(&Scope::Deployment).is_empty(), "all are in order");
    watching.heard(&of("rules"));
    watching.heard(&of("data"));
    assert_eq!(unheard(&of("data")), ["people"]);
    watching.know(&of("people"), Instant::now() + READ_FOR);
    assert!(unheard(&of("data")).is_empty());
    tokio::time::advance(READ_FOR + Duration::from_millis(1)).await;
    assert_eq!(unheard(&of("data")), ["people"]);
    tokio::time::advance(HEARD_FOR - READ_FOR).await;
    assert_eq!(unheard(&of("data")), ["people", "rules"]);
    watching.heard(&Scope::Deployment);
    assert!(unheard(&of("data")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn with_a_grace_events_go_on_for_longer() {
    let watching = watching(Duration::from_secs(10));
    watching.heard(&of("people"));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(watching.unheard(&of("data")).is_empty());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(
        watching.unheard(&of("data")),
        ["rules".into()] as [Arc<str>; 1]
    );
    assert!(watching.is_awaited(&of("rules")));
    assert!(!watching.is_awaited(&of("data")));
}
