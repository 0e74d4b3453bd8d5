//! Which events wait for which watch.

use std::time::Duration;

use super::*;

fn of(database: &str) -> Scope {
    Scope::Database(database.into())
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_the_watches_of_other_databases_only() {
    let namespaces = [("rules", "acl"), ("people", "users")];
    let namespaces = namespaces.map(|(database, name)| Namespace::new(database, name));
    let watching = Watching::new(namespaces.into_iter(), Duration::from_secs(10));
    for scope in [of("data"), of("rules"), Scope::Deployment] {
        watching.set(&scope, true);
    }
    assert!(watching.lets_pass(&of("data")));
    watching.set(&of("rules"), false);
    assert!(watching.lets_pass(&of("data")), "within the grace");
    tokio::time::advance(Duration::from_secs(9)).await;
    // Said again, it is not away anew.
    watching.set(&of("rules"), false);
    assert!(watching.lets_pass(&of("data")));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!watching.lets_pass(&of("data")));
    assert!(!watching.lets_pass(&of("people")));
    assert!(watching.lets_pass(&of("rules")), "in its own order");
    assert!(
        watching.lets_pass(&Scope::Deployment),
        "all are in its order"
    );
    let data = of("data");
    let mut waiting = std::pin::pin!(watching.wait(&data));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    watching.set(&of("rules"), true);
    waiting.await;
    assert!(watching.lets_pass(&data));
}
