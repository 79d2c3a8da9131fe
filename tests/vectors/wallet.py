#!/usr/bin/env python3
"""The wallet's test vectors, computed a second time from RULES alone.

Nothing but Python's standard library: the curve, bech32m and ChaCha20-Poly1305 are written out here, slowly
and plainly, so that an error in the Rust code or in a crate cannot be in both. tests/wallet.rs holds what
this prints; run `python3 tests/vectors/wallet.py` to see it again.
"""
import hashlib
import struct

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
GY = 4 * pow(5, -1, P) % P


def x_of(y):
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return P - x if x & 1 else x


G = (x_of(GY), GY)


def add(p, q):
    (x1, y1), (x2, y2) = p, q
    k = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P
    return x, y


def mul(n, p):
    total = (0, 1)
    while n:
        if n & 1:
            total = add(total, p)
        p = add(p, p)
        n >>= 1
    return total


def enc(p):
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


def num(n):
    return n.to_bytes(32, "little")


def tagged(name, tag, *parts):
    h = hashlib.new(name, bytes([len(tag)]) + tag.encode())
    for part in parts:
        h.update(part)
    return h.digest()


def H(tag, *parts):
    return tagged("sha256", tag, *parts)


def Hs(tag, *parts):
    return int.from_bytes(tagged("sha512", tag, *parts), "little") % L


def sha256d(b):
    return hashlib.sha256(hashlib.sha256(b).digest()).digest()


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


CHARS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def bech32m(hrp, data):
    bits = int.from_bytes(data, "big") << (-len(data) * 8 % 5)
    count = (len(data) * 8 + 4) // 5
    values = [bits >> 5 * (count - 1 - i) & 31 for i in range(count)]
    check = 1
    for v in [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp] + values + [0] * 6:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ v
        for i, g in enumerate([0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]):
            check ^= g if top >> i & 1 else 0
    check ^= 0x2BC830A3
    return hrp + "1" + "".join(CHARS[v] for v in values + [check >> 5 * (5 - i) & 31 for i in range(6)])


def chacha_block(key, counter, nonce):
    state = list(struct.unpack("<4I8I4I", b"expand 32-byte k" + key + u32(counter) + nonce))
    w = state[:]

    def quarter(a, b, c, d):
        for x, y, z, r in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            w[x] = (w[x] + w[y]) & 0xFFFFFFFF
            w[z] ^= w[x]
            w[z] = (w[z] << r | w[z] >> (32 - r)) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(w, state)))


def aead(key, plain, data):
    nonce = bytes(12)
    stream = b"".join(chacha_block(key, 1 + i, nonce) for i in range((len(plain) + 63) // 64))
    cipher = bytes(a ^ b for a, b in zip(plain, stream))
    one = chacha_block(key, 0, nonce)
    r = int.from_bytes(one[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(one[16:32], "little")
    pad = lambda b: b + bytes(-len(b) % 16)
    mac = pad(data) + pad(cipher) + u64(len(data)) + u64(len(cipher))
    acc = 0
    for i in range(0, len(mac), 16):
        acc = (acc + int.from_bytes(mac[i : i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return cipher + ((acc + s) % 2**128).to_bytes(16, "little")


def sign(x, message):
    prefix = tagged("sha512", "spindle/nonce/1", num(x))[:32]
    key = enc(mul(x, G))
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % L
    R = enc(mul(r, G))
    c = int.from_bytes(hashlib.sha512(R + key + message).digest(), "little") % L
    return R + num((r + c * x) % L)


class Wallet:
    def __init__(self, words, genesis):
        seed = hashlib.pbkdf2_hmac("sha512", words.encode(), b"mnemonic", 2048)
        self.b = Hs("spindle/spend/1", seed)
        self.a = Hs("spindle/view/1", seed)
        self.k = H("spindle/tx-secret/1", seed)
        self.A, self.B = mul(self.a, G), mul(self.b, G)
        self.address = b"\x01" + genesis[:4] + enc(self.A) + enc(self.B)


def shared(r, wallet):
    return enc(mul(8, mul(r, wallet.A)))


def one_time(S, wallet, i):
    return enc(add(mul(Hs("spindle/output/1", S, u32(i)), G), wallet.B))


def tag(S, i):
    return H("spindle/view-tag/1", S, u32(i))[:1]


GENESIS = bytes.fromhex("8b5e1db968179304924716abd9c15ad83f823e2f4b908e31187cd4a18e7d647d")
alice = Wallet("legal winner thank year wave sausage worth useful " * 2 + "legal winner thank year wave sausage worth title", GENESIS)
bob = Wallet("abandon " * 23 + "art", GENESIS)
print("address", bech32m("regtest", alice.address))
print("view_key", bech32m("regtest-view", b"\x01" + GENESIS[:4] + num(alice.a) + enc(alice.B)))
print("a", num(alice.a).hex())
print("b", num(alice.b).hex())
print("k", alice.k.hex())

# A coinbase that pays Alice.
prev, height, amount = bytes(range(32)), 7, 2_012_345_678
r = Hs("spindle/coinbase/1", b"\x03" * 32, prev, u64(height), alice.address)
R, S = enc(mul(r, G)), shared(r, alice)
assert S == enc(mul(8, mul(alice.a, mul(r, G))))
coinbase = b"\x01" + u64(height) + u64(amount) + one_time(S, alice, 0) + tag(S, 0) + R
print("coinbase", coinbase.hex())

# Alice spends it: the change comes first, Bob's output second.
outpoint = sha256d(coinbase) + u32(0)
claim = outpoint + u64(amount) + one_time(S, alice, 0) + u64(height + 10)
x = (Hs("spindle/output/1", S, u32(0)) + alice.b) % L
assert enc(mul(x, G)) == one_time(S, alice, 0)
r = Hs("spindle/tx-key/1", alice.k, outpoint)
R = enc(mul(r, G))
own, his = shared(r, alice), shared(r, bob)
assert his == enc(mul(8, mul(bob.a, mul(r, G))))
change = u64(1_512_345_000) + one_time(own, alice, 0) + tag(own, 0)
payment = u64(500_000_000) + one_time(his, bob, 1) + tag(his, 1)
note = aead(H("spindle/note/1", his), "für das Brot".encode().ljust(64, b"\0"), R)
signed = b"\x01" + b"\x01\0" + claim + b"\x02\0" + change + payment + R + b"\x01" + note
digest = H("spindle/sign/1", GENESIS, signed)
transaction = signed + sign(x, digest + u32(0))
print("transaction", transaction.hex())

# Alice proves that she paid Bob.
context = sha256d(transaction) + bob.address + R + his
n = Hs("spindle/proof-nonce/1", num(r), context)
A8 = mul(8, bob.A)
c = Hs("spindle/proof/1", context, enc(mul(n, G)), enc(mul(n, A8)))
print("proof", bech32m("regtest-proof", b"\x01" + GENESIS[:4] + his + num(c) + num((n + c * r) % L)))
