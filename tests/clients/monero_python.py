"""monero-python, unchanged, against spindle: everything that its Daemon offers.

Two nodes of regtest with the same chain that do not know each other. A wallet pays through the first; monero-python
reads the payment there and brings it to the second, which mines it.
"""

import pathlib
import sys
import unittest
from decimal import Decimal

from monero.backends.jsonrpc.exceptions import MethodNotFound, RPCError
from monero.daemon import Daemon
from monero.exceptions import TransactionBroadcastError
from monero.transaction import Transaction

sys.path.append(str(pathlib.Path(__file__).parents[1] / "common"))
from regtest import Home

SPINDLE = sys.argv[1]
BLOCKS = 20
# One coin has 10^8 units; monero-python takes every amount for a multiple of 10^-12.
UNIT = Decimal("0.000000000001")


class MoneroPython(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home(SPINDLE)
        cls.nodes = cls.home.two_nodes(BLOCKS)
        cls.first, cls.second = (Daemon(port=node.port + 1_000) for node in cls.nodes)
        sent = cls.home.wallet("send", cls.home.address, "1.5", "--yes", "--port", str(cls.nodes[0].port))
        cls.paid = sent["txid"]

    @classmethod
    def tearDownClass(cls):
        cls.home.remove(cls.nodes)

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
        [mined] = self.nodes[1].generate(1, self.home.address)
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
        template = backend.raw_jsonrpc_request("get_block_template", {"wallet_address": self.home.address})
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
