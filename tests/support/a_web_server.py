"""A web server that takes its time, as a process of its own: `python a_web_server.py CERTIFICATE`.

Prints its port. Each answer begins 20 ms after its request, and ends 10 ms after that.
"""

import socket
import ssl
import sys
import threading
import time

FIRST_BYTE_S, TRANSFER_S = 0.020, 0.010


def answer(connection: socket.socket, context: ssl.SSLContext) -> None:
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(connection, server_side=True) as secure:
            request = b""
            while b"\r\n\r\n" not in request:
                request += secure.recv(4096) or b"\r\n\r\n"
            time.sleep(FIRST_BYTE_S)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\nConnection: close\r\n\r\n")
            time.sleep(TRANSFER_S)
            secure.sendall(b"x" * 2000)
    except OSError:
        pass


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    listener = socket.create_server(("", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, context), daemon=True).start()


if __name__ == "__main__":
    main()
