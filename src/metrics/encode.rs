//! The sums as Prometheus text (by `prometheus-client`). Not a store. Invariant: only cells that were
//! touched become lines, so the text grows with what is used, bounded by routes × methods × classes.

use std::fmt::{Error, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Unit};

use super::classic::classic;
use super::counters::{CELL, DURATION_BOUNDS_US, Shape, Sum, WAIT_BOUNDS_US};
use super::labels::{
    AuthFailure, CLASSES, CloseReason, LEASE_EVENTS, LIMIT_LEVELS, LimitOutcome, LimitPolicy,
    METHODS, UpstreamEvent,
};
use super::{Registry, State};

/// The dialect of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Classic,
}

impl TextFormat {
    /// The dialect that an `Accept` field asks for; without a wish the older one, which everybody reads.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What the counters cannot know: asked for when the text is.
#[derive(Debug, Clone, Copy)]
pub struct Gauges<'a> {
    /// Keys that the limiter holds now.
    pub keys: u64,
    /// Version of the build.
    pub version: &'static str,
    /// Unix time of the process's start in milliseconds.
    pub start_unix_ms: u64,
    /// Diagnostic lines dropped because their writer was behind.
    pub diagnostics_dropped: u64,
    /// The process's state.
    pub state: &'a State,
}

impl Registry {
    /// The text that `/metrics` answers.
    pub fn encode(&self, gauges: &Gauges<'_>, format: TextFormat) -> String {
        let mut registry = registry::Registry::with_prefix("dbpower");
        registry.register_collector(Box::new(self.snapshot(gauges)));
        let mut text = String::new();
        // Writing to a String cannot fail; what the crate could still refuse is said in a comment line, not hidden.
        if text::encode(&mut text, &registry).is_err() {
            text.clear();
            let _ = writeln!(text, "# the statistics could not be written as text");
        }
        match format {
            TextFormat::OpenMetrics => text,
            TextFormat::Classic => classic(&text),
        }
    }

    fn snapshot(&self, gauges: &Gauges<'_>) -> Snapshot {
        let state = gauges.state;
        Snapshot {
            sum: self.sum(),
            workers: self.cores.len() as u64,
            routes: self.routes.clone(),
            services: self.services.clone(),
            upstreams: (0..self.services.len())
                .map(|index| {
                    let service = state.service(index);
                    service.map_or((false, 0, (0, 0)), |s| {
                        (s.healthy(), s.latency_ns(), s.endpoints())
                    })
                })
                .collect(),
            keys: gauges.keys,
            version: gauges.version,
            start_unix_ms: gauges.start_unix_ms,
            diagnostics_dropped: gauges.diagnostics_dropped,
            leases: state.leases(),
            driver: state.driver().label(),
            draining: state.draining(),
        }
    }
}

/// Everything that becomes text, taken at one moment: the crate wants values that live by themselves.
#[derive(Debug)]
struct Snapshot {
    sum: Sum,
    workers: u64,
    routes: Vec<String>,
    services: Vec<String>,
    /// Healthy, the last good probe's nanoseconds, and how many endpoints are known and healthy.
    upstreams: Vec<(bool, u64, (usize, usize))>,
    keys: u64,
    version: &'static str,
    start_unix_ms: u64,
    diagnostics_dropped: u64,
    leases: [u64; LEASE_EVENTS.len()],
    driver: &'static str,
    draining: bool,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page(encoder);
        self.requests(&mut page)?;
        self.connections(&mut page)?;
        self.decisions(&mut page)?;
        self.leases(&mut page)?;
        self.upstreams(&mut page)?;
        self.process(&mut page)
    }
}

impl Snapshot {
    fn requests(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let mut family = page.family(
            "requests",
            "Requests answered, by route, method and status class.",
            None,
            MetricType::Counter,
        )?;
        self.each_cell(|labels, cell| {
            let requests: u64 = self.sum.buckets(cell).sum();
            if requests == 0 {
                return Ok(());
            }
            counter(&mut family.encode_family(labels)?, requests)
        })?;
        let mut family = page.family(
            "request_duration",
            "Time from a request's head to the end of its answer.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        self.each_cell(|labels, cell| {
            let bounds = DURATION_BOUNDS_US.iter().map(|&bound| seconds(bound));
            let buckets: Vec<(f64, u64)> = bounds
                .chain([f64::INFINITY])
                .zip(self.sum.buckets(cell))
                .collect();
            let count: u64 = buckets.iter().map(|bucket| bucket.1).sum();
            // Most combinations never occur, and each would be 20 lines.
            if count == 0 {
                return Ok(());
            }
            let sum = seconds(self.sum.read(cell));
            family
                .encode_family(labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })?;
        // Read one by one while workers go on counting: a request's end may be seen and its start not.
        let active = self
            .sum
            .read(Shape::STARTED)
            .saturating_sub(self.sum.read(Shape::ENDED));
        page.gauge("requests_active", "Requests under way now.", active)?;
        page.counter(
            "requests_abandoned",
            "Requests that ended without any answer because the client left.",
            None,
            self.sum.read(Shape::ABANDONED),
        )
    }

    /// Only of a gateway that shares its limits.
    fn leases(&self, page: &mut Page<'_>) -> Result<(), Error> {
        if self.leases.iter().all(|count| *count == 0) {
            return Ok(());
        }
        let mut family = page.family(
            "leases",
            "Exchange of leases with Redis: calls, requests that waited, lost and repeated calls, short answers; and tokens \
             granted, returned, expired with their lease, admitted without one (owed).",
            None,
            MetricType::Counter,
        )?;
        for (event, count) in LEASE_EVENTS.iter().zip(self.leases) {
            counter(&mut family.encode_family(&[("event", *event)])?, count)?;
        }
        let bounds = WAIT_BOUNDS_US.iter().map(|&bound| seconds(bound));
        let buckets: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .zip(self.sum.waits())
            .collect();
        let count = buckets.iter().map(|bucket| bucket.1).sum();
        let mut family = page.family(
            "limit_wait",
            "Time that requests waited for Redis.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let sum = seconds(self.sum.read(Shape::WAIT));
        family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn connections(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let opened = self.sum.read(Shape::OPENED);
        page.counter(
            "connections_opened",
            "Client connections accepted.",
            None,
            opened,
        )?;
        let mut family = page.family(
            "connections_closed",
            "Client connections closed, by reason.",
            None,
            MetricType::Counter,
        )?;
        // Reasons that never occurred are told as 0: a series that begins with its first event hides that event from `rate()`.
        let mut closed = 0;
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            let n = self.sum.read(Shape::CLOSED + index);
            closed += n;
            counter(&mut family.encode_family(&[("reason", reason.label())])?, n)?;
        }
        page.gauge(
            "connections_active",
            "Client connections open now.",
            opened.saturating_sub(closed),
        )?;
        let mut family = page.family(
            "tls_handshakes",
            "TLS handshakes done with clients, by kind; failed ones are closed connections.",
            None,
            MetricType::Counter,
        )?;
        for (index, kind) in ["full", "resumed"].into_iter().enumerate() {
            let n = self.sum.read(Shape::HANDSHAKES + index);
            counter(&mut family.encode_family(&[("kind", kind)])?, n)?;
        }
        let tunnels = self.sum.read(Shape::TUNNELS);
        page.gauge("tunnels_active", "WebSocket tunnels open now.", tunnels)?;
        let received = self.sum.read(Shape::BYTES_IN);
        let bytes = Some(&Unit::Bytes);
        page.counter("received", "Bytes read from clients.", bytes, received)?;
        let sent = self.sum.read(Shape::BYTES_OUT);
        page.counter("sent", "Bytes written to clients.", bytes, sent)
    }

    fn decisions(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let mut family = page.family(
            "limit_decisions",
            "Limiter decisions, by policy and outcome.",
            None,
            MetricType::Counter,
        )?;
        for (p, policy) in LimitPolicy::LABELS.iter().enumerate() {
            for (o, outcome) in LimitOutcome::LABELS.iter().enumerate() {
                let n = self.sum.read(Shape::limit(p, o));
                let labels = [("policy", *policy), ("outcome", *outcome)];
                counter(&mut family.encode_family(&labels)?, n)?;
            }
        }
        let mut family = page.family(
            "limit_levels",
            "Keys charged in a core's slice, at the node's bucket or at one that keys share; judged by Redis after a wait; refused by a known refusal.",
            None,
            MetricType::Counter,
        )?;
        for (index, level) in LIMIT_LEVELS.iter().enumerate() {
            let n = self.sum.read(Shape::LEVELS + index);
            counter(&mut family.encode_family(&[("level", *level)])?, n)?;
        }
        page.gauge("limit_keys", "Keys that the limiter holds now.", self.keys)?;
        let mut family = page.family(
            "auth_failures",
            "Callers that were not identified (401), by reason.",
            None,
            MetricType::Counter,
        )?;
        for (index, reason) in AuthFailure::LABELS.iter().enumerate() {
            let n = self.sum.read(Shape::AUTH + index);
            counter(&mut family.encode_family(&[("reason", *reason)])?, n)?;
        }
        Ok(())
    }

    fn upstreams(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let mut family = page.family(
            "upstream_events",
            "Connects, reuses and failures between workers and upstreams, by service and event.",
            None,
            MetricType::Counter,
        )?;
        for (s, service) in self.services.iter().enumerate() {
            for (e, event) in UpstreamEvent::LABELS.iter().enumerate() {
                let n = self.sum.read(Shape::service(s) + e);
                let labels = [("service", service.as_str()), ("event", *event)];
                counter(&mut family.encode_family(&labels)?, n)?;
            }
        }
        page.by_service(
            ("upstream_pool_idle", None),
            "Idle pooled connections, all workers together.",
            &self.services,
            |s| self.sum.read(Shape::pool_idle(s)) as f64,
        )?;
        page.by_service(
            ("upstream_healthy", None),
            "1 when an endpoint answered its last health probe 2xx in time.",
            &self.services,
            |s| f64::from(u8::from(self.upstreams.get(s).is_some_and(|up| up.0))),
        )?;
        page.by_service(
            ("upstream_probe_latency", Some(&Unit::Seconds)),
            "How long the last good health probe took.",
            &self.services,
            |s| self.upstreams.get(s).map_or(0.0, |up| up.1 as f64 / 1e9),
        )?;
        self.endpoints(page)
    }

    fn endpoints(&self, page: &mut Page<'_>) -> Result<(), Error> {
        page.by_service(
            ("upstream_endpoints", None),
            "Addresses of the service that were probed last.",
            &self.services,
            |s| self.upstreams.get(s).map_or(0.0, |up| up.2.0 as f64),
        )?;
        page.by_service(
            ("upstream_endpoints_healthy", None),
            "Those of them whose last health probe was answered 2xx in time.",
            &self.services,
            |s| self.upstreams.get(s).map_or(0.0, |up| up.2.1 as f64),
        )?;
        page.by_service(
            ("upstream_endpoints_ejected", None),
            "Endpoints left out after failures, added up over the workers.",
            &self.services,
            |s| self.sum.read(Shape::ejected(s)) as f64,
        )?;
        page.by_service(
            ("upstream_breakers_open", None),
            "Workers that leave the service alone.",
            &self.services,
            |s| self.sum.read(Shape::breaker(s)) as f64,
        )
    }

    fn process(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let panics = self.sum.read(Shape::PANICS);
        page.counter(
            "panics",
            "Panics caught around a connection; must stay 0.",
            None,
            panics,
        )?;
        let mut family = page.family(
            "log_lines_dropped",
            "Log lines dropped because their writer was behind, by log.",
            None,
            MetricType::Counter,
        )?;
        for (log, n) in [
            ("access", self.sum.read(Shape::LOG_DROPPED)),
            ("diagnostics", self.diagnostics_dropped),
        ] {
            counter(&mut family.encode_family(&[("log", log)])?, n)?;
        }
        page.gauge("workers", "Worker threads.", self.workers)?;
        page.gauge(
            "draining",
            "1 while the gateway shuts down.",
            u64::from(self.draining),
        )?;
        let start = self.start_unix_ms as f64 / 1e3;
        page.family(
            "process_start_time",
            "Unix time of the process's start.",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?
        .encode_gauge(&start)?;
        let mut build = page.family("build", "Build and driver.", None, MetricType::Info)?;
        build.encode_info(&[("version", self.version), ("driver", self.driver)])
    }

    fn each_cell(
        &self,
        mut line: impl FnMut(&[(&str, &str); 3], usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        debug_assert!(CELL > DURATION_BOUNDS_US.len());
        for (r, route) in self.routes.iter().enumerate() {
            for (m, method) in METHODS.iter().enumerate() {
                for (c, class) in CLASSES.iter().enumerate() {
                    let labels = [
                        ("route", route.as_str()),
                        ("method", *method),
                        ("status", *class),
                    ];
                    line(&labels, self.sum.shape.cell(r, m, c))?;
                }
            }
        }
        Ok(())
    }
}

/// The crate's encoder with the shapes of lines that are needed here.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        n: u64,
    ) -> Result<(), Error> {
        counter(&mut self.family(name, help, unit, MetricType::Counter)?, n)
    }

    fn gauge(&mut self, name: &str, help: &str, n: u64) -> Result<(), Error> {
        self.family(name, help, None, MetricType::Gauge)?
            .encode_gauge(&n)
    }

    fn by_service(
        &mut self,
        (name, unit): (&str, Option<&Unit>),
        help: &str,
        services: &[String],
        value: impl Fn(usize) -> f64,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, unit, MetricType::Gauge)?;
        for (index, service) in services.iter().enumerate() {
            family
                .encode_family(&[("service", service.as_str())])?
                .encode_gauge(&value(index))?;
        }
        Ok(())
    }
}

fn counter(line: &mut MetricEncoder<'_>, n: u64) -> Result<(), Error> {
    line.encode_counter::<NoLabelSet, _, u64>(&n, None)
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
