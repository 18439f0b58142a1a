# Connects over TLS again and again, in several threads, until standard input ends. Tells the serial number of each new
# certificate as it is first seen, and at the end how many connections went well, and what was wrong with the others.
#
# Arguments: the file of the authority, then for each thread a port with the protocol, and how TLS begins: 993/imap/connection.
import socket
import ssl
import sys
import threading

context = ssl.create_default_context(cafile=sys.argv[1])
lock, seen, faults, good = threading.Lock(), set(), [], 0
over = threading.Event()
WORDS = {
    "imap": (b"* OK", b"a STARTTLS\r\n", b"a OK", b"b CAPABILITY\r\n", b"b OK", b"c LOGOUT\r\n", b"c OK"),
    "pop3": (b"+OK", b"STLS\r\n", b"+OK", b"UTF8\r\n", b"+OK", b"QUIT\r\n", b"+OK"),
}


def connect(port, protocol, mode):
    greeting, upgrade, go, *_ = WORDS[protocol]
    stream = socket.create_connection(("127.0.0.1", port), timeout=600)
    plain = stream.makefile("rb")
    if mode != "connection":
        expect(plain, greeting)
        stream.sendall(upgrade)
        expect(plain, go)
    stream = context.wrap_socket(stream, server_hostname="mail.example.org")
    lines = stream.makefile("rb")
    if mode == "connection":
        expect(lines, greeting)
    serial = int(stream.getpeercert()["serialNumber"], 16)
    with lock:
        if serial not in seen:
            seen.add(serial)
            print("serial", serial, flush=True)
    return stream, lines


def expect(lines, start):
    while True:
        line = lines.readline()
        if not line:
            raise EOFError("hung up before " + repr(start))
        if line.startswith(start):
            return
        if not line.startswith(b"* "):
            raise ValueError(repr(line))


def again_and_again(port, protocol, mode):
    global good
    *_, ask, answer, leave, bye = WORDS[protocol]
    while not over.is_set():
        try:
            stream, lines = connect(port, protocol, mode)
            stream.sendall(ask)
            expect(lines, answer)
            stream.sendall(leave)
            expect(lines, bye)
            stream.close()
            with lock:
                good += 1
        except Exception as error:
            with lock:
                faults.append(f"{protocol} {mode}: {type(error).__name__} {error}")


def stay(port, protocol, mode):
    """One connection that is there before all else and lives on."""
    *_, ask, answer, leave, bye = WORDS[protocol]
    stream, lines = connect(port, protocol, mode)
    try:
        while not over.wait(0.02):
            stream.sendall(b"n NOOP\r\n" if protocol == "imap" else b"LANG\r\n")
            expect(lines, b"n OK" if protocol == "imap" else b"+OK")
            if protocol == "pop3":
                while lines.readline() != b".\r\n":
                    pass
        stream.sendall(leave)
        expect(lines, bye)
    except Exception as error:
        with lock:
            faults.append(f"{protocol} {mode} that stays: {type(error).__name__} {error}")


threads = []
for wanted in sys.argv[2:]:
    port, protocol, mode = wanted.split("/")
    for run in (stay, again_and_again):
        threads.append(threading.Thread(target=run, args=(int(port), protocol, mode)))
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
print("good", good)
for fault in faults:
    print("fault", fault)
