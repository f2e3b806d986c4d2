//! LATENCY and SLOWLOG: what has taken long at this node.

use std::sync::atomic::Ordering::Relaxed;

use dht_proto::spec::CommandId;
use dht_proto::{Reply, ReplyError};

use super::describe::Command;
use super::wrong_subcommand;
use crate::core::args::Args;
use crate::core::execute::Outcome;
use crate::core::local::Local;
use crate::core::measures::Measures;
use crate::core::measures::latency::{Sample, Samples};
use crate::core::measures::slowlog::Entry;

/// So many slow commands are shown where nobody says how many.
const SHOWN: usize = 10;

/// LATENCY DOCTOR.
pub fn latency_doctor(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let latency = &ctx.node.measures.latency;
    let Some(threshold_ms) = latency.threshold_ms() else {
        let text = "Nothing is watched: CONFIG SET latency-monitor-threshold <milliseconds> has \
                    what takes longer noted.\n";
        return Ok(Reply::Text(text.into()));
    };
    let mut text = String::new();
    for (event, samples) in latency.all() {
        let Samples { latest, max_ms } = samples;
        let sum_ms: u64 = latest.iter().map(|sample| sample.took_ms).sum();
        let mean_ms = sum_ms / (latest.len() as u64).max(1);
        text += &format!(
            "{event}: in {} seconds something took {threshold_ms} ms or longer, {mean_ms} ms on \
             average, {max_ms} ms at most.\n",
            latest.len()
        );
    }
    if text.is_empty() {
        text = format!("Nothing has taken {threshold_ms} ms or longer.\n");
    }
    Ok(Reply::Text(text.into()))
}

/// LATENCY HISTOGRAM.
pub fn latency_histogram(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let ids: Vec<CommandId> = match args.rest() {
        [] => CommandId::all().collect(),
        names => {
            let found = names.iter().filter_map(|name| Command::named(name));
            found
                .flat_map(|command| command.row.into_iter().chain(command.subcommands))
                .collect()
        }
    };
    let measures = &ctx.node.measures;
    let entries = ids.into_iter().filter_map(|id| histogram(measures, id));
    Ok(Reply::Map(entries.collect()))
}

/// The times of a command that was executed.
fn histogram(measures: &Measures, id: CommandId) -> Option<(Reply, Reply)> {
    let of = measures.of(id);
    let int = |count: u64| Reply::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let powers = of.times.get()?.by_powers().into_iter();
    let powers: Vec<_> = powers.map(|(us, count)| (int(us), int(count))).collect();
    if powers.is_empty() {
        return None;
    }
    let facts = vec![
        (Reply::bulk("calls"), int(of.calls.load(Relaxed))),
        (Reply::bulk("histogram_usec"), Reply::Map(powers)),
    ];
    Some((Reply::bulk(id.spec().full_name()), Reply::Map(facts)))
}

/// LATENCY HISTORY.
pub fn latency_history(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let event = args.word()?;
    let all = ctx.node.measures.latency.all();
    let found = all.iter().find(|(name, _)| name.as_bytes() == event);
    let samples = found.map(|(_, samples)| samples.latest.iter());
    let samples = samples.into_iter().flatten();
    Ok(Reply::Array(samples.map(sample).collect()))
}

fn sample(sample: &Sample) -> Reply {
    let numbers = [sample.unix_s, sample.took_ms];
    Reply::Array(numbers.map(|n| Reply::count(n as usize)).to_vec())
}

/// LATENCY LATEST.
pub fn latency_latest(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let all = ctx.node.measures.latency.all();
    let entry = |(event, samples): (&str, &Samples)| {
        let last = samples.latest.back()?;
        let numbers = [last.unix_s, last.took_ms, samples.max_ms];
        let numbers = numbers.map(|n| Reply::count(n as usize));
        let words = std::iter::once(Reply::bulk(event)).chain(numbers);
        Some(Reply::Array(words.collect()))
    };
    let entries = all
        .iter()
        .filter_map(|(event, samples)| entry((event, samples)));
    Ok(Reply::Array(entries.collect()))
}

/// LATENCY RESET.
pub fn latency_reset(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(Reply::count(ctx.node.measures.latency.reset(args.rest())))
}

/// SLOWLOG GET.
pub fn slowlog_get(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let count = (args.left() > 0).then(|| args.int());
    args.finish().map_err(|_| wrong_subcommand(args))?;
    let wrong = ReplyError::err("count should be greater than or equal to -1");
    let count = match count {
        None => SHOWN,
        Some(Ok(-1)) => usize::MAX,
        Some(Ok(count)) => usize::try_from(count).map_err(|_| wrong)?,
        Some(Err(_)) => return Err(wrong),
    };
    let entries = ctx.node.measures.slowlog.latest(count);
    Ok(Reply::Array(entries.into_iter().map(entry).collect()))
}

fn entry(entry: Entry) -> Reply {
    let Entry {
        id,
        unix_s,
        slow,
        addr,
        name,
    } = entry;
    let words = slow.argv.into_iter().map(Reply::Bulk).collect();
    let [id, unix_s, took_us] = [id, unix_s, slow.took_us].map(|n| Reply::count(n as usize));
    let client = [Reply::bulk(addr), Reply::bulk(name)];
    let facts = [id, unix_s, took_us, Reply::Array(words)];
    Reply::Array(facts.into_iter().chain(client).collect())
}

/// SLOWLOG LEN.
pub fn slowlog_len(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::count(ctx.node.measures.slowlog.len()))
}

/// SLOWLOG RESET.
pub fn slowlog_reset(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    ctx.node.measures.slowlog.reset();
    Ok(Reply::Ok)
}

#[cfg(test)]
mod tests {
    use crate::core::commands::testing::Desk;
    use crate::core::measures::slowlog::Slow;

    #[test]
    fn what_took_long_is_shown_and_forgotten() {
        let mut desk = Desk::standalone();
        let check = |desk: &mut Desk, line: &str, expect: &str| {
            assert_eq!(desk.run(line), expect, "{line}");
        };
        check(&mut desk, "LATENCY LATEST", "[]");
        assert!(desk.run("LATENCY DOCTOR").starts_with("Nothing is watched"));
        check(
            &mut desk,
            "CONFIG SET latency-monitor-threshold 5 slowlog-max-len 2",
            "OK",
        );
        assert!(
            desk.run("LATENCY DOCTOR")
                .starts_with("Nothing has taken 5 ms")
        );
        let measures = &desk.node.measures;
        for (unix_s, took_us) in [(7, 9000), (8, 6000)] {
            measures.latency.add("command", unix_s, took_us);
            let slow = Slow::new(took_us, &[b"GET", b"k"]);
            measures.slowlog.add(slow, unix_s, ("here:1", "me"));
        }
        check(&mut desk, "LATENCY LATEST", "[[\"command\", 8, 6, 9]]");
        check(&mut desk, "LATENCY HISTORY command", "[[7, 9], [8, 6]]");
        check(&mut desk, "LATENCY HISTORY other", "[]");
        assert!(desk.run("LATENCY DOCTOR").contains("command: in 2 seconds"));
        let get = "[[1, 8, 6000, [\"GET\", \"k\"], \"here:1\", \"me\"]]";
        check(&mut desk, "SLOWLOG GET 1", get);
        assert_eq!(desk.run("SLOWLOG GET -1"), desk.run("SLOWLOG GET"));
        check(&mut desk, "SLOWLOG LEN", "2");
        check(&mut desk, "CONFIG SET slowlog-max-len 1", "OK");
        check(&mut desk, "SLOWLOG LEN", "1");
        check(&mut desk, "SLOWLOG RESET", "OK");
        check(&mut desk, "SLOWLOG GET", "[]");
        check(&mut desk, "LATENCY RESET other", "0");
        check(&mut desk, "LATENCY RESET", "1");
        check(&mut desk, "LATENCY HISTORY command", "[]");
        check(&mut desk, "LATENCY HISTOGRAM", "{}");
    }
}
