"""Mutators: what can happen to a file between the program that wrote it and ours."""

from __future__ import annotations

import random
from collections.abc import Callable

from .seeds import Files, gzip_bomb, npz_bomb

type Mutator = Callable[[random.Random, bytes], bytes]

TOKENS = [
    b"1e400", b"-1e400", b"9" * 400, b"nan", b"inf", b"-9", b"0x10", b"1_000", b"1,5", b'"', b"'",
    b'"a"', b"<script>alert(1)</script>", b'"><img src=x onerror=alert(1)>', b"\xe2\x80\xae",
    b"a" * 70000, b"=cmd()", b"+1", b"-", b"", b"\t", b" ", b"#", b"##", b"\xd9\xa3", b"\0",
    b"NA", b"0", b"F1", b"I1", b"IID", b"FID", b"..", b"../x", b"/", b"\x1b[31m", b"\xef\xbb\xbf",
    b"\x0b", b"\x0c", b"\x1c", b"\xc2\x85", b"\xe2\x80\xa8", b"\xc2\xa0", b"1" * 5000, b"--",
]  # fmt: skip
SIZES = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x7FFFFFFE, 0x80000000, 0xFFFFFFFF]


def _place(rng: random.Random, data: bytes, width: int = 1) -> int:
    return rng.randrange(max(1, len(data) - width + 1))


def _replace(data: bytes, start: int, stop: int, new: bytes) -> bytes:
    return data[:start] + new + data[stop:]


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16]) if out else 0):
        out[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(out)


def set_byte(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return _replace(data, at, at + 1, bytes([rng.choice([0, 255, 128, rng.randrange(256)])]))


def damage_header(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(min(64, max(1, len(data))))
    return _replace(data, at, at + 1, bytes([rng.randrange(256)]))


def size_field(rng: random.Random, data: bytes) -> bytes:
    width = rng.choice([2, 4, 4, 8])
    value = rng.choice([*SIZES, rng.randrange(1 << 32), (1 << 64) - 1, 1 << 40])
    value &= (1 << 8 * width) - 1
    at = _place(rng, data[: rng.choice([16, 64, 4096])], width)
    return _replace(data, at, at + width, value.to_bytes(width, "little"))


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice([rng.randrange(len(data) + 1), max(0, len(data) - 1)])]


def cut(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return _replace(data, at, at + rng.choice([1, 2, 3, 4, 8, 64]), b"")


def duplicate(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    piece = data[at : at + rng.choice([1, 2, 4, 8, 64])]
    return _replace(data, at, at, piece)


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return _replace(data, at, at, rng.randbytes(rng.choice([1, 1, 2, 4, 100])))


def append(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice([b"\0", b"\0" * 4, b"\n", b" \n", b"\r\n", rng.randbytes(5), data])


def insert_token(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return _replace(data, at, at, rng.choice(TOKENS))


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def change_field(rng: random.Random, data: bytes) -> bytes:
    """Exchange a field for something that does not belong there."""
    lines = _lines(data)
    if not lines:
        return data
    row = rng.randrange(len(lines))
    for separator in (b"\t", b",", b" "):
        if separator in lines[row]:
            break
    end = lines[row][len(lines[row].rstrip(b"\r\n")) :]
    fields = lines[row].rstrip(b"\r\n").split(separator)
    at = rng.randrange(len(fields))
    match rng.randrange(5):
        case 0:
            del fields[at]
        case 1:
            fields.insert(at, rng.choice(TOKENS))
        case 2:
            other = rng.choice(lines).split()
            fields[at] = rng.choice(other) if other else b""
        case _:
            fields[at] = rng.choice(TOKENS)
    lines[row] = separator.join(fields) + end
    return b"".join(lines)


def delete_line(rng: random.Random, data: bytes) -> bytes:
    lines = _lines(data)
    at = len(lines) - 1 if rng.random() < 0.3 else rng.randrange(max(1, len(lines)))
    return b"".join(lines[:at] + lines[at + 1 :])


def repeat_line(rng: random.Random, data: bytes) -> bytes:
    lines = _lines(data) or [b""]
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"".join(lines)


def swap_lines(rng: random.Random, data: bytes) -> bytes:
    lines = _lines(data) or [b""]
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def blank_line(rng: random.Random, data: bytes) -> bytes:
    lines = _lines(data)
    lines.insert(rng.randrange(len(lines) + 1), rng.choice([b"\n", b" \n", b"\t\t\n", b"\r\n"]))
    return b"".join(lines)


def line_ends(rng: random.Random, data: bytes) -> bytes:
    return data.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n", b"\r\r\n", b"\x0b", b""]))


def separators(rng: random.Random, data: bytes) -> bytes:
    return data.replace(rng.choice([b"\t", b" ", b","]), rng.choice([b"\t", b" ", b",", b"  "]))


def encode(rng: random.Random, data: bytes) -> bytes:
    match rng.randrange(4):
        case 0:
            return b"\xef\xbb\xbf" + data
        case 1:
            return data.decode("latin-1").encode("utf-16")
        case 2:
            return _replace(data, at := _place(rng, data), at + 1, b"\xe9")
        case _:
            return b"\xff\xfe" + data


def long_line(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    piece = rng.choice([b"x", b"1 ", b"1\t", b",", b" ", b"9"])
    return _replace(data, at, at, piece * 200_000)


def nothing(rng: random.Random, data: bytes) -> bytes:
    return rng.choice([b"", b"\n", b" ", b"\0", b"#", b"\xef\xbb\xbf"])


def noise(rng: random.Random, data: bytes) -> bytes:
    return rng.randbytes(rng.choice([1, 3, len(data), 1000]))


BYTES: list[Mutator] = [
    flip_bits, flip_bits, set_byte, set_byte, damage_header, damage_header, size_field, size_field,
    truncate, truncate, cut, duplicate, insert, append, insert_token,
]  # fmt: skip
TEXT: list[Mutator] = [
    change_field, change_field, change_field, change_field, delete_line, repeat_line, swap_lines,
    blank_line, line_ends, separators, encode, insert_token,
]  # fmt: skip
RARE: list[Mutator] = [nothing, noise, long_line]
BINARY = (".bed", ".pgen", ".bin", ".gz", ".npz", ".nc")


def mutate(rng: random.Random, seed: Files) -> tuple[Files, set[str]]:
    """A mutant of a file set, and the names of the files that were changed."""
    files, changed = dict(seed), set[str]()
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        name = rng.choice(sorted(files))
        data = files[name]
        chance = rng.random()
        if chance < 0.005:
            del files[name]
            changed.add(name)
            break
        if chance < 0.02 and len(files) > 1:
            other = rng.choice(sorted(files))
            files[name], files[other] = files[other], files[name]
            changed |= {name, other}
            continue
        if chance < 0.0205 and name.endswith((".npz", ".gz")):
            files[name] = npz_bomb() if name.endswith(".npz") else gzip_bomb()
        elif chance < 0.06:
            files[name] = rng.choice(RARE)(rng, data)
        elif name.endswith(BINARY):
            files[name] = rng.choice(BYTES)(rng, data)
        else:
            files[name] = rng.choice(TEXT if rng.random() < 0.7 else BYTES)(rng, data)
        changed.add(name)
    changed = {name for name in changed if files.get(name) != seed[name]}
    return files, changed
