# What the examples share: the gateway's binary, free ports, processes that end with the script. Sourced by each `run`, in its own folder.
# Settings of the caller: GATEWAY_BIN (the binary; built when unset), EXAMPLE_PORT (first of ten ports; 8000 when unset).
set -euo pipefail

here="$PWD"
work="$(mktemp -d)"
pids=()

finish() {
  local status=$?
  # In reverse order: what was started last depends on what was started first.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[i]}" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  if [ "$status" != 0 ] && [ "${1:-}" != quiet ]; then tail -n 20 "$work"/*.log >&2 || true; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 0' INT TERM

need() {
  for command in "$@"; do
    command -v "$command" >/dev/null || { echo "this example needs $command" >&2; exit 1; }
  done
}

first_port="${EXAMPLE_PORT:-8000}"
port() { echo $((first_port + $1)); }

if [ -z "${GATEWAY_BIN:-}" ]; then
  cargo build --release --locked --quiet --manifest-path ../../Cargo.toml
  GATEWAY_BIN="$here/../../target/release/dbpower-gateway"
fi

# start NAME COMMAND…: runs it in the background, its output in a file.
start() {
  local name="$1"
  shift
  "$@" >"$work/$name.log" 2>&1 &
  pids+=("$!")
}

# ready URL [curl options]: waits until it answers 2xx.
ready() {
  local url="$1"
  shift
  for _ in $(seq 150); do
    if curl -fsS -o /dev/null --max-time 2 "$@" "$url" 2>/dev/null; then return; fi
    sleep 0.1
  done
  echo "$url does not answer" >&2
  exit 1
}

# expect WHAT WANTED FOUND
expect() {
  if [ "$2" != "$3" ]; then echo "$1: wanted $2, found $3" >&2; exit 1; fi
  echo "ok: $1: $3"
}

# The two demo services that stand for a backend and an analyzer.
demo_services() {
  start backend env JWT_SECRET_KEY="$JWT_SECRET_KEY" "$GATEWAY_BIN" demo backend --listen "127.0.0.1:$(port 8)"
  start analyzer "$GATEWAY_BIN" demo ai-analyzer --listen "127.0.0.1:$(port 9)"
  export BACKEND_URL="http://127.0.0.1:$(port 8)" AI_ANALYZER_URL="http://127.0.0.1:$(port 9)"
  ready "$BACKEND_URL/health"
  ready "$AI_ANALYZER_URL/health"
}
