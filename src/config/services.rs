//! Services and the routes to them: the two of the environment and those of the file's `[[routes]]`. Does not match paths (see
//! the room `route`). Invariant: no two rules have the same prefix, and none covers the gateway's own endpoints.

use std::time::Duration;

use super::file::FileRoute;
use super::parse;
use super::problem::{clipped, shown_url};
use super::reader::Reader;
use super::sections::seconds;
use super::url::{self, Upstream};
use super::{HostSent, Problem, RouteRule, Service};
use crate::http1::is_authority;

/// First segments of the gateway's own endpoints; a rule there would never be reached or would shadow one of them.
const OWN_PREFIXES: [&str; 9] = [
    "/health",
    "/livez",
    "/readyz",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/metrics",
    "/rate-limit",
    "/admin",
];

/// Longest wait for a first response byte that a setting may ask for: a day.
const RESPONSE_SECONDS_MAX: f64 = 86_400.0;

/// All services and rules.
pub(super) fn services(reader: &mut Reader) -> Option<(Vec<Service>, Vec<RouteRule>)> {
    let backend_url = reader.read("BACKEND_URL", url::service);
    let backend_health = reader.read("BACKEND_HEALTH_PATH", parse::probe_path);
    let backend_host = reader.read("BACKEND_HOST", host_sent);
    let backend_time = seconds(reader, "RESPONSE_TIMEOUT", RESPONSE_SECONDS_MAX);
    let analyzer_url = reader.read("AI_ANALYZER_URL", url::service);
    let analyzer_health = reader.read("AI_ANALYZER_HEALTH_PATH", parse::probe_path);
    let analyzer_host = reader.read("AI_ANALYZER_HOST", host_sent);
    let analyzer_time = seconds(reader, "ANALYZER_RESPONSE_TIMEOUT", RESPONSE_SECONDS_MAX);
    // A wrong RESPONSE_TIMEOUT is a problem already; the stand-in lets the routes be read all the same.
    let further = further(reader, backend_time.unwrap_or(Duration::from_secs(30)));
    // From here on a `?` may give up: everything was read, so all problems show at once.
    let backend = service(
        "backend".to_owned(),
        backend_url?,
        backend_host?,
        backend_health?,
        backend_time?,
    );
    let analyzer = service(
        "ai-analyzer".to_owned(),
        analyzer_url?,
        analyzer_host?,
        analyzer_health?,
        analyzer_time?,
    );
    let mut map = Map {
        services: vec![backend, analyzer],
        rules: own_rules(),
    };
    for (line, service, rule) in further? {
        if let Err(what) = map.add(service, rule) {
            let path = &reader.settled.file_path;
            reader
                .settled
                .problems
                .push(Problem::of_source(format!("{path} line {line}: {what}")));
        }
    }
    Some((map.services, map.rules))
}

/// The rules of the environment.
fn own_rules() -> Vec<RouteRule> {
    let rule = |prefix: &str, service, strip| RouteRule {
        prefix: prefix.to_owned(),
        service,
        strip,
        public: false,
    };
    vec![rule("/api/v1", 0, false), rule("/analyzer", 1, true)]
}

fn service(
    name: String,
    url: Upstream,
    host: HostSent,
    health_path: String,
    response_timeout: Duration,
) -> Service {
    let Upstream {
        tls,
        endpoints,
        base_path,
    } = url;
    Service {
        name,
        tls,
        endpoints,
        base_path,
        host,
        health_path,
        response_timeout,
    }
}

/// `service`, `preserve` or `host[:port]`.
fn host_sent(text: &str) -> Result<HostSent, String> {
    match text.to_ascii_lowercase().as_str() {
        "service" => Ok(HostSent::Service),
        "preserve" => Ok(HostSent::Preserved),
        _ if parse::slip(text).is_none() && is_authority(text.as_bytes()) => {
            Ok(HostSent::Name(text.to_owned()))
        }
        _ => Err(format!(
            "service, preserve, or a name such as backend.internal or backend.internal:8000{}",
            parse::slip_hint(text)
        )),
    }
}

struct Map {
    services: Vec<Service>,
    rules: Vec<RouteRule>,
}

impl Map {
    /// Adds a rule and, unless an equal one is there already, its service.
    fn add(&mut self, service: Service, mut rule: RouteRule) -> Result<(), String> {
        if self.rules.iter().any(|other| other.prefix == rule.prefix) {
            return Err(format!("prefix {} is taken by another route", rule.prefix));
        }
        let same_name = self
            .services
            .iter()
            .position(|other| other.name == service.name);
        rule.service = match same_name {
            Some(index) if self.services.get(index) == Some(&service) => index,
            // A name is a metric label: two services under one could not be told apart.
            Some(_) => return Err(format!("name {} is taken by another service", service.name)),
            None => {
                self.services.push(service);
                self.services.len() - 1
            }
        };
        self.rules.push(rule);
        Ok(())
    }
}

type Further = Vec<(usize, Service, RouteRule)>;

/// The routes of the file; `None` when one of them is wrong.
fn further(reader: &mut Reader, response_timeout: Duration) -> Option<Further> {
    let path = reader.settled.file_path.clone();
    let mut found = Vec::new();
    let mut is_whole = true;
    for route in reader.settled.routes.clone() {
        let mut problems = Vec::new();
        let reading = RouteReading {
            path: &path,
            route: &route,
            problems: &mut problems,
        };
        match reading.rule(response_timeout) {
            Some((service, rule)) if problems.is_empty() => found.push((route.line, service, rule)),
            _ => is_whole = false,
        }
        reader.settled.problems.append(&mut problems);
    }
    is_whole.then_some(found)
}

struct RouteReading<'a> {
    path: &'a str,
    route: &'a FileRoute,
    problems: &'a mut Vec<Problem>,
}

impl RouteReading<'_> {
    fn rule(mut self, response_timeout: Duration) -> Option<(Service, RouteRule)> {
        let prefix = self.field("prefix", prefix);
        let url = self.field("url", url::service);
        let strip = self.field("strip", parse::boolean);
        let keep = self.field("keep", parse::boolean);
        let public = self.field("public", parse::boolean);
        let name = self.field("name", name);
        let host = self.field("host", host_sent);
        let health_path = self.field("health_path", parse::probe_path);
        let time = |text: &str| parse::seconds(text, &(0.01..=RESPONSE_SECONDS_MAX));
        let response_timeout = self
            .field("response_timeout", time)?
            .unwrap_or(response_timeout);
        let (prefix, url) = (self.required("prefix", prefix?), self.required("url", url?));
        let strip = match (strip?, keep?) {
            (Some(_), Some(_)) => {
                self.complain(
                    self.route.line,
                    "strip and keep say the same thing twice: keep one of them",
                );
                return None;
            }
            (strip, keep) => strip.or(keep.map(|keep| !keep)).unwrap_or(false),
        };
        let prefix = prefix?;
        let name = name?.unwrap_or_else(|| prefix.trim_start_matches('/').replace('/', "-"));
        let health_path = health_path?.unwrap_or_else(|| "/health".to_owned());
        let rule = RouteRule {
            prefix,
            service: 0,
            strip,
            public: public?.unwrap_or(false),
        };
        let host = host?.unwrap_or_default();
        let service = service(name, url?, host, health_path, response_timeout);
        Some((service, rule))
    }

    /// A key's value; `Some(None)` when the key is absent, `None` when it is wrong.
    fn field<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some((text, line)) = self.route.field(key) else {
            return Some(None);
        };
        match parse(text) {
            Ok(value) => Some(Some(value)),
            Err(expected) => {
                // A URL may hold a password, and problems are printed.
                let text = if key == "url" {
                    shown_url(text, false)
                } else {
                    clipped(text)
                };
                self.complain(line, &format!("{key} = {text}: must be {expected}"));
                None
            }
        }
    }

    fn required<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.complain(self.route.line, &format!("this [[routes]] has no {key}"));
        }
        value
    }

    fn complain(&mut self, line: usize, what: &str) {
        self.problems.push(Problem::of_source(format!(
            "{} line {line}: {what}",
            self.path
        )));
    }
}

/// A rule's prefix: `/reports` and `/reports/*` mean the same.
fn prefix(text: &str) -> Result<String, String> {
    const FORM: &str = "an absolute path such as /reports, without //, dot segments, %, ; or *";
    let trimmed = text
        .strip_suffix("/*")
        .unwrap_or(text)
        .trim_end_matches('/');
    if trimmed.is_empty() {
        return Err(format!(
            "{FORM}; a route for everything would cover the gateway's own endpoints"
        ));
    }
    if !parse::is_plain_path(trimmed) {
        return Err(FORM.to_owned());
    }
    let is_below = |own: &&&str| {
        trimmed
            .strip_prefix(**own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match OWN_PREFIXES.iter().find(is_below) {
        Some(own) => Err(format!("{FORM}; {own} belongs to the gateway itself")),
        None => Ok(trimmed.to_owned()),
    }
}

/// A service's name as it stands in logs and metric labels.
fn name(text: &str) -> Result<String, String> {
    // Bytes that need no escape in a log line or a label.
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    match parse::slip(text) {
        None if fits => Ok(text.to_owned()),
        None => Err("1 to 64 letters, digits, -, _ or .".to_owned()),
        Some(slip) => Err(format!("1 to 64 letters, digits, -, _ or . ({slip})")),
    }
}
