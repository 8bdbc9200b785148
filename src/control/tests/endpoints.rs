//! Every endpoint through its router: status, fields and body.

use serde_json::{Value, json};

use super::super::caller::Role;
use super::*;
use crate::metrics::Driver;

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[test]
fn health_has_the_seeds_fields_in_the_seeds_order() {
    let stage = stage(|config| config.services[1].base_path = "/api/v1".to_owned());
    stage.state.put_driver(Driver::IoUring);
    let get = |expected: u16| {
        let response = call(&stage.routers.public, "GET", "/health", None, "");
        assert_eq!(response.status(), expected);
        assert_eq!(field(&response, "content-type"), "application/json");
        assert_eq!(field(&response, "cache-control"), "no-store");
        text(&response).to_owned()
    };
    assert_eq!(
        get(200),
        "{\"status\":\"degraded\",\"service\":\"dbpower-api-gateway\",\"version\":\"1.0.0\",\
         \"backend\":\"http://backend:8000\",\"ai_analyzer\":\"http://ai-analyzer:8001/api/v1\",\"redis\":false,\
         \"backend_healthy\":false,\"ai_analyzer_healthy\":false,\"driver\":\"io_uring\",\
         \"limits\":\"memory\"}"
    );
    stage.state.service(0).unwrap().put_healthy(5);
    assert!(get(200).contains("\"degraded\""), "one of two");
    stage.state.service(1).unwrap().put_healthy(5);
    stage.state.put_redis(true);
    let health = get(200);
    assert!(health.contains("\"status\":\"healthy\"") && health.contains("\"redis\":true"));
    assert!(health.contains("\"backend_healthy\":true,\"ai_analyzer_healthy\":true"));
    stage.state.service(0).unwrap().put_unhealthy();
    assert!(get(200).contains("\"backend_healthy\":false"));
    stage.state.mark_draining();
    assert!(get(503).contains("\"status\":\"degraded\""));
}

#[test]
fn readiness_follows_the_processs_life_and_liveness_does_not() {
    let stage = stage(|_| {});
    let get = |path| {
        let response = call(&stage.routers.public, "GET", path, None, "");
        (
            response.status().as_u16(),
            json_of(&response)["status"].clone(),
        )
    };
    assert_eq!(get("/readyz"), (503, json!("starting")));
    stage.state.mark_listening();
    assert_eq!(get("/readyz"), (503, json!("starting")), "not probed yet");
    stage.state.mark_probed();
    assert_eq!(
        get("/readyz"),
        (200, json!("ready")),
        "with no upstream healthy"
    );
    assert_eq!(get("/livez"), (200, json!("alive")));
    stage.state.mark_draining();
    assert_eq!(get("/readyz"), (503, json!("draining")));
    assert_eq!(get("/livez"), (200, json!("alive")));
}

#[test]
fn info_has_the_seeds_shape_and_leaves_out_what_does_not_apply() {
    let organization =
        |id: Value| json!({"id": id, "current_count": 45, "limit": 100, "remaining": 55});
    let ip = json!({"address": "192.168.1.1", "current_count": 10, "limit": 100, "remaining": 90});
    let number = || subject(Role::User, Some(json!(1)));
    let string = || subject(Role::User, Some(json!("acme")));
    let none = || subject(Role::User, None);
    for (per_org, per_ip, subject, expected) in [
        (
            true,
            true,
            number(),
            json!({"organization": organization(json!(1)), "ip": ip}),
        ),
        (
            true,
            true,
            string(),
            json!({"organization": organization(json!("acme")), "ip": ip}),
        ),
        (true, true, none(), json!({"ip": ip})),
        (
            true,
            false,
            number(),
            json!({"organization": organization(json!(1))}),
        ),
        (false, true, number(), json!({"ip": ip})),
        (false, false, number(), json!({})),
    ] {
        let stage = stage(|config| {
            config.limits.per_org = per_org;
            config.limits.per_ip = per_ip;
        });
        let response = call(
            &stage.routers.public,
            "GET",
            "/rate-limit/info",
            Some(subject),
            "",
        );
        assert_eq!(response.status(), 200);
        assert_eq!(json_of(&response), expected);
    }
    let stage = stage(|_| {});
    let response = call(
        &stage.routers.public,
        "GET",
        "/rate-limit/info",
        Some(number()),
        "",
    );
    assert!(text(&response).starts_with(
        "{\"organization\":{\"id\":1,\"current_count\":45,\"limit\":100,\"remaining\":55},\"ip\":{\"address\":\"192.168"
    ));
}

#[test]
fn without_a_token_limits_are_not_told_nor_reset() {
    let stage = stage(|_| {});
    for router in [&stage.routers.public, &stage.routers.ops] {
        for (method, path) in [
            ("GET", "/rate-limit/info"),
            ("POST", "/admin/rate-limit/reset"),
        ] {
            let response = call(router, method, path, None, "{\"all\":true}");
            assert_eq!(response.status(), 401);
            assert_eq!(field(&response, "www-authenticate"), "Bearer");
            assert_eq!(json_of(&response)["error"], "Unauthorized");
        }
    }
    assert!(stage.limits.resets.lock().unwrap().is_empty());
}

#[test]
fn reset_does_what_the_caller_may_and_says_what_was_wrong() {
    let own = || Some(json!(1));
    let table: &[(Role, &'static str, u16, &str)] = &[
        (Role::Admin, r#"{"organization_id": 1}"#, 200, "o:1"),
        (Role::Admin, r#"{"organization_id": "acme"}"#, 200, "o:acme"),
        (
            Role::Admin,
            r#"{"ip_address": "192.0.2.1"}"#,
            200,
            "i:192.0.2.1",
        ),
        (
            Role::Admin,
            r#"{"ip_address": "::ffff:192.0.2.1"}"#,
            200,
            "i:192.0.2.1",
        ),
        (Role::SuperAdmin, r#"{"all": true}"#, 200, "all"),
        (Role::OrgAdmin, r#"{"organization_id": 1}"#, 200, "o:1"),
        (Role::OrgAdmin, r#"{"organization_id": "1"}"#, 200, "o:1"),
        (
            Role::OrgAdmin,
            r#"{"organization_id": 2}"#,
            403,
            "only its own",
        ),
        (
            Role::OrgAdmin,
            r#"{"ip_address": "192.0.2.1"}"#,
            403,
            "only its own",
        ),
        (Role::OrgAdmin, r#"{"all": true}"#, 403, "only its own"),
        (Role::Admin, r#"{"all": true}"#, 403, "super_admin"),
        (
            Role::User,
            r#"{"organization_id": 1}"#,
            403,
            "Admin access required",
        ),
        (Role::User, "", 403, "Admin access required"),
        (Role::Admin, "", 400, "empty"),
        (Role::SuperAdmin, "{}", 400, "names nothing"),
        (Role::SuperAdmin, "[]", 400, "not a JSON object"),
        (
            Role::SuperAdmin,
            r#"{"organisation_id": 1}"#,
            400,
            "unknown field",
        ),
        (
            Role::SuperAdmin,
            r#"{"all": false}"#,
            400,
            "all must be true",
        ),
    ];
    for (role, body, status, expected) in table {
        let stage = stage(|_| {});
        let subject = subject(*role, own());
        let response = call(
            &stage.routers.public,
            "POST",
            "/admin/rate-limit/reset",
            Some(subject),
            body,
        );
        assert_eq!(response.status(), *status, "{role:?} {body}");
        let resets = stage.limits.resets.lock().unwrap().clone();
        if *status == 200 {
            let charge = "charge 192.168.1.1";
            let expected: &[&str] = match role {
                Role::OrgAdmin => &[charge, *expected],
                Role::User | Role::Admin | Role::SuperAdmin => &[*expected],
            };
            assert_eq!(resets, expected);
            assert_eq!(
                text(&response),
                "{\"status\":\"success\",\"message\":\"Rate limits reset successfully\"}"
            );
        } else {
            assert!(resets.is_empty(), "{role:?} {body}");
            let body = json_of(&response);
            assert!(
                body["message"].as_str().unwrap().contains(expected),
                "{body}"
            );
            assert_eq!(
                body["error"],
                if *status == 400 {
                    "Bad Request"
                } else {
                    "Forbidden"
                }
            );
        }
    }
}

#[test]
fn an_org_admins_reset_is_charged_and_made_once_a_minute() {
    let stage = stage(|_| {});
    let reset = |role, id: &'static str| {
        let body = format!(r#"{{"organization_id":"{id}"}}"#).leak();
        let subject = subject(role, Some(json!(id)));
        let path = "/admin/rate-limit/reset";
        call(&stage.routers.public, "POST", path, Some(subject), body)
    };
    let first = reset(Role::OrgAdmin, "1");
    assert_eq!(first.status(), 200);
    assert_eq!(field(&first, "x-ratelimit-limit"), "100");
    assert_eq!(field(&first, "x-ratelimit-remaining"), "90");
    let second = reset(Role::OrgAdmin, "1");
    assert_eq!(second.status(), 429);
    assert_eq!(field(&second, "retry-after"), "60");
    assert_eq!(field(&second, "x-ratelimit-remaining"), "90");
    let body = json_of(&second);
    assert_eq!(body["retry_after"], 60);
    assert!(body["message"].as_str().unwrap().contains("reset_too_soon"));
    // Another organization, and whoever stands above one.
    assert_eq!(reset(Role::OrgAdmin, "2").status(), 200);
    for _ in 0..2 {
        let admin = reset(Role::Admin, "1");
        assert_eq!(admin.status(), 200);
        assert_eq!(field(&admin, "x-ratelimit-limit"), "");
    }
    stage.limits.is_short.store(true, Relaxed);
    let refused = reset(Role::OrgAdmin, "3");
    assert_eq!(refused.status(), 429);
    for (name, value) in [
        ("retry-after", "45"),
        ("x-ratelimit-reset", "45"),
        ("x-ratelimit-limit", "100"),
        ("x-ratelimit-remaining", "0"),
    ] {
        assert_eq!(field(&refused, name), value, "{name}");
    }
    assert_eq!(json_of(&refused)["error"], "Rate limit exceeded");
    let resets = stage.limits.resets.lock().unwrap();
    let made: Vec<&str> = resets.iter().map(String::as_str).collect();
    let charge = "charge 192.168.1.1";
    assert_eq!(
        made,
        [charge, "o:1", charge, charge, "o:2", "o:1", "o:1", charge]
    );
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let stage = stage(|_| {});
    let long: &'static str = Box::leak(" ".repeat(100_000).into_boxed_str());
    let admin = subject(Role::SuperAdmin, None);
    let response = call(
        &stage.routers.ops,
        "POST",
        "/admin/rate-limit/reset",
        Some(admin),
        long,
    );
    assert_eq!(response.status(), 413);
    assert_eq!(json_of(&response)["error"], "Payload Too Large");
}

#[test]
fn other_paths_and_methods_are_refused_as_json() {
    let stage = stage(|_| {});
    for path in [
        "/", "/healthz", "/health/", "//health", "/HEALTH", "/docs/x", "/admin/", "/metrics",
    ] {
        let response = call(&stage.routers.public, "GET", path, None, "");
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(json_of(&response)["error"], "Not Found");
    }
    for (method, path, allow) in [
        ("POST", "/health", "GET,HEAD"),
        ("DELETE", "/livez", "GET,HEAD"),
        ("PUT", "/rate-limit/info", "GET,HEAD"),
        ("OPTIONS", "/docs", "GET,HEAD"),
        ("GET", "/admin/rate-limit/reset", "POST"),
        ("HEAD", "/admin/rate-limit/reset", "POST"),
        ("BREW", "/health", "GET,HEAD"),
    ] {
        let response = call(&stage.routers.public, method, path, None, "");
        assert_eq!(response.status(), 405, "{method} {path}");
        assert_eq!(field(&response, "allow"), allow, "{method} {path}");
        if method != "HEAD" {
            let body = json_of(&response);
            assert_eq!(body["error"], "Method Not Allowed");
            assert!(body["message"].is_string());
        }
    }
}

#[test]
fn head_works_where_get_does() {
    let stage = stage(|_| {});
    for path in ["/health", "/livez", "/docs", "/redoc", "/openapi.json"] {
        let got = call(&stage.routers.public, "GET", path, None, "");
        let head = call(&stage.routers.public, "HEAD", path, None, "");
        assert_eq!(head.status(), got.status(), "{path}");
        assert!(head.body().is_empty());
        assert_eq!(field(&head, "content-type"), field(&got, "content-type"));
        assert_eq!(field(&head, "content-length"), got.body().len().to_string());
    }
}

#[test]
fn the_document_describes_every_endpoint() {
    let stage = stage(|_| {});
    let response = call(&stage.routers.public, "GET", "/openapi.json", None, "");
    assert_eq!(field(&response, "content-type"), "application/json");
    let document = json_of(&response);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], "1.0.0");
    let paths = document["paths"].as_object().unwrap();
    let expected = [
        ("/health", "get", &["200", "503"][..]),
        ("/livez", "get", &["200"]),
        ("/readyz", "get", &["200", "503"]),
        ("/rate-limit/info", "get", &["200", "401", "429"]),
        (
            "/admin/rate-limit/reset",
            "post",
            &["200", "400", "401", "403", "429", "503"],
        ),
        ("/openapi.json", "get", &["200"]),
        ("/docs", "get", &["200"]),
        ("/redoc", "get", &["200"]),
    ];
    assert_eq!(paths.len(), expected.len(), "{paths:?}");
    for (path, method, statuses) in expected {
        let operation = &paths[path][method];
        assert!(
            operation["summary"].is_string() && operation["operationId"].is_string(),
            "{path}"
        );
        let mut described: Vec<&String> =
            operation["responses"].as_object().unwrap().keys().collect();
        described.sort();
        assert_eq!(described, statuses, "{path}");
        let secured = path.starts_with("/rate-limit") || path.starts_with("/admin");
        assert_eq!(operation["security"].is_array(), secured, "{path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(
                response["description"]
                    .as_str()
                    .is_some_and(|d| !d.is_empty()),
                "{path} {status}"
            );
            let json = &response["content"]["application/json"];
            if json.is_object() && path != "/openapi.json" {
                assert!(json["example"].is_object(), "{path} {status}");
                assert!(json["schema"].is_object(), "{path} {status}");
            }
        }
    }
    let scheme = &document["components"]["securitySchemes"]["bearerAuth"];
    assert_eq!(
        (&scheme["type"], &scheme["scheme"]),
        (&json!("http"), &json!("bearer"))
    );
    let request = &paths["/admin/rate-limit/reset"]["post"]["requestBody"];
    assert_eq!(request["required"], true);
    let examples = request["content"]["application/json"]["examples"]
        .as_object()
        .unwrap();
    assert_eq!(
        examples["organization"]["value"],
        json!({"organization_id": 1})
    );
    assert_eq!(examples.len(), 3);
    references_lead_somewhere(&document, &document);
}

/// Every `$ref` names something that is there.
fn references_lead_somewhere(document: &Value, value: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{target}");
            }
            members
                .values()
                .for_each(|member| references_lead_somewhere(document, member));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| references_lead_somewhere(document, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn pages_carry_their_policy() {
    let stage = stage(|_| {});
    for path in ["/docs", "/redoc"] {
        let response = call(&stage.routers.public, "GET", path, None, "");
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "content-type"), "text/html; charset=utf-8");
        assert!(field(&response, "content-security-policy").starts_with("default-src 'none';"));
        assert_eq!(field(&response, "x-content-type-options"), "nosniff");
    }
}

#[test]
fn statistics_are_told_on_the_operations_port_alone() {
    let stage = stage(|_| {});
    stage.metrics.core(1).unwrap().request(2, 0, 200, 300);
    let response = call(&stage.routers.ops, "GET", "/metrics", None, "");
    assert_eq!(response.status(), 200);
    assert!(field(&response, "content-type").starts_with("text/plain; version=0.0.4"));
    let body = text(&response);
    assert!(
        body.contains(
            "dbpower_requests_total{route=\"/api/v1\",method=\"GET\",status=\"2xx\"} 1\n"
        )
    );
    assert!(body.contains("dbpower_limit_keys 7\n"));
    assert!(body.contains("dbpower_log_lines_dropped_total{log=\"diagnostics\"} 3\n"));
    assert_eq!(
        call(&stage.routers.ops, "GET", "/health", None, "").status(),
        200
    );
    assert_eq!(
        call(&stage.routers.public, "GET", "/metrics", None, "").status(),
        404
    );
}

#[test]
fn a_crowd_that_asks_for_its_limits_is_bounded() {
    use tower::ServiceExt;
    let stage = stage(|_| {});
    let statuses = runtime().block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..limits::INFOS_MAX + 40 {
            let mut request = Request::get("/rate-limit/info")
                .body(Body::empty())
                .unwrap();
            request.extensions_mut().insert(subject(Role::User, None));
            calls.spawn(stage.routers.public.clone().oneshot(request));
        }
        let answers = calls.join_all().await;
        answers
            .into_iter()
            .map(|a| a.unwrap().status().as_u16())
            .collect::<Vec<u16>>()
    });
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!(
        refused, 40,
        "they come at once, before the first has waited"
    );
}
