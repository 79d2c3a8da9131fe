"""A directory with a wallet, and nodes of regtest in it: what the tests of the page and of other programs begin with."""

import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import urllib.request


def free_port():
    """A port whose neighbour, the RPC's, is free too."""
    for port in range(11_300, 13_000):
        try:
            for each in (port, port + 1_000):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", each))
            return port
        except OSError:
            continue
    raise OSError("no two free ports")


class Home:
    """A directory of its own, a wallet in it, and whoever runs the program there."""

    def __init__(self, spindle):
        self.spindle = str(pathlib.Path(spindle).absolute())
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="spindle-test-"))
        (self.path / "password").write_text("correct horse\n")
        self.wallet("new")
        self.address = self.wallet("address")["address"]

    def run(self, *words):
        return subprocess.run([self.spindle, *words], cwd=self.path, check=True, capture_output=True, text=True).stdout

    def wallet(self, name, *words):
        more = ["--network", "regtest", "--wallet", "w", "--password-file", "password", "--json"]
        return json.loads(self.run("wallet", name, *words, *more))

    def two_nodes(self, blocks):
        """Two with the same chain, which pays the wallet; they do not know each other."""
        words = ["chain", "generate", "--network", "regtest", "--blocks", str(blocks), "--mine-to", self.address]
        self.run(*words, "--data-dir", "first")
        shutil.copytree(self.path / "first", self.path / "second")
        return Node(self, "first"), Node(self, "second")

    def remove(self, nodes):
        """Ends it: each node must stop when it is told to."""
        codes = [node.stop() for node in nodes]
        shutil.rmtree(self.path, ignore_errors=True)
        assert codes == [0] * len(codes), codes


class Node:
    """A daemon, asked as programs do that have its cookie."""

    def __init__(self, home, name):
        self.home, self.data, self.port = home, home.path / name, free_port()
        self.start()

    def start(self):
        words = [self.home.spindle, "daemon", "--network", "regtest", "--no-seeds", "--port", str(self.port)]
        self.process = subprocess.Popen(words + ["--data-dir", str(self.data)], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "rpc on" in line:
                return
        raise RuntimeError("the daemon did not start")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port + 1_000}/"

    def ask(self, method, **params):
        body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url + "json_rpc", body)
        request.add_header("Authorization", "Bearer " + (self.data / "rpc.cookie").read_text())
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer = json.load(answer)
        assert "result" in answer, answer
        return answer["result"]

    def generate(self, count, address):
        return self.ask("generateblocks", amount_of_blocks=count, wallet_address=address)["blocks"]

    def stop(self):
        words = [self.home.spindle, "stop", "--network", "regtest", "--port", str(self.port)]
        asked = subprocess.run(words + ["--data-dir", str(self.data)], capture_output=True, text=True)
        assert asked.returncode == 0, asked.stderr
        self.process.communicate(timeout=30)
        return self.process.returncode
