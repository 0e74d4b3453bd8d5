//! Is the tool honest? A server that drops, doubles and swaps events, each fault counted as it is made, and sends the
//! bytes in pieces of all sizes. The tool must find exactly these.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, Instant},
};

use memchr::memmem::Finder;
use sidestream::wire::frame::{sse_event, websocket_text};

use crate::support::{
    Epoch, Outcome,
    connect::{Target, Transport},
    crowd::{Crowd, End, Setting},
    judge::{Faults, Judge, Share},
    single, thread,
    writers::MARK,
};

/// Returns whether exactly the faults that were made were found, over both transports.
pub(crate) fn run() -> Outcome<bool> {
    let mut honest = true;
    for transport in [Transport::WebSocket, Transport::Sse] {
        let (made, found) = single()?.block_on(once(transport))?;
        println!(
            "{transport:?}: {} deliveries due, made  {made:?}",
            CLIENTS * EVENTS as usize
        );
        println!(
            "{transport:?}: {} deliveries due, found {found:?}",
            CLIENTS * EVENTS as usize
        );
        honest &= made == found;
    }
    println!("{}", if honest { "honest" } else { "NOT HONEST" });
    Ok(honest)
}

async fn once(transport: Transport) -> Outcome<(Faults, Faults)> {
    let run = format!("{:016x}", rand::random::<u64>());
    let (address, made) = faulty(run.clone(), transport)?;
    let mut crowd = Crowd::new(Setting {
        epoch: Epoch::now(),
        marker: Arc::new(Finder::new(&format!("{run}:")).into_owned()),
        readers: vec![thread()?],
        at_once: CLIENTS,
    });
    let target = Target::parse(&format!("http://{address}/stub"), transport)?;
    crowd.open(&target, CLIENTS, |_| None).await?;
    // The stub closes when it has sent all.
    let until = Instant::now() + Duration::from_secs(60);
    while crowd.ends().len() < CLIENTS {
        if Instant::now() > until {
            return Err("the stub has not come to its end".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if crowd.ends().iter().any(|end| *end != End::Closed(CODE)) {
        return Err(format!("not all were closed with {CODE}: {:?}", crowd.ends()).into());
    }
    if crowd.strange() != CLIENTS as u64 {
        return Err(format!("{} strange messages instead of {CLIENTS}", crowd.strange()).into());
    }
    let places: Vec<u32> = (0..EVENTS).collect();
    let mut found = Faults::default();
    for member in &crowd.members {
        let mut judge = Judge::new(Share::ALL, 0);
        // In two parts, as a long run is judged.
        let arrived = member.take();
        let (early, late) = arrived.split_at(arrived.len() / 2);
        judge.hear(early, &places);
        judge.hear(late, &places);
        found.add(judge.verdict(EVENTS));
    }
    let mut all = Faults::default();
    (0..CLIENTS).try_for_each(|_| made.recv().map(|of_one| all.add(of_one)))?;
    Ok((all, found))
}

/// The server: a thread for each client, which tells the faults that it made.
fn faulty(run: String, transport: Transport) -> Outcome<(SocketAddr, Receiver<Faults>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (tell, made) = sync_channel(CLIENTS);
    std::thread::spawn(move || {
        for (client, socket) in listener.incoming().take(CLIENTS).enumerate() {
            let (run, tell) = (run.clone(), tell.clone());
            let serving = move || -> std::io::Result<()> {
                let of_this = serve(socket?, &run, transport, client as u32)?;
                tell.send(of_this).map_err(std::io::Error::other)
            };
            std::thread::spawn(serving);
        }
    });
    Ok((address, made))
}

fn serve(
    mut socket: TcpStream,
    run: &str,
    transport: Transport,
    client: u32,
) -> std::io::Result<Faults> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut room = [0; 1024];
        let read = socket.read(&mut room)?;
        head.extend_from_slice(&room[..read]);
    }
    let (numbers, made) = sequence(client);
    let framed = |text: &str| match transport {
        Transport::WebSocket => websocket_text(text),
        Transport::Sse => sse_event("{\"_data\": \"82\"}", text),
    };
    let mut bytes = Vec::from(match transport {
        Transport::WebSocket => &b"HTTP/1.1 101 Switching Protocols\r\n\r\n"[..],
        Transport::Sse => b"HTTP/1.1 200 OK\r\n\r\n: hello\n\n",
    });
    bytes.extend_from_slice(&framed("{\"fullDocument\": {\"somebody\": \"else's\"}}"));
    for number in numbers {
        let pad = "x".repeat((number as usize * 7) % 400);
        let text =
            format!("{{\"fullDocument\": {{\"{MARK}\": \"{run}:{number}\", \"pad\": \"{pad}\"}}}}");
        bytes.extend_from_slice(&framed(&text));
    }
    bytes.extend_from_slice(&match transport {
        Transport::WebSocket => [&[0x88, 2][..], &CODE.to_be_bytes()].concat(),
        Transport::Sse => {
            format!("event: close\ndata: {{\"code\":{CODE},\"reason\":\"x\"}}\n\n").into_bytes()
        }
    });
    let mut rest = &bytes[..];
    let mut size = 1 + client as usize;
    while !rest.is_empty() {
        let (part, later) = rest.split_at(size.min(rest.len()));
        socket.write_all(part)?;
        (rest, size) = (later, size * 3 % 70_000 + 1);
    }
    Ok(made)
}

/// What the client gets, and what is wrong with it.
fn sequence(client: u32) -> (Vec<u32>, Faults) {
    let mut numbers: Vec<u32> = (0..EVENTS).collect();
    let mut made = Faults::default();
    for place in (20..numbers.len() - 1).step_by(50) {
        numbers.swap(place, place + 1);
        made.out_of_order += 1;
    }
    let mut sent = Vec::new();
    for number in numbers {
        if number % 1000 == 7 + client {
            made.lost += 1;
            continue;
        }
        sent.push(number);
        // At once, or long after.
        if number % 1500 == 90 {
            sent.push(number);
            made.doubled += 1;
        }
        if number % 1500 == 95 {
            sent.push(number - 60);
            made.doubled += 1;
        }
    }
    // An event that nobody wrote.
    sent.push(EVENTS + client);
    made.astray += 1;
    (sent, made)
}

/// Of whom none gets all; each loses others.
const CLIENTS: usize = 12;
const EVENTS: u32 = 9_000;
const CODE: u16 = 4408;

#[cfg(test)]
mod tests {
    #[test]
    fn every_fault_is_found_and_no_other() {
        assert!(super::run().expect("the stub serves"));
    }
}
