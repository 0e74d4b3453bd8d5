//! Three members, of which one is lost.

use super::{Scene, expect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_or_doubled_however_the_primary_goes() {
    let mut scene = Scene::open(3, "").await;
    let mut clients = scene.watch("data").await;
    let mut number = 0;
    for way in ["killed", "stepped down", "stopped", "cut off"] {
        scene.write(number..number + 20).await;
        let primary = scene.set.primary().await;
        match way {
            "killed" => scene.set.kill(primary).await,
            "stepped down" => scene.set.step_down().await,
            "stopped" => scene.set.pause(primary, true),
            _ => scene.set.relay(primary).silence(true),
        }
        // The rest of the set elects another one, and goes on.
        scene.write(number + 20..number + 40).await;
        expect(&mut clients, number..number + 40).await;
        match way {
            "killed" => scene.set.restart(primary).await,
            "stepped down" => (),
            "stopped" => scene.set.pause(primary, false),
            _ => scene.set.relay(primary).silence(false),
        }
        scene.set.whole().await;
        scene.write(number + 40..number + 50).await;
        expect(&mut clients, number + 40..number + 50).await;
        number += 50;
    }
    for client in &clients {
        client.nothing_more().await;
    }
}
