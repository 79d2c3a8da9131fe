"""A Chromium without a screen, driven over its debugging pipe with nothing but the standard library.

https://chromedevtools.github.io/devtools-protocol/: messages are JSON, each ended by a NUL; the browser reads them from
descriptor 3 and writes to 4. Everything that a page says on its console and all that it asks for is kept.
"""

import base64
import json
import os
import pathlib
import select
import subprocess
import time


class Browser:
    """One browser with one page."""

    def __init__(self, program, home):
        to_read, self.to_browser = os.pipe()
        self.from_browser, to_write = os.pipe()
        words = [program, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]
        words += [f"--user-data-dir={home}", "--disable-background-networking", "--disable-component-update"]
        words += ["--disable-dev-shm-usage", "--hide-scrollbars", "--no-default-browser-check"]
        # Its own sandbox takes rights that root in a container does not have.
        words += ["--no-sandbox"] if os.getuid() == 0 else []
        # The shell puts the pipes where the browser looks for them, whatever numbers they have here.
        shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash"]
        with open(f"{home}.log", "wb") as log:
            self.process = subprocess.Popen(shell + words, pass_fds=(to_read, to_write), stdout=log, stderr=log)
        os.close(to_read)
        os.close(to_write)
        self.number, self.read = 0, b""
        self.events, self.problems, self.asked_for = [], [], []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """A command and its answer; what happens meanwhile is noted."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        # Those of a target are for the page, the others for the browser itself.
        if self.session and not method.startswith("Target."):
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next(60)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def next(self, seconds):
        while b"\0" not in self.read:
            if not select.select([self.from_browser], [], [], seconds)[0]:
                raise TimeoutError(f"the browser said nothing for {seconds} s")
            more = os.read(self.from_browser, 1 << 16)
            if not more:
                raise EOFError("the browser has ended")
            self.read += more
        line, self.read = self.read.split(b"\0", 1)
        message = json.loads(line)
        self.note(message.get("method"), message.get("params"))
        return message

    def note(self, method, params):
        if method == "Network.requestWillBeSent":
            self.asked_for.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:1000])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(params["args"])[:1000])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(json.dumps(params["entry"])[:1000])

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """What a piece of script comes to; a promise is waited for."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def wait_for(self, condition, seconds=20):
        """Until a piece of script is true: looked at with each picture that the page draws, so nothing is polled here."""
        script = f"""new Promise(done => {{
            const until = performance.now() + {seconds * 1000};
            const look = () => {{
                let is; try {{ is = {condition}; }} catch {{ is = false; }}
                if (is || performance.now() > until) done(Boolean(is)); else requestAnimationFrame(look);
            }};
            look();
        }})"""
        value = self.run(script)
        if not value:
            text = self.run("document.body.innerText.slice(0, 2000)")
            raise AssertionError(f"not within {seconds} s: {condition}\n{text}\n{self.problems}")
        return value

    def look(self, width, height, scheme="light", phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def shot(self, path):
        whole = self.run("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": self.run("innerWidth"), "height": min(whole, 4000), "scale": 1}
        png = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(png))

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except (EOFError, BrokenPipeError):
            pass
        began = time.monotonic()
        self.process.wait(timeout=20)
        return time.monotonic() - began
