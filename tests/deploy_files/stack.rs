//! The compose stack and the Kubernetes manifest. Not a start of either. Invariant: names, ports and times agree with each other.

use serde_json::{Value, json};

use crate::{DRAIN_S, assert_command, assert_known, keys, read, seconds, texts};

const COMPOSE: &str = "docker-compose.full-stack.yml";
const KUBERNETES: &str = "deploy/kubernetes.yaml";

#[test]
fn compose_scales_and_starts_as_pasted() {
    let stack = &read::yaml(COMPOSE)[0];
    let services = &stack["services"];
    assert_eq!(
        keys(services),
        ["ai-analyzer", "api-gateway", "backend", "redis"]
    );
    for (name, service) in services.as_object().unwrap() {
        assert_eq!(service["profiles"], json!(["cloud"]), "{name}");
        assert_eq!(
            service["container_name"],
            Value::Null,
            "{name}: a fixed name forbids --scale"
        );
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
    }
    let gateway = &services["api-gateway"];
    assert_eq!(texts(&gateway["ports"]), ["8000-8009:8000"]);
    for other in ["redis", "ai-analyzer"] {
        assert_eq!(
            services[other]["ports"],
            Value::Null,
            "{other} is nobody's outside of the stack"
        );
    }
    let published = texts(&services["backend"]["ports"]);
    let host_port: u16 = published[0]
        .strip_prefix("127.0.0.1:")
        .unwrap()
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        !(8000..=8009).contains(&host_port),
        "those are the replicas' ports"
    );
    for (name, needed) in gateway["depends_on"].as_object().unwrap() {
        assert_eq!(needed["condition"], "service_healthy", "{name}");
    }
    let security = texts(&gateway["security_opt"]);
    assert!(security.contains(&"seccomp=deploy/seccomp-io_uring.json"));
    assert!(gateway["ulimits"]["nofile"]["hard"].as_i64().unwrap() >= 65_536);
    for name in ["api-gateway", "backend"] {
        let core = &services[name]["ulimits"]["core"];
        assert_eq!(*core, 0, "{name} has the secret, and so would a core dump");
    }
    assert!(seconds(gateway["stop_grace_period"].as_str().unwrap()) > DRAIN_S);
    let redis = texts(&services["redis"]["command"]).join(" ");
    assert!(
        redis.contains("--maxmemory-policy noeviction"),
        "an evicted counter is a limit forgotten"
    );
    assert!(redis.contains("--save  --appendonly no"), "{redis}");
}

#[test]
fn compose_names_what_exists() {
    let stack = &read::yaml(COMPOSE)[0];
    let services = &stack["services"];
    let environment = &services["api-gateway"]["environment"];
    for name in ["api-gateway", "backend", "ai-analyzer"] {
        let service = &services[name];
        assert_eq!(service["image"], "dbpower-api-gateway:latest", "{name}");
        let variables = service["environment"].as_object().unwrap();
        assert_known(variables.keys().map(String::as_str));
        let defaults = variables.values().filter_map(Value::as_str);
        assert_known(defaults.filter_map(|text| text.strip_prefix("${")?.split(":-").next()));
        let check = texts(&service["healthcheck"]["test"]);
        assert_eq!(check[..2], ["CMD", "dbpower-gateway"], "{name}");
        assert_command(&check[2..]);
    }
    for (name, variable, kind) in [
        (
            "backend",
            "BACKEND_URL",
            dbpower_gateway::demo::Kind::Backend,
        ),
        (
            "ai-analyzer",
            "AI_ANALYZER_URL",
            dbpower_gateway::demo::Kind::Analyzer,
        ),
    ] {
        let command = texts(&services[name]["command"]);
        assert_command(&command);
        assert!(command.contains(&kind.name()), "{command:?}");
        let listen: std::net::SocketAddr = command.last().unwrap().parse().unwrap();
        let port = listen.port();
        assert_eq!(environment[variable], format!("http://{name}:{port}"));
        assert_eq!(
            services[name]["environment"]["GATEWAY_PORT"],
            port.to_string(),
            "{name}: what healthcheck asks"
        );
    }
    assert_eq!(environment["REDIS_URL"], "redis://redis:6379/0");
    assert_eq!(environment["PUBLIC_PATHS"], "/api/v1/auth/refresh");
    let secret = environment["JWT_SECRET_KEY"].as_str().unwrap();
    assert_eq!(secret, services["backend"]["environment"]["JWT_SECRET_KEY"]);
    let default = secret
        .strip_prefix("${JWT_SECRET_KEY:-")
        .unwrap()
        .strip_suffix('}')
        .unwrap();
    assert!(
        default.len() >= 32 && default.starts_with("demo-only-not-a-secret"),
        "{default}"
    );
}

#[test]
fn kubernetes_keeps_the_predecessors_deployment() {
    let [secret, deployment, service, policy] =
        <[Value; 4]>::try_from(read::yaml(KUBERNETES)).unwrap();
    let kinds = [&secret, &deployment, &service, &policy].map(|one| one["kind"].as_str().unwrap());
    assert_eq!(kinds, ["Secret", "Deployment", "Service", "NetworkPolicy"]);
    assert_eq!(secret["metadata"]["name"], "gateway-secrets");
    assert_eq!(
        secret["stringData"],
        json!({ "jwt-secret": "", "redis-url": "redis://redis-service:6379/0" }),
        "a sample secret would be used"
    );

    let label = json!({ "app": "api-gateway" });
    let pod = &deployment["spec"]["template"];
    assert_eq!(deployment["metadata"]["name"], "api-gateway");
    assert_eq!(deployment["spec"]["replicas"], 3);
    for labels in [
        &deployment["spec"]["selector"]["matchLabels"],
        &pod["metadata"]["labels"],
        &service["spec"]["selector"],
    ] {
        assert_eq!(labels, &label);
    }
    let pod = &pod["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "dbpower-api-gateway:latest");
    assert_eq!(
        container["ports"][0],
        json!({ "name": "http", "containerPort": 8000 })
    );
    assert_eq!(
        container["ports"][1],
        json!({ "name": "ops", "containerPort": 9090 })
    );
    assert_eq!(
        container["resources"],
        json!({ "requests": { "memory": "256Mi", "cpu": "250m" }, "limits": { "memory": "512Mi", "cpu": "500m" } })
    );
    let variables = container["env"].as_array().unwrap();
    assert_known(
        variables
            .iter()
            .map(|variable| variable["name"].as_str().unwrap()),
    );
    let variable = |name: &str| {
        variables
            .iter()
            .find(|variable| variable["name"] == name)
            .unwrap()
    };
    assert_eq!(
        variable("BACKEND_URL")["value"],
        "http://backend-service:8000"
    );
    assert_eq!(
        variable("AI_ANALYZER_URL")["value"],
        "http://ai-analyzer-service:8001"
    );
    assert_eq!(
        variable("REDIS_URL")["valueFrom"]["secretKeyRef"],
        json!({ "name": "gateway-secrets", "key": "redis-url" }),
        "it may hold a password"
    );
    check_policy(&policy, container, variables);
    assert_eq!(
        variable("JWT_SECRET_KEY")["valueFrom"]["secretKeyRef"],
        json!({ "name": "gateway-secrets", "key": "jwt-secret" })
    );
    for (probe, path) in [
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
        ("startupProbe", "/readyz"),
    ] {
        assert_eq!(
            container[probe]["httpGet"],
            json!({ "path": path, "port": "http" }),
            "{probe}"
        );
    }
    let pause = texts(&container["lifecycle"]["preStop"]["exec"]["command"])[1]
        .parse::<i64>()
        .unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() > DRAIN_S + pause);
    assert_eq!(
        pod["enableServiceLinks"], false,
        "a Service called gateway would set GATEWAY_PORT=tcp://…"
    );
    assert_eq!(variable("PUBLIC_PATHS")["value"], "/api/v1/auth/refresh");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(
        container["securityContext"]["allowPrivilegeEscalation"],
        false
    );
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "http");
    assert_eq!(
        service["spec"]["ports"].as_array().unwrap().len(),
        1,
        "the operations port is not offered"
    );
}

/// The policy lets through what the deployment beside it needs, and the operations port to nobody but Prometheus.
fn check_policy(policy: &Value, container: &Value, variables: &[Value]) {
    assert_eq!(policy["apiVersion"], "networking.k8s.io/v1");
    let spec = &policy["spec"];
    assert_eq!(
        spec["podSelector"]["matchLabels"],
        json!({ "app": "api-gateway" })
    );
    assert_eq!(texts(&spec["policyTypes"]), ["Ingress", "Egress"]);
    let [clients, metrics] =
        <[Value; 2]>::try_from(spec["ingress"].as_array().unwrap().clone()).unwrap();
    assert_eq!(clients, json!({ "ports": [{ "port": "http" }] }));
    assert_eq!(metrics["ports"], json!([{ "port": "ops" }]));
    let from = &metrics["from"][0];
    assert!(from["podSelector"]["matchLabels"].is_object(), "{from}");
    for ports in [&clients["ports"], &metrics["ports"]] {
        let named = container["ports"].as_array().unwrap();
        assert!(named.iter().any(|port| port["name"] == ports[0]["port"]));
    }
    let reached: Vec<i64> = spec["egress"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| rule["ports"].as_array().unwrap())
        .map(|port| port["port"].as_i64().unwrap())
        .collect();
    let urls = variables
        .iter()
        .filter_map(|variable| variable["value"].as_str())
        .filter_map(|value| value.strip_prefix("http://"));
    let mut needed: Vec<i64> = urls
        .map(|url| url.rsplit_once(':').unwrap().1.parse().unwrap())
        .collect();
    // Names and Redis.
    needed.extend([53, 6379]);
    for port in needed {
        assert!(reached.contains(&port), "{port} is not let out");
    }
}
