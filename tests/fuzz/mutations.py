"""Ways to damage a file: by bytes, and by the numbers and lengths that its parts claim."""

import gzip
import hashlib
import io
import re
import struct
import zipfile

from hypothesis import strategies as st

LARGE = (0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**63 - 1)
TEXTS = (b"0", b"-1", b"7", str(10**12).encode(), b"9" * 30, b"1e99", b"nan", b"null")


def mutations():
    """Draw a few changes: a kind, a place as a fraction of the file, and what to put there."""
    change = st.tuples(
        st.sampled_from(("flip", "set", "int", "text", "cut", "drop", "repeat", "insert")),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 2**32 - 1),
    )
    return st.lists(change, min_size=1, max_size=4)


def mutate(content, changes):
    """Damage some bytes."""
    content = bytearray(content)
    for kind, place, value in changes:
        at = int(place * len(content))
        if kind == "flip" and content:
            content[at] ^= 1 << value % 8
        elif kind == "set" and content:
            content[at] = value % 256
        elif kind == "int":
            number = LARGE[value % len(LARGE)]
            form = ("<I", ">I", "<Q", ">Q")[value // 16 % 4]
            packed = struct.pack(form, number % 2 ** (8 * struct.calcsize(form)))
            content[at : at + len(packed)] = packed
        elif kind == "text":
            numbers = list(re.finditer(rb"\d+", content))
            if numbers:
                found = numbers[int(place * len(numbers))]
                content[found.start() : found.end()] = TEXTS[value % len(TEXTS)]
        elif kind == "cut":
            del content[at:]
        elif kind == "drop":
            del content[at : at + value % 64]
        elif kind == "repeat":
            content[at:at] = content[at : at + value % 64]
        else:
            content[at:at] = value.to_bytes(4, "little")
    return bytes(content)


def whole(content, changes):
    """Damage anything."""
    return mutate(content, changes)


def header(content, changes):
    """Damage the JSON at the beginning of a safetensors file, and keep its length right."""
    size = int.from_bytes(content[:8], "little")
    damaged = mutate(content[8 : 8 + size], changes)
    return len(damaged).to_bytes(8, "little") + damaged + content[8 + size :]


def zipped(content, changes):
    """Damage the pickle in torch's archive, and keep the archive's checksums right."""
    result = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as before,
        zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as after,
    ):
        for name in before.namelist():
            inside = before.read(name)
            after.writestr(name, mutate(inside, changes) if name.endswith("data.pkl") else inside)
    return result.getvalue()


def gzipped(content, changes):
    """Damage what a gzip file holds."""
    return gzip.compress(mutate(gzip.decompress(content), changes), 1)


def checkpoint(content, changes):
    """Damage what a checkpoint holds, and keep its own checksum right."""
    magic, _, payload = content.split(b"\n", 2)
    damaged = zipped(payload, changes)
    return b"\n".join([magic, hashlib.sha256(damaged).hexdigest().encode(), damaged])
