# Makes one connection and tells in one line how it went. Arguments: port, file of the authority, and a JSON object with
# `host`; `version` (the only one spoken); `cert`, `key`; `alpn`; `starttls`; `inject` (sent right behind STARTTLS).
import json
import socket
import ssl
import sys

port, authority, wanted = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])


def line(stream):
    text = b""
    while not text.endswith(b"\n"):
        byte = stream.recv(1)
        if not byte:
            raise EOFError("hung up")
        text += byte
    return text.decode()


context = ssl.create_default_context(cafile=authority)
if "version" in wanted:
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, wanted["version"])
if "cert" in wanted:
    context.load_cert_chain(wanted["cert"], wanted["key"])
if "alpn" in wanted:
    context.set_alpn_protocols(wanted["alpn"])
try:
    stream = socket.create_connection(("127.0.0.1", port), timeout=600)
    if wanted.get("starttls"):
        stream.sendall(b"STARTTLS\n" + wanted.get("inject", "").encode())
        assert line(stream) == "go\n"
    stream = context.wrap_socket(stream, server_hostname=wanted["host"])
    stream.sendall(b"hello\n")
    reply = line(stream).strip()
    stream.sendall(b"QUIT\n")
    end = line(stream).strip()
    names = ",".join(name for _, name in stream.getpeercert()["subjectAltName"])
    print(stream.version(), names, stream.selected_alpn_protocol(), reply, end)
except ssl.SSLError as error:
    print("refused:", error.reason)
except (OSError, EOFError) as error:
    print("ended:", error)
