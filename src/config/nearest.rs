//! Finds the name that somebody meant. Not a spell checker: far-off names get no suggestion. Invariant: only variables that
//! carry one of our prefixes are called unknown, since the environment is full of other programs' names.

/// Prefixes that are ours; other names in the environment are none of our business.
const OWN_PREFIXES: [&str; 4] = ["GATEWAY_", "JWT_", "RATE_LIMIT_", "REDIS_"];

/// The nearest of `known`, when it is near enough to be meant: one edit in three characters.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &&'a str| strsim::damerau_levenshtein(name, candidate);
    let best = known.into_iter().min_by_key(distance)?;
    let near = name.len().max(best.len()) / 3;
    (distance(&best) <= near.max(1)).then_some(best)
}

/// `, did you mean X?` or nothing.
pub(super) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known)
        .map(|best| format!("; did you mean {best}?"))
        .unwrap_or_default()
}

/// A variable that looks like ours and is not in the table.
pub(super) fn is_unknown(name: &str, value: &str, known: &[&str]) -> bool {
    OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !known.contains(&name)
        && !is_service_link(name, value)
}

/// Kubernetes describes each service by variables of its own: a service named `redis` yields `REDIS_PORT=tcp://10.0.0.1:6379`,
/// `REDIS_SERVICE_HOST`, `REDIS_PORT_6379_TCP_ADDR` and more. Nobody wrote those for us.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    let linked_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && (rest.contains("_TCP") || rest.contains("_UDP"))
    });
    let linked_value = value.starts_with("tcp://") || value.starts_with("udp://");
    let service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    service || linked_port || (linked_value && name.ends_with("_PORT"))
}
