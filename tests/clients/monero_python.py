"""monero-python, unchanged, against spindle: everything that its Daemon offers.

Two nodes of regtest with the same chain that do not know each other. A wallet pays through the first; monero-python
reads the payment there and brings it to the second, which mines it.
"""

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from decimal import Decimal

from monero.backends.jsonrpc.exceptions import MethodNotFound, RPCError
from monero.daemon import Daemon
from monero.exceptions import TransactionBroadcastError
from monero.transaction import Transaction

SPINDLE = str(pathlib.Path(sys.argv[1]).absolute())
BLOCKS = 20
# One coin has 10^8 units; monero-python takes every amount for a multiple of 10^-12.
UNIT = Decimal("0.000000000001")


def free_port():
    """A port whose neighbour is free too."""
    for port in range(11_300, 12_000):
        try:
            for each in (port, port + 1_000):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", each))
            return port
        except OSError:
            continue
    raise OSError("no two free ports")


class Node:
    """A spindle daemon and monero-python's view of it."""

    def __init__(self, home, name):
        self.port = free_port()
        self.data = home / name
        words = [SPINDLE, "daemon", "--network", "regtest", "--no-seeds", "--port", str(self.port)]
        self.process = subprocess.Popen(words + ["--data-dir", str(self.data)], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "rpc on" in line:
                break
        self.daemon = Daemon(port=self.port + 1_000)

    def change(self, path, **params):
        """What takes the cookie, which monero-python cannot show."""
        body = json.dumps(params).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port + 1_000}{path}", body)
        request.add_header("Authorization", "Bearer " + (self.data / "rpc.cookie").read_text())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def generate(self, count, address):
        params = {"amount_of_blocks": count, "wallet_address": address}
        answer = self.change("/json_rpc", jsonrpc="2.0", id=0, method="generateblocks", params=params)
        return answer["result"]["blocks"]

    def stop(self):
        self.change("/stop_daemon")
        self.process.communicate(timeout=30)
        return self.process.returncode


class MoneroPython(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="spindle-clients-"))
        (cls.home / "password").write_text("correct horse\n")
        cls.wallet("new")
        cls.address = cls.wallet("address")["address"]
        words = ["chain", "generate", "--network", "regtest", "--blocks", str(BLOCKS), "--mine-to", cls.address]
        cls.run_spindle(*words, "--data-dir", "first")
        shutil.copytree(cls.home / "first", cls.home / "second")
        cls.nodes = [Node(cls.home, "first"), Node(cls.home, "second")]
        cls.first, cls.second = (node.daemon for node in cls.nodes)
        sent = cls.wallet("send", cls.address, "1.5", "--yes", "--port", str(cls.nodes[0].port))
        cls.paid = sent["txid"]

    @classmethod
    def tearDownClass(cls):
        codes = [node.stop() for node in cls.nodes]
        shutil.rmtree(cls.home)
        assert codes == [0, 0], codes

    @classmethod
    def run_spindle(cls, *words):
        return subprocess.run([SPINDLE, *words], cwd=cls.home, check=True, capture_output=True, text=True).stdout

    @classmethod
    def wallet(cls, name, *words):
        more = ["--network", "regtest", "--wallet", "w", "--password-file", "password", "--json"]
        return json.loads(cls.run_spindle("wallet", name, *words, *more))

    def test_1_info_net_height(self):
        info = self.first.info()
        self.assertEqual(info["height"], BLOCKS + 1)
        self.assertEqual(info["status"], "OK")
        self.assertEqual(self.first.height(), BLOCKS + 1)
        self.assertIsNone(self.first.net, "it is none of Monero's networks")

    def test_2_headers(self):
        headers = self.first.headers(0, BLOCKS)
        self.assertEqual([header["height"] for header in headers], list(range(BLOCKS + 1)))
        for parent, child in zip(headers, headers[1:]):
            self.assertEqual(child["prev_hash"], parent["hash"])
            self.assertEqual(child["reward"] > 0, True)
        self.assertEqual(self.first.headers(7)[0]["hash"], headers[7]["hash"])
        with self.assertRaises(RPCError):
            self.first.headers(0, BLOCKS + 1)

    def test_3_block(self):
        headers = self.first.headers(0, BLOCKS)
        block = self.first.block(height=5)
        self.assertEqual(block.hash, headers[5]["hash"])
        self.assertEqual(block, self.first.block(bhash=block.hash))
        self.assertEqual((block.height, block.prev_hash), (5, headers[4]["hash"]))
        self.assertEqual(block.reward, headers[5]["reward"] * UNIT)
        [coinbase] = block.transactions
        self.assertTrue(coinbase.is_coinbase)
        self.assertEqual((coinbase.hash, coinbase.height), (headers[5]["miner_tx_hash"], 5))
        [output] = coinbase.outputs()
        self.assertEqual(output.amount, block.reward)
        genesis = self.first.block(height=0)
        self.assertEqual((genesis.height, genesis.hash, genesis.transactions), (0, headers[0]["hash"], []))
        with self.assertRaises(RPCError):
            self.first.block(height=BLOCKS + 1)

    def test_4_mempool(self):
        [waiting] = self.first.mempool()
        self.assertEqual((waiting.hash, waiting.confirmations), (self.paid, 0))
        self.assertGreater(waiting.fee, 0)
        self.assertEqual(self.second.mempool(), [])
        [same] = self.first.transactions(self.paid)
        self.assertIsNone(same.height)
        self.assertEqual(same.json["vin"], waiting.json["vin"])
        paid = sum(output.amount for output in waiting.outputs()) + waiting.fee
        self.assertEqual(paid, sum(vin["key"]["amount"] for vin in waiting.json["vin"]) * UNIT)

    def test_5_send_transaction(self):
        [waiting] = self.first.mempool()
        with self.assertRaises(TransactionBroadcastError) as refused:
            self.second.send_transaction(Transaction(blob=waiting.blob[:-1]))
        self.assertIn("refused", str(refused.exception))
        with self.assertRaises(TransactionBroadcastError):
            self.second.send_transaction(waiting, relay=False)
        self.assertEqual(self.second.send_transaction(waiting)["status"], "OK")
        [there] = self.second.mempool()
        self.assertEqual((there.hash, there.blob), (waiting.hash, waiting.blob))

    def test_6_transactions(self):
        [mined] = self.nodes[1].generate(1, self.address)
        block = self.second.block(bhash=mined)
        self.assertEqual(block.height, BLOCKS + 1)
        self.assertEqual([tx.is_coinbase for tx in block.transactions], [True, False])
        self.assertIn(self.paid, block)
        [confirmed] = self.second.transactions([self.paid])
        self.assertEqual((confirmed.height, confirmed.hash), (BLOCKS + 1, self.paid))
        self.assertEqual(self.second.mempool(), [])
        self.assertEqual(self.second.transactions(["00" * 32]), [])

    def test_7_the_rest(self):
        backend = self.second._backend
        self.assertEqual(backend.get_block_count()["count"], self.second.height())
        tip = backend.get_last_block_header()["block_header"]
        self.assertEqual(backend.on_get_block_hash(tip["height"]), tip["hash"])
        self.assertEqual(backend.get_block_header_by_hash(tip["hash"])["block_header"], tip)
        self.assertEqual(backend.get_block_header_by_height(tip["height"])["block_header"], tip)
        self.assertEqual(backend.get_height()["hash"], tip["hash"])
        self.assertEqual(backend.get_connections(), {"connections": [], "status": "OK", "untrusted": False})
        self.assertEqual(backend.sync_info()["height"], self.second.height())
        self.assertEqual(backend.get_bans()["status"], "OK")
        self.assertEqual(backend.get_peer_list()["status"], "OK")
        self.assertEqual(backend.get_alternate_chains()["chains"], [])
        self.assertEqual(backend.hard_fork_info()["version"], 1)
        self.assertGreater(backend.get_fee_estimate()["fee"], 0)
        self.assertEqual(backend.get_version()["current_height"], self.second.height())
        self.assertFalse(backend.mining_status()["active"])
        # `get_block_template` itself takes Monero's addresses alone.
        template = backend.raw_jsonrpc_request("get_block_template", {"wallet_address": self.address})
        self.assertEqual((template["height"], template["prev_hash"]), (self.second.height(), tip["hash"]))
        blob = bytearray.fromhex(template["blocktemplate_blob"])
        while True:
            try:
                self.assertEqual(backend.submit_block([bytes(blob).hex()])["status"], "OK")
                break
            except RPCError as error:
                self.assertIn("work", str(error))
                blob[template["nonce_offset"]] += 1
        self.assertEqual(self.second.height(), template["height"] + 1)
        with self.assertRaises(MethodNotFound):
            backend.get_coinbase_tx_sum(0, 1)
        with self.assertRaises(RPCError) as refused:
            backend.stop_daemon()
        self.assertIn("401", str(refused.exception), "that takes the cookie")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
