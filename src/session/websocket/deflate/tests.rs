//! Offers, and what is answered to them.

use super::Deflate;

/// Checks the answer to these values of the header, less what it always says.
#[track_caller]
fn check(offers: &[&str], expected: Option<&str>) {
    const ALWAYS: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let agreed = Deflate::agree(offers.iter().copied());
    let answer = agreed.map(|agreed| {
        let more = agreed.answer().strip_prefix(ALWAYS).expect("it is said");
        let window = format!("; server_max_window_bits={}", agreed.window().bits());
        assert!(more.is_empty() || more == window, "{more}");
        more
    });
    assert_eq!(answer, expected, "{offers:?}");
}

#[test]
fn what_clients_offer_is_taken_up() {
    for plain in [
        // Browsers, Node's own client, Python's websockets.
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "permessage-deflate;client_max_window_bits=8",
        "permessage-deflate ; client_max_window_bits = \"15\"",
        "\tpermessage-deflate\t;\tclient_no_context_takeover\t",
        ", ,permessage-deflate,",
    ] {
        check(&[plain], Some(""));
    }
}

#[test]
fn a_smaller_window_becomes_the_smallest() {
    for bits in 9..15 {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        check(&[&offer], Some("; server_max_window_bits=9"));
    }
    check(
        &["permessage-deflate; server_max_window_bits=\"15\"; client_max_window_bits=10"],
        Some("; server_max_window_bits=15"),
    );
}

#[test]
fn an_offer_with_a_fault_is_declined_alone() {
    for parameters in [
        "server_max_window_bits",
        "server_max_window_bits=8",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=+9",
        "server_max_window_bits=271",
        "server_max_window_bits=nine",
        "server_max_window_bits=\"15\"; server_max_window_bits=15",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=015",
        "client_max_window_bits; client_max_window_bits",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "Server_No_Context_Takeover",
        "unknown",
        "unknown=1",
    ] {
        let offer = format!("permessage-deflate; {parameters}");
        check(&[&offer], None);
        let with_another = format!("{offer}, permessage-deflate; server_max_window_bits=10");
        check(&[&with_another], Some("; server_max_window_bits=9"));
        check(&[&offer, "permessage-deflate"], Some(""));
    }
}

#[test]
fn the_first_that_can_be_is_taken() {
    check(
        &["permessage-deflate; server_max_window_bits=15, permessage-deflate"],
        Some("; server_max_window_bits=15"),
    );
    check(
        &[
            "permessage-bzip2, x-webkit-deflate-frame",
            "mux; max-channels=4; flow-control, permessage-deflate",
        ],
        Some(""),
    );
    check(&["permessage-deflate", "???"], Some(""));
}

#[test]
fn what_is_none_is_none() {
    for other in [
        &[][..],
        &[""],
        &[","],
        &["x-webkit-deflate-frame"],
        &["Permessage-Deflate"],
        &["permessage-deflate2"],
        &["permessage"],
        // Faults of syntax: nothing is known of what stands behind them.
        &["permessage-deflate;"],
        &["permessage-deflate; =1"],
        &["permessage-deflate; server_max_window_bits="],
        &["permessage-deflate; server_max_window_bits=\"9"],
        &["permessage-deflate; server_max_window_bits=\"\""],
        &["permessage-deflate; server_max_window_bits=1 0"],
        &["permessage-deflate client_max_window_bits"],
        &["permessage-deflate: 1"],
        &["(), permessage-deflate"],
        &["a; b=\"\\\", permessage-deflate\""],
    ] {
        check(other, None);
    }
}
