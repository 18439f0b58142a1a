# One client: does what standard input says, line by line, and tells what it is sent.
#
#   > TEXT    sends a line
#   + TEXT    sends a line together with the next one, in one packet
#   < START   reads lines up to one that begins so
#   .         reads lines up to one of a single dot
#   tls       makes the handshake, and tells version, suite, the server's names and the application protocol
#   end       reads lines up to the end of the connection, and tells of it
#
# Arguments: the port, and a JSON object with `authority`; `host`, `version` (the only one spoken), `ciphers` (of TLS 1.2),
# `alpn`, `certificate` and `key` where they are wanted.
import json
import socket
import ssl
import sys

port, wanted = int(sys.argv[1]), json.loads(sys.argv[2])
context = ssl.create_default_context(cafile=wanted["authority"])
if "version" in wanted:
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, wanted["version"])
if "ciphers" in wanted:
    context.set_ciphers(wanted["ciphers"])
if "alpn" in wanted:
    context.set_alpn_protocols(wanted["alpn"])
if "certificate" in wanted:
    context.load_cert_chain(wanted["certificate"], wanted["key"])

stream = socket.create_connection(("127.0.0.1", port), timeout=600)
stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
waiting = b""


def line():
    text = b""
    while not text.endswith(b"\n"):
        byte = stream.recv(1)
        if not byte:
            print("closed", *([text.decode()] if text else []))
            sys.exit()
        text += byte
    text = text.decode().rstrip("\r\n")
    print(text)
    return text


try:
    for step in sys.stdin.read().splitlines():
        word, _, rest = step.partition(" ")
        if word == "+":
            waiting += rest.encode() + b"\r\n"
        elif word == ">":
            stream.sendall(waiting + rest.encode() + b"\r\n")
            waiting = b""
        elif word == "<":
            while not line().startswith(rest):
                pass
        elif word == ".":
            while line() != ".":
                pass
        elif word == "end":
            while True:
                line()
        elif word == "tls":
            host = wanted.get("host", "mail.example.org")
            # A connection that ends before TLS does is no good end.
            stream = context.wrap_socket(stream, server_hostname=host, suppress_ragged_eofs=False)
            names = ",".join(name for _, name in stream.getpeercert()["subjectAltName"])
            print("tls", stream.version(), stream.cipher()[0], names, stream.selected_alpn_protocol())
        else:
            sys.exit("what is " + step)
except ssl.SSLError as error:
    print("refused", error.reason)
except OSError as error:
    print("ended", type(error).__name__)
