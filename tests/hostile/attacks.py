"""Attacks on a file by its format: each takes the whole file's path and a generator, and spoils it.

They know formats, not our names, so that a file that is new is attacked as soon as it is made.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

Attack = Callable[[Path, Random], None]
GIGABYTE = 1 << 30


def flip(count: int) -> Attack:
    def attack(path: Path, rng: Random) -> None:
        data = bytearray(path.read_bytes())
        for _ in range(count if data else 0):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)

    return attack


def cut(path: Path, rng: Random) -> None:
    os.truncate(path, rng.randrange(max(path.stat().st_size, 1)))


def empty(path: Path, rng: Random) -> None:
    path.write_bytes(b"")


def zeroed(path: Path, rng: Random) -> None:
    data = bytearray(path.read_bytes())
    length = max(len(data) // 8, 1)
    at = rng.randrange(max(len(data) - length, 1))
    data[at : at + length] = bytes(length)
    path.write_bytes(data)


def grown(path: Path, rng: Random) -> None:
    """A hole of 20 GB at its end."""
    os.truncate(path, path.stat().st_size + 20 * GIGABYTE)


def pipe(path: Path, rng: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, rng: Random) -> None:
    path.unlink()
    path.mkdir()


def link_to_device(path: Path, rng: Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice(["/dev/zero", "/dev/urandom", "/dev/full"]))


def link_to_itself(path: Path, rng: Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def bound_socket(path: Path, rng: Random) -> None:
    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has 107 bytes at most
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def gone(path: Path, rng: Random) -> None:
    path.unlink()


ANY: dict[str, Attack] = {
    "a byte flipped": flip(1),
    "eight bytes flipped": flip(8),
    "cut": cut,
    "empty": empty,
    "zeroed block": zeroed,
    "20 GB hole": grown,
    "pipe": pipe,
    "folder": folder,
    "link to a device": link_to_device,
    "link to itself": link_to_itself,
    "socket": bound_socket,
    "gone": gone,
}

LITERALS = {
    "10^400": "1" + "0" * 400,
    "10^18": "1" + "0" * 18,
    "-1": "-1",
    "0": "0",
    "1.5": "1.5",
    "1e400": "1e400",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "NUL": '"\\u0000"',
    "surrogate": '"\\ud800"',
    "a traversal": '"../../../../etc/passwd"',
    "a megabyte of text": json.dumps("x" * 10**6),
    "a million": "[" + "0," * (10**6 - 1) + "0]",
    "nested": "[" * 200_000 + "]" * 200_000,
    "nested mappings": '{"a":' * 200_000 + "0" + "}" * 200_000,
    "null": "null",
    "true": "true",
    "a mapping": "{}",
    "a list": "[]",
    "an empty text": '""',
}
HOLE = "@@hole@@"


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a JSON file is; of long lists the first few."""
    found = [at] if at else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*at, key))
    elif isinstance(value, list):
        for i, item in enumerate(value[:3]):
            found += places(item, (*at, i))
    return found


def put(value: Any, at: tuple[Any, ...], literal: str) -> str:
    """The JSON text with a literal, which need be no JSON, in place of one value."""
    if not at:
        return literal
    holder = value
    for step in at[:-1]:
        holder = holder[step]
    holder[at[-1]] = HOLE
    return json.dumps(value).replace(json.dumps(HOLE), literal, 1)


def resealed(value: Any) -> Any:
    """Without its own sum, as a stranger would leave it out."""
    if isinstance(value, dict):
        value.pop("sum", None)
    return value


def json_literal(literal: str) -> Attack:
    def attack(path: Path, rng: Random) -> None:
        lines = path.read_bytes().splitlines()
        try:
            value = json.loads(path.read_bytes())
        except ValueError:  # a line each
            number = rng.randrange(len(lines))
            line = json.loads(lines[number])
            lines[number] = put(line, rng.choice(places(line)), literal).encode()
            path.write_bytes(b"\n".join(lines) + b"\n")
            return
        value = resealed(value)
        path.write_text(put(value, rng.choice(places(value) or [()]), literal))

    return attack


def unknown_key(path: Path, rng: Random) -> None:
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps({**resealed(value), "surprise": 1}))


JSON = {name: json_literal(text) for name, text in LITERALS.items()}
JSON_WHOLE = {
    **JSON,
    "an unknown key": unknown_key,
    "all nested": lambda path, rng: path.write_text("[" * 200_000),
    "no text": lambda path, rng: path.write_bytes(b"\xff\xfe\xfd"),
}


def of_ledger(change: Callable[[list[bytes], Random], list[bytes]]) -> Attack:
    """Change the lines of a ledger, `SUM PLACE KEY RECORD`."""

    def attack(path: Path, rng: Random) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(change(lines, rng)))

    return attack


def sealed(path: Path, line: bytes, key: bytes | None = None, record: bytes | None = None) -> bytes:
    """A line of a ledger with another key or record, and the sum that a stranger would compute."""
    _, place, old_key, old_record = line.rstrip(b"\n").split(b" ", 3)
    text = b"%b %b %b" % (place, key or old_key, old_record if record is None else record)
    digest = hashlib.sha256(b"%d %b" % (int(path.stem), text)).hexdigest()[:16]
    return b"%b %b\n" % (digest.encode(), text)


def ledger_literal(literal: str) -> Attack:
    """In place of a value of one record, which is sealed again."""

    def attack(path: Path, rng: Random) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        number = rng.choice([i for i, line in enumerate(lines) if line.endswith(b"}\n")])
        record = json.loads(lines[number].split(b" ", 3)[3])
        text = put(record, rng.choice(places(record)), literal)
        lines[number] = sealed(path, lines[number], record=text.encode())
        path.write_bytes(b"".join(lines))

    return attack


def ledger_key(key: bytes) -> Attack:
    def attack(path: Path, rng: Random) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        number = rng.randrange(len(lines))
        lines[number] = sealed(path, lines[number], key=key)
        path.write_bytes(b"".join(lines))

    return attack


def far_segment(path: Path, rng: Random) -> None:
    """A number far from the others: a writer must not fill the gap."""
    path.rename(path.with_name("99999999.jsonl"))


SEALED = {
    **{f"sealed {name}": ledger_literal(text) for name, text in LITERALS.items()},
    **{f"key {key.decode()[:20]}": ledger_key(key) for key in (b"-1", b"9" * 30, b"../../up")},
    **{"key of 10 MB": ledger_key(b"1" * 10**7), "key of control": ledger_key(b"\x1b[2J")},
}
"""What a stranger says in a ledger by its own rules; where it can be so, nobody can tell."""
LEDGER = {
    **SEALED,
    "a line gone": of_ledger(lambda lines, rng: lines[1:]),
    "a line twice": of_ledger(lambda lines, rng: [*lines, rng.choice(lines)]),
    "lines turned round": of_ledger(lambda lines, rng: [b"0" * 16 + b" 0 0 -\n", *lines[::-1]]),
    "a million lines": of_ledger(lambda lines, rng: [*lines, b"\n" * 10**6]),
    "a long line": of_ledger(lambda lines, rng: [*lines, b"0" * (40 << 20), b"\n"]),
    "an end of zeros": of_ledger(lambda lines, rng: [*lines, bytes(5000)]),
    "a far number": far_segment,
}

YAML_VALUES = {
    "10^400": "1" + "0" * 400,
    "1e400": "1e400",
    "infinity": ".inf",
    "nan": ".nan",
    "an empty int": '!!int ""',
    "a timestamp": "!!timestamp x",
    "0x": "0x",
    "sexagesimal": "1:99:99",
    "python": "!!python/object/apply:os.system [touch hacked]",
    "unknown tag": "!what ever",
    "binary": "!!binary x",
    "set": "!!set {a, b}",
    "NUL": '"\\0"',
    "surrogate": '"\\ud800"',
    "no character": '"\\Uffffffff"',
    "nested": "[" * 40_000,
    "nested mappings": "{a: " * 20_000,
    "a long list": "[" + "0," * 40_000 + "0]",
    "a million": "[" + "0," * 10**6 + "0]",
    "-1": "-1",
    "10^18": "1" + "0" * 18,
    "a mapping": "{}",
    "a list": "[]",
    "null": "null",
    "a traversal": "../../../up",
    "a long text": "x" * 50_000,
}


def yaml_value(text: str) -> Attack:
    """In place of the value of one line."""

    def attack(path: Path, rng: Random) -> None:
        lines = path.read_text().splitlines()
        choice = [
            i for i, line in enumerate(lines) if ":" in line and line.split(":", 1)[1].strip()
        ]
        i = rng.choice(choice)
        lines[i] = f"{lines[i].split(':', 1)[0]}: {text}"
        path.write_text("\n".join(lines) + "\n")

    return attack


def yaml_text(change: Callable[[str], str]) -> Attack:
    return lambda path, rng: path.write_text(change(path.read_text()))


def laughs(text: str) -> str:
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return text + "\n".join(lines) + "\n"


YAML = {
    **{name: yaml_value(text) for name, text in YAML_VALUES.items()},
    "a billion laughs": yaml_text(laughs),
    "a loop": yaml_text(lambda text: text + "more: &a [*a]\n"),
    "a merge key": yaml_text(lambda text: "<<: {kind: run}\n" + text),
    "a key twice": yaml_text(lambda text: text + text),
    "two documents": yaml_text(lambda text: text + "---\n" + text),
    "all nested": yaml_text(lambda text: "- " * 40_000),
    "a megabyte of lists": yaml_text(lambda text: text + "more: " + "[[]," * 250_000),
    "no text": lambda path, rng: path.write_bytes(b"\x80\x81"),
}


def rle_frame(size: int) -> bytes:
    """A zstd frame of zeros, 32 bytes a megabyte. Source: RFC 8878, 3.1.1."""
    block = 128 * 1024
    head = b"\x28\xb5\x2f\xfd" + bytes([0xC0 | 0x20]) + struct.pack("<Q", size)
    blocks = []
    for at in range(0, size, block):
        length = min(block, size - at)
        blocks.append((length << 3 | 1 << 1 | (at + block >= size)).to_bytes(3, "little") + b"\0")
    return head + b"".join(blocks)


def zstd(count: int) -> Attack:
    return lambda path, rng: path.write_bytes(rle_frame(GIGABYTE) * count)


CHUNK = {"1 GB": zstd(1), "16 x 1 GB": zstd(16)}


def tar_of(path: Path, change: Callable[[tarfile.TarInfo, int], None]) -> None:
    """The tar again, each header changed but not its data."""
    out = io.BytesIO()
    with tarfile.open(path) as old:
        for i, member in enumerate(old):
            data = old.extractfile(member)
            change(member, i)
            out.write(member.tobuf(tarfile.PAX_FORMAT))
            if data is not None:
                content = data.read()
                out.write(content + bytes(-len(content) % 512))
    path.write_bytes(out.getvalue() + bytes(1024))


def tar_header(name: str, value: Any) -> Attack:
    return lambda path, rng: tar_of(path, lambda m, i: setattr(m, name, value) if i == 1 else None)


def sparse(size: int) -> Attack:
    """A member of which nothing is there, as GNU tar writes them in pax headers."""

    def attack(path: Path, rng: Random) -> None:
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            member = tarfile.TarInfo("00000000-00000000-t0500.hr.png")
            member.pax_headers = {
                "GNU.sparse.major": "0",
                "GNU.sparse.minor": "1",
                "GNU.sparse.size": str(size),
                "GNU.sparse.numblocks": "1",
                "GNU.sparse.map": f"{size},0",
            }
            tar.addfile(member, io.BytesIO())

    return attack


def nested_pax(path: Path, rng: Random) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type = tarfile.XHDTYPE
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) * 200_000)


def pax_size(path: Path, rng: Random) -> None:
    """A pax header that says a size of 10^18 for its member."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("00000000-00000000-t0500.hr.png")
        member.pax_headers = {"size": str(10**18)}
        tar.addfile(member, io.BytesIO())


def gzipped(path: Path, rng: Random) -> None:
    """6 GB of zeros after the tar, gzipped: members of gzip may follow one another."""
    zeros = gzip.compress(bytes(64 << 20))
    path.write_bytes(gzip.compress(path.read_bytes()[:-1024]) + zeros * 96)


TAR = {
    "a huge size": tar_header("size", 10**15),
    "a negative size": tar_header("size", -512),
    "a traversal": tar_header("name", "../../../../tmp/out.hr.png"),
    "an absolute name": tar_header("name", "/etc/out.hr.png"),
    "a link": tar_header("type", tarfile.SYMTYPE),
    "a device": tar_header("type", tarfile.CHRTYPE),
    "a long name": tar_header("name", "n" * 100_000),
    "a name with NUL": tar_header("name", "a\0b.hr.png"),
    "sparse 20 GB": sparse(20 * GIGABYTE),
    "sparse 10^18": sparse(10**18),
    "nested pax headers": nested_pax,
    "pax size 10^18": pax_size,
    "gzipped, 6 GB": gzipped,
}


def parquet_of(*values: bytes | None) -> Attack:
    """Other pictures, in a file that is whole."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})

    def attack(path: Path, rng: Random) -> None:
        rows = [{"bytes": value, "path": "../../up.png"} for value in values]
        pq.write_table(pa.table({"image": pa.array(rows, kind)}), path, compression="zstd")

    return attack


def many_rows(path: Path, rng: Random) -> None:
    pq.write_table(pa.table({"image": pa.nulls(10**8, pa.binary())}), path)


def footer(length: int) -> Attack:
    def attack(path: Path, rng: Random) -> None:
        path.write_bytes(path.read_bytes()[:-8] + struct.pack("<I", length) + b"PAR1")

    return attack


def notes_of_pages(path: Path, rng: Random) -> None:
    """Bits of the first page's header, which says how much memory it takes."""
    data = bytearray(path.read_bytes())
    for at in rng.sample(range(4, 24), 3):
        data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def notes_at_the_end(path: Path, rng: Random) -> None:
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[-8:-4], "little")
    for _ in range(4):
        data[rng.randrange(len(data) - 8 - length, len(data) - 8)] = rng.randrange(256)
    path.write_bytes(data)


PARQUET: dict[str, Attack] = {
    "300 MB of zeros": parquet_of(bytes(300 << 20)),
    "one value many times": parquet_of(*[bytes(1_000_000)] * 1000),
    "paths alone": parquet_of(None, None),
    "10^8 rows": many_rows,
    "a footer of 4 GB": footer(2**32 - 1),
    "a footer of nothing": footer(0),
    "a page's header": notes_of_pages,
    "the footer": notes_at_the_end,
}


def nan_weights(path: Path, rng: Random) -> None:
    weights = load_file(path)
    weights[rng.choice(sorted(weights))].fill_(float("nan"))
    save_file(weights, path)


def header(text: str) -> Attack:
    data = struct.pack("<Q", len(text)) + text.encode()
    return lambda path, rng: path.write_bytes(data)


SAFETENSORS: dict[str, Attack] = {
    "NaN": nan_weights,
    "a header of 2^63": lambda path, rng: path.write_bytes(struct.pack("<Q", 2**63)),
    "a header nested": header("[" * 200_000),
    "a tensor of 10^17": header(
        '{"a":{"dtype":"F32","shape":[100000000000000000],"data_offsets":[0,4]}}'
    ),
}


def deflated(path: Path, rng: Random) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(256 << 20))


def pickled(path: Path, rng: Random) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("touch hacked",)

    torch.save({"recipe": Evil()}, path)


def saved(value: Any) -> Attack:
    return lambda path, rng: torch.save(value, path)


def changed_state(change: Callable[[Any], None]) -> Attack:
    def attack(path: Path, rng: Random) -> None:
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return attack


def stretched(state: Any) -> None:
    """Every tensor a view of one number, far larger than the file."""
    for key in list(state):
        if isinstance(state[key], dict) or hasattr(state[key], "items"):
            state[key] = {k: torch.zeros(1).expand(10**9) for k in state[key]}


TORCH = {
    "deflated": deflated,
    "pickled code": pickled,
    "a list": saved([1, 2]),
    "a text": saved("x"),
    "deep": saved([[[[[[[[[[[[]]]]]]]]]]]]),
    "stretched views": changed_state(stretched),
    "no keys": changed_state(lambda state: state.clear()),
    "texts": changed_state(lambda state: state.update({k: "x" for k in state})),
    "numbers": changed_state(lambda state: state.update({k: 10**30 for k in state})),
    "infinite": changed_state(lambda state: state.update({k: float("inf") for k in state})),
}


def flat(kind: str, mode: str = "1") -> Attack:
    """149 megapixels of one colour."""

    def attack(path: Path, rng: Random) -> None:
        Image.new(mode, (12_207, 12_207)).save(path, kind)

    return attack


def eight_large(path: Path, rng: Random) -> None:
    for i in range(8):
        Image.new("1", (12_207, 12_207)).save(path.with_name(f"large{i}.png"), "PNG")


def png_claim(path: Path, rng: Random) -> None:
    """A PNG whose header claims 10^9 x 10^9 pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 10**9, 10**9, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(head + path.read_bytes()[33:])


PHOTO = {
    "149 megapixels": flat("PNG"),
    "149 megapixels, colour": flat("PNG", "RGB"),
    "149 megapixels, TIFF": flat("TIFF"),
    "eight of 149 megapixels": eight_large,
    "a claim of 10^18 pixels": png_claim,
}


def page_count(path: Path, rng: Random) -> None:
    """An LMDB's meta pages that claim more pages than there are."""
    data = bytearray(path.read_bytes())
    for page in (0, 4096):
        data[page + 144 : page + 152] = struct.pack("<Q", 10**12)
    path.write_bytes(data)


LMDB: dict[str, Attack] = {
    "cut to a page": lambda path, rng: os.truncate(path, 4096),
    "cut to two pages": lambda path, rng: os.truncate(path, 8192),
    "cut to three pages": lambda path, rng: os.truncate(path, 12288),
    "one page less": lambda path, rng: os.truncate(path, path.stat().st_size - 4096),
    "claims 10^12 pages": page_count,
}

BY_FORMAT: dict[str, dict[str, Attack]] = {
    "json": JSON_WHOLE,
    "jsonl": JSON,
    "ledger": LEDGER,
    "yaml": YAML,
    "zstd": CHUNK,
    "tar": TAR,
    "parquet": PARQUET,
    "safetensors": SAFETENSORS,
    "torch": TORCH,
    "photo": PHOTO,
    "lmdb": LMDB,
    "other": {},
}


def format_of(path: Path) -> str:
    """By the file's first bytes and its ending."""
    with path.open("rb") as file:
        head = file.read(64)
    if path.suffix in (".png", ".jpg", ".webp", ".tif"):
        return "photo"
    if path.name == "data.mdb":
        return "lmdb"
    if path.suffix == ".safetensors":
        return "safetensors"
    if head.startswith(b"PK"):
        return "torch"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    if re.match(rb"[0-9a-f]{16} [0-9]+ ", head) and path.suffix == ".jsonl":
        return "ledger"
    if head[:1] in b"{[" and path.suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if head[:1] in (b"{", b"["):
        return "json"
    if path.suffix in (".tar", ".parquet"):
        return path.suffix[1:]
    return "yaml" if path.suffix in (".yaml", ".yml") else "other"
