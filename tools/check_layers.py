#!/usr/bin/env python3
"""Checks who includes whom. Usage: check_layers.py [ROOT]; exits 1 and names every line that breaks a rule.

The rooms, and what each may include besides itself and the public headers, stand in ROOMS. A room's
subfolders are its private matter: another room sees the headers that lie directly in it. A vendor's
header is included in one subfolder of the whole tree. Tests, tools, benchmarks and examples may
include anything but form no part of the library.
"""
import re
import sys
from pathlib import Path

PUBLIC = "include/tessera"
# room: {other room: regular expression that the path inside the other room must match}
TOP = r"[^/]+\.(hpp|def)"  # directly in the room
ANY = r".*"
ROOMS = {
    PUBLIC: {},
    "core": {},
    "array": {"core": ANY},
    "device": {"core": ANY},
    "kernels": {"core": ANY, "device": TOP, "array": r"[^/]*attributes[^/]*\.hpp"},
    "comm": {"core": ANY, "device": TOP},
    "io": {"core": ANY, "device": TOP},
    "scheduler": {"core": ANY, "array": ANY, "device": TOP, "kernels": TOP, "comm": TOP, "io": TOP},
}
# A device kind's kernels and links may use that kind's own streams and handles: kernels/cuda and comm/nccl see
# device/cuda.
SAME_KIND = {("kernels", "device"): lambda kind: kind, ("comm", "device"): {"nccl": "cuda"}.get}
FREE = ("tests", "tools", "benchmarks", "examples")
# Folders of the tree that hold no C++ of the project.
IGNORED = ("build", "cmake", "scripts", "docs", "out", "python")
VENDORS = {
    "BLAS and LAPACK": r"cblas\.h|lapacke\.h|openblas_config\.h",
    "Highway": r"hwy/.*",
    "SLEEF": r"sleef\.h",
    "libpng": r"png\.h",
    "NetCDF": r"netcdf\.h",
    "HDF5": r"hdf5\.h|H5.*\.h",
    "CUDA": r"cuda.*\.h|cublas.*\.h|cusolver.*\.h|nvrtc\.h",
    "OpenSSL": r"openssl/.*",
    "PMIx": r"pmix\.h",
    "NCCL": r"nccl\.h",
    "UCX": r"uc[pst]/.*",
}
SOURCE = {".hpp", ".cpp", ".h", ".def", ".cu", ".cuh", ".inc"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def sources(root):
    """Paths of the tree's C++ and CUDA files, relative to root."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        first = relative.parts[0]
        if path.suffix in SOURCE and not first.startswith((".", "build")) and first not in IGNORED:
            yield relative


def room_of(path):
    """The room that a repo-rooted path lies in, or None."""
    text = path.as_posix() if isinstance(path, Path) else path
    for room in (*ROOMS, *FREE):
        if text.startswith(room + "/"):
            return room
    return None


def rooted(name):
    """The path from the root of what `#include "name"` means."""
    return "include/" + name if name.startswith("tessera/") else name


def kind_of(path, room):
    """The subfolder of a room that a path lies in ("" for the room itself)."""
    inside = path[len(room) + 1:]
    return inside.split("/", 1)[0] if "/" in inside else ""


def vendor_of(name):
    """The vendor whose header `name` is, or None."""
    return next((v for v, pattern in VENDORS.items() if re.fullmatch(pattern, name)), None)


def check_include(source, room, name):
    """The rule that this include breaks, or None."""
    if room in FREE:
        return None
    target = rooted(name)
    other = room_of(target)
    if other is None:
        return f'"{name}" does not start at the root of the tree (a room, or tessera/)'
    if other in (room, PUBLIC):
        return None
    if other in FREE:
        return f"{room} may not include {other}"
    kin = SAME_KIND.get((room, other))
    if kin is not None and kin(kind_of(source, room)) == kind_of(target, other) != "":
        return None
    allowed = ROOMS[room].get(other)
    if allowed is None:
        return f"{room} may not include {other}"
    if not re.fullmatch(allowed, target[len(other) + 1:]):
        return f'{room} may not include "{name}": it is private to {other}'
    return None


def check_vendors(uses):
    """Breaches of "a vendor's header is included in one subfolder"."""
    for vendor, places in sorted(uses.items()):
        folders = sorted({"/".join(p.parts[:2]) if len(p.parts) > 2 else p.parts[0] for p, _ in places})
        for path, line in places:
            if len(path.parts) <= 2 or room_of(path) == PUBLIC:
                yield f"{path}:{line}: {vendor} headers belong in a subfolder of a room"
        if len(folders) > 1:
            yield f"{vendor} headers are included in {len(folders)} folders: {', '.join(folders)}; one may"


def find_cycle(edges):
    """A list of nodes that include each other in a ring, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        for following in sorted(edges.get(node, ())):
            ring = visit(following)
            if ring:
                return ring
        done.add(path.pop())
        return None

    for node in sorted(edges):
        ring = visit(node)
        if ring:
            return ring
    return None


def check(root):
    """Every breach below root, as lines to print, and the number of files read."""
    breaches, vendor_uses, files, rooms, count = [], {}, {}, {}, 0
    for path in sources(root):
        count += 1
        name, room = path.as_posix(), room_of(path)
        if room is None:
            breaches.append(f"{name}: lies in no room; rooms are {', '.join((*ROOMS, *FREE))}")
            continue
        for number, text in enumerate((root / path).read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(text)
            if not match:
                continue
            quoted, included = match[1] == '"', match[2]
            vendor = vendor_of(included)
            if vendor:
                if room in ROOMS:
                    vendor_uses.setdefault(vendor, []).append((path, number))
                continue
            other = room_of(rooted(included))
            if not quoted and other is None:
                continue
            breach = check_include(name, room, included)
            if breach:
                breaches.append(f"{name}:{number}: {breach}")
            files.setdefault(name, set()).add(rooted(included))
            if room in ROOMS and other in ROOMS and other != room:
                rooms.setdefault(room, set()).add(other)
    breaches.extend(check_vendors(vendor_uses))
    for what, edges in (("rooms", rooms), ("files", files)):
        ring = find_cycle(edges)
        if ring:
            breaches.append(f"{what} include each other: {' -> '.join(ring)}")
    return breaches, count


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent).resolve()
    breaches, count = check(root)
    for breach in breaches:
        print(breach)
    print(f"check_layers: {count} files, {len(breaches)} breaches")
    return 1 if breaches or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
