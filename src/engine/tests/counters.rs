//! Cost follows deliveries: what one event costs among a hundred thousand groups, read from the counters that operators see.

use super::*;

const GROUPS: i32 = 100_000;
const RESIDUAL_ONLY: usize = 10;

/// The plan of the group with that number: one for each way of asking that the index knows.
fn plan_of(number: i32) -> Plan {
    let only = |filter: Document| (vec![filter], None);
    let (filters, notify) = match number % 5 {
        0 => only(doc! { "fullDocument.name": format!("name{number}") }),
        1 => only(
            doc! { "fullDocument.tag": { "$in": [number, number + GROUPS] }, "operationType": "insert" },
        ),
        2 => only(doc! { "fullDocument.price": { "$gte": number, "$lt": number + 5 } }),
        // A read filter with the user's name in it, and what the stream asks for with the client's value in it.
        3 => (
            vec![
                doc! { "fullDocument.owner": number % 100 },
                doc! { "fullDocument.room": number },
            ],
            None,
        ),
        _ => (
            vec![doc! { "operationType": "insert" }],
            Some(doc! { "fullDocument.level": number }),
        ),
    };
    // Of the five that match, two want server-sent events.
    let framing = match number % 5 {
        0 | 1 => Framing::Sse,
        _ => Framing::WebSocket {
            ids: false,
            deflate: None,
        },
    };
    choose(filters, notify, framing)
}

fn residual_only(number: usize) -> Plan {
    choose(
        vec![doc! { "fullDocument.text": { "$ne": format!("other{number}") } }],
        None,
        Framing::Sse,
    )
}

fn choose(filters: Vec<Document>, notify: Option<Document>, framing: Framing) -> Plan {
    let stages = filters.into_iter().map(|filter| doc! { "$match": filter });
    Plan::choose(Wanted {
        namespace: namespace(),
        stages: stages.collect(),
        notify,
        veil: Veil::default(),
        mode: JsonMode::Default,
        framing,
    })
    .expect("a plan")
}

fn counted(handle: &PrometheusHandle, what: &str) -> usize {
    let (text, name) = (handle.render(), format!("sidestream_{what}_total"));
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
    value.unwrap_or(0)
}

fn insert(second: u32, document: Document) -> Arc<Event> {
    let ns = doc! { "db": "d", "coll": "c" };
    event_of(
        second,
        doc! { "operationType": "insert", "ns": ns, "fullDocument": document },
    )
}

#[test]
fn an_event_costs_what_it_delivers_among_a_hundred_thousand_groups() {
    counting(deliver_and_count);
}

async fn deliver_and_count(handle: PrometheusHandle) {
    let tasks = Tasks::new();
    let hub = Hub::new(tasks.clone());
    let mut sessions = Vec::new();
    for number in 0..GROUPS {
        sessions.push(join(&hub, plan_of(number), 0).await);
    }
    for number in 0..RESIDUAL_ONLY {
        sessions.push(join(&hub, residual_only(number), 0).await);
    }
    let all = doc! { "name": "name70000", "tag": 70_001, "price": 70_002, "owner": 3, "room": 70_003, "level": 70_004 };
    let none =
        doc! { "name": "name", "tag": -1, "price": -1, "owner": 3, "room": 70_002, "level": -1 };
    for (place, (document, matches, outputs)) in [(all, 5, 2), (none, 0, 1)].into_iter().enumerate()
    {
        let before = ["candidates", "renderings"].map(|what| counted(&handle, what));
        hub.deliver(vec![insert(1 + place as u32, document)]).await;
        settled(&hub).await;
        let after = ["candidates", "renderings"].map(|what| counted(&handle, what));
        let frames: usize = sessions
            .iter_mut()
            .map(|session| session.runs().len())
            .sum();
        assert_eq!(frames, matches + RESIDUAL_ONLY);
        assert_eq!(after[0] - before[0], matches + RESIDUAL_ONLY, "candidates");
        assert_eq!(after[1] - before[1], outputs, "renderings");
    }
    // All go at once, and the worker lets them go piece by piece.
    drop(sessions);
    idle().await;
    assert_eq!(tasks.count(), 0, "the worker goes with the last");
}
