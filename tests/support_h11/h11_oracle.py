"""Reads HTTP/1.1 messages with h11 and says how it read them.

Input: JSON lines {"name", "kind", "hex"}, kind one of request, response, "response to HEAD".
Output: a JSON line each: {"name", "error"} or {"name", "method"/"status", "target", "version", "fields", "body", "rest",
"interim", "closes"}; bytes in hex.
"""

import json
import sys

import h11


def events(conn, closed):
    """All events up to the end of one message; a response's input ends by the upstream's close."""
    while True:
        event = conn.next_event()
        if event is h11.NEED_DATA:
            if closed:
                raise EOFError("more data wanted")
            closed = True
            conn.receive_data(b"")
            continue
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise EOFError("ended without a message")
        yield event
        if isinstance(event, h11.EndOfMessage):
            return


def read(kind, data):
    """One message as a JSON value."""
    bound = 256 * 1024
    if kind == "request":
        conn = h11.Connection(h11.SERVER, max_incomplete_event_size=bound)
    else:
        conn = h11.Connection(h11.CLIENT, max_incomplete_event_size=bound)
        method = "HEAD" if kind.endswith("HEAD") else "GET"
        conn.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        conn.send(h11.EndOfMessage())
    conn.receive_data(data)
    found = {"body": "", "interim": 0}
    body = b""
    # A client that only stops sending has not ended its message: no end of input is shown for a request.
    for event in events(conn, closed=kind == "request"):
        if isinstance(event, h11.InformationalResponse):
            found["interim"] += 1
        elif isinstance(event, h11.Request):
            found["method"] = event.method.hex()
            found["target"] = event.target.hex()
        elif isinstance(event, h11.Response):
            found["status"] = event.status_code
            found["reason"] = event.reason.hex()
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        if isinstance(event, (h11.Request, h11.Response)):
            found["version"] = event.http_version.decode()
            found["fields"] = [[name.hex(), value.hex()] for name, value in event.headers]
    found["body"] = body.hex()
    found["closes"] = conn.their_state is h11.MUST_CLOSE
    found["rest"] = conn.trailing_data[0].hex()
    return found


def main():
    """All lines in, then all lines out."""
    for line in sys.stdin.read().splitlines():
        question = json.loads(line)
        try:
            answer = read(question["kind"], bytes.fromhex(question["hex"]))
        except (h11.ProtocolError, EOFError) as error:
            answer = {"error": str(error)}
        print(json.dumps({"name": question["name"], **answer}))


main()
