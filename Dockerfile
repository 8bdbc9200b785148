# The gateway's image: built here, run as an unprivileged user with nothing but the one binary.
#   docker build -t dbpower-api-gateway:latest .
#   docker run --rm -p 8000:8000 --security-opt seccomp=deploy/seccomp-io_uring.json -e JWT_SECRET_KEY=… dbpower-api-gateway:latest

# The slim image has the C compiler that aws-lc needs; the same Debian as below, so that both have the same C library.
FROM rust:1-slim-bookworm AS build
WORKDIR /src

# Dependencies first, against empty targets: this layer is built again only when a manifest changes.
# Every [[bench]] and [[test]] of the manifest gets its empty file too, because cargo refuses a manifest whose targets are missing.
COPY Cargo.toml Cargo.lock ./
COPY loadtest/Cargo.toml loadtest/
RUN mkdir -p src benches tests loadtest/src \
 && echo 'fn main() {}' | tee src/main.rs > loadtest/src/main.rs \
 && touch src/lib.rs \
 && for kind in bench test; do \
      for name in $(sed -n "/^\[\[$kind\]\]/,/^\$/s/^name *= *\"\(.*\)\"/\1/p" Cargo.toml); do \
        case $kind in bench) dir=benches ;; test) dir=tests ;; esac; \
        echo 'fn main() {}' > "$dir/$name.rs"; \
      done; \
    done \
 && cargo build --release --locked --bin dbpower-gateway

# Then the gateway itself. The files in the build context may be older than the empty ones, so cargo is told that they changed.
COPY . .
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --bin dbpower-gateway \
 && strip target/release/dbpower-gateway

FROM debian:bookworm-slim
COPY --from=build /src/target/release/dbpower-gateway /usr/local/bin/dbpower-gateway
# Inside a container loopback is nobody's but the gateway's; the port is reachable from outside only when it is published.
ENV OPS_HOST=0.0.0.0
# 8000: the API. 9090: metrics, /livez, /readyz; not for the public.
EXPOSE 8000 9090
# A number, because Kubernetes' runAsNonRoot cannot look a name up.
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["dbpower-gateway", "healthcheck"]
ENTRYPOINT ["dbpower-gateway"]
