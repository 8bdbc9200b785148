//! The in-memory path of a request, for a counter of instructions to run over: find the head's end, parse, admit (route, cached token,
//! both limits), write the head anew. Not I/O, not a measure of time: `callgrind.sh` beside the README counts what `one_request` runs.

use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use dbpower_gateway::config::{self, Config, Rules, Sources};
use dbpower_gateway::http1::{HEAD_BYTES_MAX, Scratch, head_end, parse_request, write};
use dbpower_gateway::worker::{Admitted, Checks, Source, admit};
use dbpower_gateway::{identity, limit, net, presence};

use crate::generator::{SECRET, token};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often.
    #[arg(long, default_value_t = 1_000)]
    requests: u32,
}

/// Runs the path `requests` times, after once to warm the token's cache and the limiter's slots.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let config = configured()?;
    let rules =
        Rules::new(Arc::clone(&config)).map_err(|_| io::Error::other("the rules are refused"))?;
    let node = limit::Node::new(config::limit_settings(&config));
    let mut checks = Checks {
        limits: limit::Core::new(node, 0),
        presence: Arc::new(presence::Presence::new(presence::Bounds {
            connections_max: 100,
            per_address_max: 0,
            per_organization_max: 0,
        })),
        tokens: identity::Cache::new(),
        heard: None,
    };
    let head = head()?;
    let client = IpAddr::from([192, 0, 2, 1]);
    let mut out = Vec::with_capacity(HEAD_BYTES_MAX);
    let mut admitted = admitted_and_written(&head, client, &rules, &mut checks, &mut out);
    for _ in 0..options.requests {
        out.clear();
        admitted &= one_request(black_box(&head), client, &rules, &mut checks, &mut out);
        black_box(out.len());
    }
    if !admitted {
        return Err(io::Error::other("a request was not admitted"));
    }
    println!(
        "{} requests of {} bytes, {} bytes written for each",
        options.requests,
        head.len(),
        out.len()
    );
    Ok(())
}

/// What is counted: a symbol of its own.
#[inline(never)]
fn one_request(
    head: &[u8],
    client: IpAddr,
    rules: &Rules,
    checks: &mut Checks,
    out: &mut Vec<u8>,
) -> bool {
    admitted_and_written(head, client, rules, checks, out)
}

#[inline(always)]
fn admitted_and_written(
    head: &[u8],
    client: IpAddr,
    rules: &Rules,
    checks: &mut Checks,
    out: &mut Vec<u8>,
) -> bool {
    let mut scanned = 0;
    let Ok(Some(length)) = head_end(head, &mut scanned, HEAD_BYTES_MAX) else {
        return false;
    };
    let mut scratch = Scratch::new();
    let Ok(request) = parse_request(head.get(..length).unwrap_or_default(), &mut scratch) else {
        return false;
    };
    let Ok(source) = Source::of(&request, client, rules) else {
        return false;
    };
    let admitted = admit::<net::Tcp>(&request, &source, rules, checks);
    let forwarded = matches!(admitted, Ok(Admitted::Forward(_)));
    write::request_line(out, request.method_text, &[""], request.target);
    write::copy_fields(out, request.head, request.fields, |field| !field.hop);
    write::field(out, "X-Forwarded-For", b"192.0.2.1");
    write::field(out, "X-Forwarded-Proto", b"http");
    write::number_field(out, "X-Organization-ID", 1);
    write::number_field(out, "X-User-ID", 101);
    write::end(out);
    forwarded
}

fn configured() -> io::Result<Arc<Config>> {
    let mut sources = Sources::default();
    for (name, value) in [
        ("JWT_SECRET_KEY", SECRET),
        ("REDIS_ENABLED", "false"),
        ("RATE_LIMIT_RPM", "16000000"),
        ("GATEWAY_WORKERS", "1"),
    ] {
        sources.environment.push((name.into(), value.into()));
    }
    let loaded =
        Config::from_sources(&sources).map_err(|_| io::Error::other("the settings are refused"))?;
    Ok(Arc::new(loaded.config))
}

/// A browser's request, as `benches/admit.rs` has it.
fn head() -> io::Result<Vec<u8>> {
    let token = token(1, net::clock::unix_ms() / 1000 + 3_600)?;
    let head = format!(
        "GET /api/v1/items?page=1 HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {token}\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0\r\n\
         Accept: application/json\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
         Referer: https://app.example.com/items\r\nOrigin: https://app.example.com\r\nDNT: 1\r\n\
         Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nConnection: keep-alive\r\n\r\n"
    );
    Ok(head.into_bytes())
}
