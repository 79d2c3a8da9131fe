"""The page at `/` in a real Chromium, against two nodes of regtest: what it shows is what the node says.

The first node's page is open. It and the second have the same chain and then mine apart, so that meeting brings a fork;
later blocks come from the second, through the first one's peer threads. At the end the first node goes away and comes
back. Figures are printed, and not judged by a clock.
"""

import json
import os
import pathlib
import sys
import unittest
import urllib.error
import urllib.request

sys.path.append(str(pathlib.Path(__file__).parents[1] / "common"))
from browser import Browser
from regtest import Home

SPINDLE = sys.argv[1]
CHROMIUM = sys.argv[2]
SHOTS = os.environ.get("SHOTS")
BLOCKS = 30
WEIGHT_MAX = 100_000


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home(SPINDLE)
        cls.first, cls.second = cls.home.two_nodes(BLOCKS)
        cls.browser = Browser(CHROMIUM, cls.home.path / "browser")

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.home.remove([cls.first, cls.second])

    def go(self, route):
        self.browser.run(f"location.hash = {json.dumps(route)}")

    def shot(self, name):
        if SHOTS:
            self.browser.shot(pathlib.Path(SHOTS) / f"{name}.png")

    def search(self, text):
        self.browser.run(
            f"document.getElementById('find').value = {json.dumps(text)};"
            "document.getElementById('search').requestSubmit()"
        )

    def heading(self, text):
        self.browser.wait_for(f"document.querySelector('h1')?.textContent.startsWith({json.dumps(text)})")

    def tearDown(self):
        self.assertEqual(self.browser.problems, [], "the console is silent")
        self.assertEqual([url for url in self.browser.asked_for if not url.startswith((self.first.url, "data:"))], [])

    def test_1_it_opens(self):
        with urllib.request.urlopen(self.first.url) as answer:
            page, headers = answer.read(), answer.headers
        print(f"page weight: {len(page)} bytes", file=sys.stderr)
        self.assertLessEqual(len(page), WEIGHT_MAX)
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertIn("frame-ancestors 'none'", headers["Content-Security-Policy"])
        self.assertNotIn("unsafe", headers["Content-Security-Policy"])
        self.assertEqual((headers["X-Content-Type-Options"], headers["Referrer-Policy"]), ("nosniff", "no-referrer"))
        self.browser.look(1200, 800)
        self.browser.open(self.first.url)
        tip = self.first.ask("get_last_block_header")["block_header"]
        self.browser.wait_for(f"document.querySelector('[data-k=\"{tip['hash']}\"]')")
        self.browser.wait_for("document.getElementById('live').textContent === 'live'")
        self.assertEqual(tip["height"], BLOCKS)

    def test_2_a_fork_is_drawn(self):
        [lost] = self.first.generate(1, self.home.address)
        self.browser.wait_for(f"document.querySelector('.rows [data-k=\"{lost}\"]:not(.off)')")
        won = self.second.generate(2, self.home.address)
        self.first.ask("connect", address=f"127.0.0.1:{self.second.port}")
        self.browser.wait_for(f"document.querySelector('.rows [data-k=\"{won[-1]}\"]:not(.off)')")
        self.browser.wait_for(f"document.querySelector('.rows [data-k=\"{lost}\"].off path.b, .rows path.b')")
        drawn = self.browser.run("[...document.querySelectorAll('.rows li')].map(row => row.dataset.k)")
        tip = self.first.ask("get_last_block_header")["block_header"]["height"]
        chain = self.first.ask("get_block_headers_range", start_height=max(0, tip - 29), end_height=tip)["headers"]
        self.assertEqual([id for id in drawn if id != lost], [header["hash"] for header in reversed(chain)])
        self.assertIn(lost, drawn)
        self.shot("chain")

    def test_3_a_mined_block_appears(self):
        times = []
        self.browser.run(
            "window.seen = {}; new MutationObserver(() => document.querySelectorAll('.rows li').forEach("
            "row => window.seen[row.dataset.k] ??= Date.now())).observe(document.body, {subtree: true, childList: true})"
        )
        for n, node in enumerate([self.second, self.first] * 5):
            # At another moment between two of the page's questions each time.
            self.browser.run(f"new Promise(done => setTimeout(done, {45 * n}))")
            [block] = node.generate(1, self.home.address)
            self.browser.wait_for(f"window.seen['{block}']")
            seen = self.browser.run(f"window.seen['{block}']")
            trails = self.first.ask("get_inside")["trails"]
            [trail] = [trail for trail in trails if trail["hash"] == block]
            self.assertEqual(trail["source"], "peer" if node is self.second else "miner")
            times.append(seen - trail["taken_at_ms"])
        times.sort()
        print(f"block to picture: median {times[len(times) // 2]} ms, longest {times[-1]} ms", file=sys.stderr)

    def test_4_search_finds(self):
        header = self.first.ask("get_block_header_by_height", height=7)["block_header"]
        self.search("7")
        self.heading("Block 7")
        self.browser.wait_for(f"document.getElementById('main').textContent.includes('{header['hash']}')")
        self.go("#/chain")
        self.heading("Chain")
        self.search(header["hash"])
        self.heading("Block 7")
        self.shot("block")
        self.search(header["miner_tx_hash"])
        self.heading("Coinbase")
        self.search("00" * 32)
        self.heading("No such transaction")
        self.search("1000000")
        self.heading("No such block")

    def test_5_the_pool_and_a_payment(self):
        for amount in ("1.5", "0.25", "3"):
            paid = self.home.wallet("send", self.home.address, amount, "--yes", "--port", str(self.first.port))["txid"]
        self.go("#/mempool")
        pool = self.first.ask("get_pool")
        ids = [row["id_hash"] for row in pool["transactions"]]
        self.browser.wait_for("document.querySelectorAll('main tbody tr').length === 3")
        shown = self.browser.run("[...document.querySelectorAll('main tbody tr')].map(row => row.dataset.k)")
        self.assertEqual(shown, ids)
        self.shot("mempool")
        self.search(paid)
        self.heading("Transaction")
        self.browser.wait_for("document.querySelector('h1 .tag.warm')")
        self.shot("transaction")
        self.first.generate(1, self.home.address)

    def test_6_peers_are_those_of_the_node(self):
        self.go("#/network")
        self.browser.wait_for("document.querySelector('main [data-peer]')")
        shown = self.browser.run(
            "[...document.querySelectorAll('main [data-peer]')].map(row => [Number(row.dataset.peer), row.dataset.address,"
            " row.querySelector('[data-l=Height]').textContent, row.querySelector('[data-l=Program]').textContent])"
        )
        said = self.first.ask("get_connections")["connections"]
        wanted = [[each["peer"], each["address"], str(each["height"] - 1), each["agent"]] for each in said]
        self.assertEqual(shown, wanted)
        self.shot("network")

    def test_7_inside(self):
        self.go("#/inside")
        self.heading("Inside")
        self.browser.wait_for("document.getElementById('x-owner') && document.getElementById('x-q-inbox')")
        inside = self.first.ask("get_inside")
        named = self.browser.run("[...document.querySelectorAll('table[aria-label=Threads] tbody .hash')].map(e => e.textContent)")
        self.assertLessEqual({thread["name"] for thread in inside["threads"]} - {"mine-0"}, set(named))
        for queue in inside["queues"]:
            self.browser.wait_for(f"document.getElementById('x-q-{queue['name']}')")
        [block] = self.second.generate(1, self.home.address)
        self.browser.wait_for(f"document.querySelector('[data-hash=\"{block}\"]')")
        self.browser.wait_for("document.querySelector('#x-owner.lit')")
        self.shot("inside")

    def test_8_small_and_dark(self):
        for scheme in ("light", "dark"):
            for width, height, phone in ((360, 740, True), (1200, 800, False)):
                self.browser.look(width, height, scheme, phone)
                for view in ("chain", "block/3", "network", "mempool", "inside"):
                    self.go(f"#/{view}")
                    self.browser.wait_for("document.querySelector('h1')")
                    wide = self.browser.run("document.documentElement.scrollWidth")
                    self.assertLessEqual(wide, width, f"{view} at {width} px")
                    self.shot(f"{view.replace('/', '-')}-{scheme}-{width}")
                dark = self.browser.run("matchMedia('(prefers-color-scheme: dark)').matches")
                paper = self.browser.run("getComputedStyle(document.body).backgroundColor")
                self.assertEqual((dark, paper == "rgb(21, 23, 26)"), (scheme == "dark",) * 2)
        self.browser.look(1200, 800)

    def test_9_it_shows_when_the_node_is_gone(self):
        self.go("#/chain")
        # Other pages that ask, too: as many as the node has places for.
        for _ in range(8):
            self.browser.call("Target.createTarget", url=self.first.url + "#/inside", background=True)
        self.browser.wait_for("document.getElementById('live').dataset.is === 'live'")
        self.assertEqual(self.first.stop(), 0)
        self.browser.wait_for("!document.getElementById('gone').hidden")
        self.shot("gone")
        # The browser itself says on the console that nobody answers.
        refused = [each for each in self.browser.problems if "ERR_" in each and "json_rpc" in each]
        self.assertEqual(refused, self.browser.problems)
        self.first.start()
        self.browser.wait_for("document.getElementById('gone').hidden")
        self.browser.problems.clear()
        [block] = self.first.generate(1, self.home.address)
        self.browser.wait_for(f"document.querySelector('.rows [data-k=\"{block}\"]')")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], failfast=True, verbosity=2)
