"""nginx as a proxy that ends TLS in front of a server, with a certificate of its own."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse

from certificates import certify

CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        location / {{
            proxy_pass {backend};
            proxy_set_header Host {host};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering {buffering};
            # rmcp asks for no buffering of a stream, and not every proxy does as it is asked.
            proxy_ignore_headers X-Accel-Buffering;
        }}
    }}
}}
"""


@contextlib.contextmanager
def tls_proxy(url, host, buffering="on", **certificate):
    """The URL of nginx in front of `url`, which it reaches as `host`, and its authority's certificate. Its own is made by
    `certify`."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx, "nginx is not installed"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = urllib.parse.urlsplit(url)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        certify(folder, **certificate)
        config = folder / "nginx.conf"
        backend_url = f"{backend.scheme}://{backend.netloc}"
        config.write_text(CONFIG.format(folder=folder, port=port, backend=backend_url, host=host, buffering=buffering))
        # The log is opened before the configuration names another.
        with tempfile.TemporaryFile() as errors:
            proxy = subprocess.Popen([nginx, "-e", "stderr", "-p", folder, "-c", config], stderr=errors)
            try:
                deadline = time.monotonic() + 10
                while True:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                        break
                    assert proxy.poll() is None and time.monotonic() < deadline, "nginx did not start"
                    time.sleep(0.05)
                yield f"https://127.0.0.1:{port}{backend.path}", folder / "authority.pem"
            finally:
                proxy.terminate()
                proxy.wait()
