//! What the gateway may ask of the kernel: the systemd unit and the seccomp profile. Not a proof that it runs inside them.
//! Invariant: io_uring is let through and nothing that administers the machine is.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use crate::{DRAIN_S, assert_known, read, seconds, texts};

const UNIT: &str = "deploy/dbpower-gateway.service";
const SECCOMP: &str = "deploy/seccomp-io_uring.json";

#[test]
fn the_unit_is_hardened_and_lets_io_uring_through() {
    let unit = read::unit(UNIT);
    let values = |section: &str, key: &str| {
        let place = (section.to_owned(), key.to_owned());
        unit.get(&place)
            .unwrap_or_else(|| panic!("{key} is missing"))
            .join(" ")
    };
    let service = |key: &str| values("Service", key);
    for (key, value) in [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("CapabilityBoundingSet", ""),
        ("SystemCallArchitectures", "native"),
        ("RestartPreventExitStatus", "78"),
        ("KillSignal", "SIGTERM"),
        // A core dump would hold the secret, and tokens.
        ("LimitCORE", "0"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
    ] {
        assert_eq!(service(key), value, "{key}");
    }
    let calls = service("SystemCallFilter");
    for call in "@system-service io_uring_setup io_uring_enter io_uring_register".split(' ') {
        assert!(calls.split(' ').any(|word| word == call), "{call}");
    }
    assert!(seconds(&service("TimeoutStopSec")) > DRAIN_S);
    assert!(service("LimitNOFILE").parse::<u32>().unwrap() >= 65_536);
    assert!(service("LimitMEMLOCK").ends_with('M'));
    assert!(service("ExecStart").ends_with("/dbpower-gateway"));
    let environment = service("Environment");
    let environment: Vec<(&str, &str)> = environment
        .split(' ')
        .map(|pair| pair.split_once('=').unwrap())
        .collect();
    assert_known(environment.iter().map(|(name, _)| *name));
    let credentials = service("LoadCredential");
    let credentials: Vec<(&str, &str)> = credentials
        .split(' ')
        .map(|pair| pair.split_once(':').unwrap())
        .collect();
    for (variable, credential) in [
        ("JWT_SECRET_KEY_FILE", "jwt-secret"),
        ("REDIS_URL_FILE", "redis-url"),
    ] {
        assert!(environment.contains(&(variable, format!("%d/{credential}").as_str())));
        assert!(credentials.iter().any(|(name, _)| *name == credential));
    }
    // A URL without a password, for those who have no file.
    let (name, url) = service("SetCredential").split_once(':').map(owned).unwrap();
    assert_eq!(
        (name.as_str(), url.as_str()),
        ("redis-url", "redis://127.0.0.1:6379/0")
    );
    assert_eq!(values("Install", "WantedBy"), "multi-user.target");
    let readme = read::fenced("README.md", "sh").concat();
    let install = |place: &str| {
        assert!(
            readme.contains(place),
            "the README does not install {place}"
        );
    };
    install(UNIT);
    let unit_text = read::text(UNIT);
    let file = service("EnvironmentFile");
    let secrets = [file.trim_start_matches('-')];
    for place in secrets
        .into_iter()
        .chain(credentials.iter().map(|(_, place)| *place))
    {
        install(place);
        // It may hold a password, as each of them: for root alone.
        for text in [&readme, &unit_text] {
            let mut lines = text
                .lines()
                .filter(|line| line.contains(" install ") || line.starts_with("#   install"));
            let line = lines
                .find(|line| line.contains(&format!(" {place}")))
                .unwrap();
            assert!(line.contains("install -m 0600 "), "{line}");
        }
    }
    let folder = service("ExecStart");
    install(folder.strip_suffix("dbpower-gateway").unwrap());
    verify_with_systemd();
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Where systemd is installed it reads the unit too; the one thing it may miss is the installed binary.
fn verify_with_systemd() {
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(read::path(UNIT))
        .output();
    let Ok(output) = verify else { return };
    let complaints = String::from_utf8_lossy(&output.stderr);
    for complaint in complaints
        .lines()
        .filter(|line| line.contains("dbpower-gateway.service"))
    {
        assert!(complaint.contains("is not executable"), "{complaint}");
    }
}

#[test]
fn seccomp_allows_io_uring_and_still_forbids_the_rest() {
    let profile = read::json(SECCOMP);
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO", "an allow-list");
    assert_eq!(
        profile["architectures"],
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"])
    );
    let mut allowed = BTreeSet::new();
    for rule in profile["syscalls"].as_array().unwrap() {
        // Docker reads these two, containerd does not: there a rule for CAP_SYS_ADMIN would hold for everybody.
        assert!(
            rule["includes"].is_null() && rule["excludes"].is_null(),
            "{rule}"
        );
        assert!(rule["comment"].is_string(), "{rule}");
        let names = texts(&rule["names"]);
        match rule["action"].as_str().unwrap() {
            "SCMP_ACT_ALLOW" => allowed.extend(names.iter().map(ToString::to_string)),
            // ENOSYS and not EPERM: only then does the C library take clone instead.
            "SCMP_ACT_ERRNO" => {
                assert_eq!((names, &rule["errnoRet"]), (vec!["clone3"], &json!(38)))
            }
            other => panic!("{other}"),
        }
    }
    for call in "io_uring_setup io_uring_enter io_uring_register read write readv writev close openat epoll_create1 epoll_ctl \
        epoll_wait epoll_pwait eventfd2 socket bind listen accept4 connect sendmsg recvmsg shutdown getsockopt \
        setsockopt futex clone mmap munmap mprotect madvise brk getrandom clock_gettime clock_nanosleep prlimit64 \
        sched_setaffinity sched_getaffinity set_robust_list set_tid_address rseq rt_sigaction rt_sigprocmask \
        rt_sigreturn sigaltstack arch_prctl execve exit exit_group capset setuid setgid prctl seccomp"
        .split(' ')
    {
        assert!(allowed.contains(call), "{call} is missing");
    }
    for call in "mount umount2 pivot_root setns unshare ptrace process_vm_readv bpf perf_event_open keyctl add_key init_module \
        finit_module kexec_load reboot swapon userfaultfd open_by_handle_at chroot clock_settime sethostname syslog \
        clone3"
        .split(' ')
    {
        assert!(
            !allowed.contains(call),
            "{call} is not the gateway's business"
        );
    }
}
