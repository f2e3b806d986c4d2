//! Known good and known bad histories.

use super::linear::{Limits, Verdict, check};
use super::testing::history;

const LIMITS: Limits = Limits {
    clock_error_us: 10_000,
    steps: 100_000,
};

fn verdict(text: &str) -> Verdict {
    check(&history(text), &LIMITS)
}

#[track_caller]
fn good(text: &str) {
    let verdict = verdict(text);
    assert!(verdict.is_linearizable(), "{text}\n{verdict}");
}

#[track_caller]
fn bad(text: &str) {
    let verdict = verdict(text);
    assert!(verdict.is_violation(), "{text}\n{verdict}");
}

#[test]
fn a_read_shows_the_last_write_or_one_beside_it() {
    good("1 0..1 SET k a -> OK\n 2 2..3 GET k -> a");
    good("1 0..5 SET k a -> OK\n 2 1..2 GET k -> nil\n 2 3..4 GET k -> a");
    bad("1 0..1 SET k a -> OK\n 2 2..3 GET k -> nil");
    bad("1 0..5 SET k a -> OK\n 2 1..2 GET k -> a\n 3 3..4 GET k -> nil");
    bad("1 0..1 SET k a -> OK\n 1 2..3 SET k b -> OK\n 2 4..5 GET k -> a");
    good("1 0..3 SET k a -> OK\n 2 1..4 SET k b -> OK\n 3 5..6 GET k -> a");
    bad("1 0..3 SET k a -> OK\n 2 1..4 SET k b -> OK\n 3 5..6 GET k -> a\n 3 7..8 GET k -> b");
    bad("1 0..1 SET k a -> OK\n 2 2..3 GET k -> never");
}

#[test]
fn events_at_the_same_time_are_beside_each_other() {
    good("1 0..5 SET k a -> OK\n 2 5..6 GET k -> nil");
}

#[test]
fn keys_are_judged_apart() {
    good("1 0..1 SET a 1 -> OK\n 1 2..3 SET b 1 -> OK\n 2 4..5 GET a -> '1'");
    bad("1 0..1 SET a 1 -> OK\n 1 2..3 SET b 1 -> OK\n 2 4..5 GET b -> nil");
}

#[test]
fn an_unknown_write_may_happen_late_or_never_but_once() {
    good("1 0.. SET k a\n 2 2..3 GET k -> nil\n 2 4..5 GET k -> a");
    good("1 0.. SET k a\n 2 2..3 GET k -> nil\n 2 4..5 SET k b -> OK\n 2 6..7 GET k -> b");
    good("1 0.. SET k a\n 2 2..3 SET k b -> OK\n 2 4..5 GET k -> a");
    bad("1 3.. SET k a\n 2 1..2 GET k -> a");
    bad("1 0.. SET k a\n 2 2..3 GET k -> a\n 2 4..5 SET k b -> OK\n 2 6..7 GET k -> a");
    bad("1 0.. INCR n\n 2 1..2 INCR n -> 1\n 2 3..4 INCR n -> 4");
    good("1 0.. INCR n\n 3 0.. INCR n\n 2 1..2 INCR n -> 1\n 2 3..4 INCR n -> 4");
    bad("1 0.. APPEND k ab\n 2 1..2 GET k -> abab");
}

#[test]
fn what_was_refused_did_not_happen() {
    let text = "1 0..1 SET k a -> -CLUSTERDOWN no leader\n 2 2..3 GET k -> ";
    good(&format!("{text} nil"));
    bad(&format!("{text} a"));
}

#[test]
fn increments_count_once() {
    good("1 0..9 INCR n -> 2\n 2 0..9 INCR n -> 1");
    bad("1 0..9 INCR n -> 1\n 2 0..9 INCR n -> 1");
    bad("1 0..1 INCR n -> 1\n 2 2..3 INCR n -> 3");
    bad("1 0..1 HINCRBY h f 5 -> 5\n 2 2..3 HGET h f -> '10'");
}

#[test]
fn a_client_that_does_not_wait_is_served_in_order() {
    good("1 0..5 SET k a -> OK\n 1 0..5 SET k b -> OK\n 1 0..5 GET k -> b");
    bad("1 0..5 SET k a -> OK\n 1 0..5 SET k b -> OK\n 2 6..7 GET k -> a");
    good("1 0..5 SET k a -> OK\n 2 0..5 SET k b -> OK\n 3 6..7 GET k -> a");
    bad("1 0..5 APPEND k a -> 2\n 1 0..6 APPEND k b -> 1");
}

#[test]
fn a_key_vanishes_in_its_time_and_stays_gone() {
    let text = "1 0..10 SET k a PX 100 -> OK\n";
    // From 100 to 110, and an error of 10 on both sides.
    good(&format!(
        "{text} 2 20..30 GET k -> a\n 2 130..140 GET k -> nil"
    ));
    bad(&format!("{text} 2 20..30 GET k -> nil"));
    bad(&format!("{text} 2 80..89 GET k -> nil"));
    good(&format!("{text} 2 80..90 GET k -> nil"));
    good(&format!("{text} 2 120..125 GET k -> a"));
    bad(&format!("{text} 2 121..125 GET k -> a"));
    bad(&format!(
        "{text} 2 100..105 GET k -> nil\n 2 106..107 GET k -> a"
    ));
    good(&format!(
        "{text} 2 100..105 GET k -> a\n 2 106..107 GET k -> nil"
    ));
    good(&format!(
        "{text} 2 50..60 PERSIST k -> 1\n 2 500..501 GET k -> a"
    ));
    bad(&format!("{text} 2 50..60 PERSIST k -> 0"));
    good(&format!(
        "{text} 2 50..60 SET k b KEEPTTL -> OK\n 2 500..501 GET k -> nil"
    ));
    bad(&format!(
        "{text} 2 50..60 SET k b -> OK\n 2 500..501 GET k -> nil"
    ));
    good(&format!(
        "{text} 2 50..60 PTTL k -> 44\n 2 500..501 PTTL k -> -2"
    ));
    bad(&format!("{text} 2 50..60 PTTL k -> -1"));
}

#[test]
fn an_unknown_time_to_live_may_start_at_any_time() {
    let text = "1 0..1 SET k a -> OK\n 1 2.. PEXPIRE k 100\n";
    good(&format!("{text} 2 500..501 GET k -> a"));
    good(&format!("{text} 2 500..501 GET k -> nil"));
    bad(&format!("{text} 2 50..51 GET k -> nil"));
    bad(&format!(
        "{text} 2 500..501 GET k -> nil\n 2 502..503 GET k -> a"
    ));
}

#[test]
fn an_expired_key_is_made_anew() {
    let text = "1 0..1 HSET h f a -> 1\n 1 2..3 PEXPIRE h 100 -> 1\n";
    good(&format!(
        "{text} 2 200..201 HSET h g b -> 1\n 2 300..301 HGETALL h -> [g b]"
    ));
    bad(&format!(
        "{text} 2 200..201 HSET h g b -> 1\n 2 300..301 HGETALL h -> [g b f a]"
    ));
    bad(&format!(
        "{text} 2 200..201 HSET h g b -> 1\n 2 900..901 HGETALL h -> []"
    ));
    good(&format!(
        "{text} 2 50..51 HSET h g b -> 1\n 2 900..901 HGETALL h -> []"
    ));
}

#[test]
fn a_transaction_is_one_step() {
    let write = "1 0..9 MULTI; SET {t}a 1; SET {t}b 1; EXEC -> [OK OK]\n";
    good(&format!(
        "{write} 2 1..2 GET {{t}}a -> '1'\n 2 3..4 GET {{t}}b -> '1'"
    ));
    good(&format!("{write} 2 1..2 MGET {{t}}a {{t}}b -> [nil nil]"));
    bad(&format!(
        "{write} 2 1..2 GET {{t}}a -> '1'\n 2 3..4 GET {{t}}b -> nil"
    ));
    bad(&format!("{write} 2 1..2 MGET {{t}}a {{t}}b -> [nil '1']"));
    bad(&format!(
        "{write} 2 1..2 MULTI; GET {{t}}a; GET {{t}}b; EXEC -> ['1' nil]"
    ));
    good("1 0.. MULTI; INCR {t}a; INCR {t}b; EXEC\n 2 1..2 MGET {t}a {t}b -> ['1' '1']");
    bad("1 0.. MULTI; INCR {t}a; INCR {t}b; EXEC\n 2 1..2 MGET {t}a {t}b -> ['1' nil]");
    bad("1 0..1 MULTI; GET a; EXEC -> nil");
}

#[test]
fn a_watched_key_that_changed_aborts_the_transaction() {
    let watch = "1 0..1 WATCH k -> OK\n";
    let exec = "1 8..9 k WATCHED; MULTI; SET k mine; EXEC";
    good(&format!("{watch} {exec} -> [OK]"));
    // It may be aborted for reasons of its own, and then has no effect.
    good(&format!("{watch} {exec} -> nil\n 2 10..11 GET k -> nil"));
    bad(&format!("{watch} {exec} -> nil\n 2 10..11 GET k -> mine"));
    let other = "2 4..5 SET k other -> OK\n";
    good(&format!("{watch} {other} {exec} -> nil"));
    bad(&format!("{watch} {other} {exec} -> [OK]"));
    good(&format!("{watch} 2 4..5 DEL k -> 0\n {exec} -> [OK]"));
    good(&format!(
        "{watch} 2 4.. SET k other\n {exec} -> [OK]\n 2 20..21 GET k -> other"
    ));
    good(&format!(
        "2 0..5 SET k other -> OK\n {watch} {exec} -> [OK]"
    ));
    // The first WATCH belongs to a transaction that was refused.
    let refused = "1 2..3 k WATCHED; MULTI; SET k mine; EXEC -> -CLUSTERDOWN down\n";
    good(&format!(
        "{watch} {refused} {other} 1 6..7 WATCH k -> OK\n {exec} -> [OK]"
    ));
}

#[test]
fn a_violation_says_where_and_why() {
    let text = "
        1 0..1 SET k old -> OK
        1 2..3 SET k new -> OK
        2 2..9 GET k -> new
        3 0..1 SET other x -> OK
        2 10..11 GET k -> old
        2 20..21 GET k -> new";
    let Verdict::Violation(stuck) = verdict(text) else {
        panic!("not caught");
    };
    assert_eq!(stuck.keys, ["k"]);
    let shown = stuck.to_string();
    assert!(shown.contains("nothing explains\n  [    10000 ..     11000] client 2: GET k"));
    assert!(shown.contains("client 1: SET k old"), "{shown}");
    assert!(shown.contains("client 1: SET k new"), "{shown}");
    assert!(shown.contains("k = new\n"), "{shown}");
    assert!(
        !shown.contains("other") && !shown.contains("20000"),
        "{shown}"
    );
}

#[test]
fn a_search_that_is_too_long_is_undecided() {
    let mut text = String::new();
    for n in 0..30 {
        text += &format!("{n} 0.. APPEND k {n:02}\n");
    }
    text += "99 0..1 GET k -> 00010203040506070809100011";
    let verdict = verdict(&text);
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict}");
}
