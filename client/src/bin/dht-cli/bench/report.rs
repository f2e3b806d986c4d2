//! What is said of a load that has ended.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::tally::Tally;

/// Percentiles that are shown, and their names.
const PERCENTILES: [(f64, &str); 5] = [
    (50.0, "p50"),
    (90.0, "p90"),
    (99.0, "p99"),
    (99.9, "p99.9"),
    (99.99, "p99.99"),
];

/// A load and what it measured.
#[derive(Debug)]
pub struct Report {
    /// The request.
    pub command: String,
    /// Servers that got load.
    pub servers: usize,
    /// Connections of all servers.
    pub connections: u32,
    /// Requests of a pipeline.
    pub pipeline: u32,
    /// Requests a second that were wanted, at a fixed rate.
    pub rate: Option<u64>,
    /// Threads of the generator.
    pub threads: u32,
    /// From the first request to the last reply.
    pub time: Duration,
    /// What was measured.
    pub tally: Tally,
}

impl Report {
    fn per_second(&self) -> f64 {
        let time = self.time.as_secs_f64().max(f64::EPSILON);
        self.tally.requests() as f64 / time
    }

    /// Percentiles and the maximum, in milliseconds.
    fn latencies(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = &self.tally.latencies;
        let each =
            PERCENTILES.map(|(percentile, name)| (name, all.value_at_percentile(percentile)));
        let each = each.into_iter().chain([("max", all.max())]);
        each.map(|(name, nanoseconds)| (name, nanoseconds as f64 / 1e6))
    }

    /// For people.
    pub fn text(&self) -> String {
        let loop_kind = match self.rate {
            Some(rate) => format!("{rate} requests a second wanted"),
            None => "closed loop".to_owned(),
        };
        let mut text = format!(
            "{}\n{}, {}, {}, {}, {loop_kind}\n{} requests in {:.3} s: {:.0} a second\nlatency ms:",
            self.command,
            counted(self.connections, "connection"),
            counted(self.servers as u32, "server"),
            counted(self.threads, "thread"),
            format_args!("{} in a pipeline", counted(self.pipeline, "request")),
            self.tally.requests(),
            self.time.as_secs_f64(),
            self.per_second(),
        );
        for (name, ms) in self.latencies() {
            let _ = write!(text, "  {name} {ms:.3}");
        }
        if self.tally.errors.is_empty() {
            text.push_str("\nno errors");
        }
        for (prefix, (count, first)) in &self.tally.errors {
            let _ = write!(text, "\nerrors: {count} {prefix}, the first: {first}");
        }
        text + "\n"
    }

    /// For programs.
    pub fn json(&self) -> String {
        let latencies: Map<String, Value> = self
            .latencies()
            .map(|(name, ms)| (name.to_owned(), json!(ms)))
            .collect();
        let errors: Map<String, Value> = self
            .tally
            .errors
            .iter()
            .map(|(prefix, (count, _))| (prefix.clone(), json!(count)))
            .collect();
        let all = json!({
            "command": self.command,
            "servers": self.servers,
            "connections": self.connections,
            "pipeline": self.pipeline,
            "threads": self.threads,
            "rate": self.rate,
            "requests": self.tally.requests(),
            "seconds": self.time.as_secs_f64(),
            "requests_per_s": self.per_second(),
            "latency_ms": latencies,
            "errors": errors,
            "failure": self.tally.failure.as_ref().map(ToString::to_string),
        });
        format!("{all}\n")
    }
}

/// `1 thread`, `2 threads`.
fn counted(count: u32, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn report() -> Report {
        let start = Instant::now();
        let mut tally = Tally::new(start).unwrap();
        tally.sent(100, start);
        tally.answered(99, start, start + Duration::from_millis(2));
        tally.answered(1, start, start + Duration::from_millis(50));
        tally.error(b"MOVED 1 a:1");
        tally.error(b"MOVED 2 a:1");
        Report {
            command: "PING".to_owned(),
            servers: 1,
            connections: 50,
            pipeline: 1,
            rate: None,
            threads: 2,
            time: Duration::from_millis(50),
            tally,
        }
    }

    #[test]
    fn text_for_people() {
        assert_eq!(
            report().text(),
            "\
PING
50 connections, 1 server, 2 threads, 1 request in a pipeline, closed loop
100 requests in 0.050 s: 2000 a second
latency ms:  p50 2.001  p90 2.001  p99 2.001  p99.9 50.004  p99.99 50.004  max 50.004
errors: 2 MOVED, the first: MOVED 1 a:1
"
        );
    }

    #[test]
    fn json_for_programs() {
        let value: Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(value["requests"], 100);
        assert_eq!(value["requests_per_s"], 2000.0);
        assert_eq!(value["errors"], json!({"MOVED": 2}));
        assert_eq!(value["failure"], Value::Null);
        assert!(value["latency_ms"]["p99.9"].as_f64().unwrap() > 49.9);
    }
}
