"""Writes small trees, each with one breach, and asserts the line that check_layers prints for it."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, sys.argv.pop(1))
sys.dont_write_bytecode = True
import check_layers  # noqa: E402


def breaches(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return check_layers.check(Path(folder))[0]


class CheckLayers(unittest.TestCase):
    def test_allows_what_the_rooms_allow(self):
        self.assertEqual(breaches({
            "include/tessera/dtype.hpp": "#include <vector>\n#include \"tessera/export.hpp\"\n",
            "core/text.hpp": '#include "tessera/dtype.hpp"\n',
            "array/node.hpp": '#include "core/text.hpp"\n',
            "array/attributes.hpp": "#include <tessera/dtype.hpp>\n",
            "device/cuda/stream.hpp": '#include "device/device.hpp"\n',
            "kernels/registry.hpp": '#include "array/attributes.hpp"\n#include "device/device.hpp"\n',
            "kernels/host/gemm_openblas.cpp": "#include <cblas.h>\n#include \"hwy/highway.h\"\n",
            "kernels/cuda/launch.cpp": '#include "device/cuda/stream.hpp"\n',
            "scheduler/executor/executor.cpp":
                '#include "kernels/registry.hpp"\n#include "scheduler/plan/plan.hpp"\n',
            "tests/kernels/gemm_test.cpp":
                '#include <cblas.h>\n#include "gtest/gtest.h"\n#include "kernels/host/loops.hpp"\n',
        }), [])

    def test_public_headers_see_no_room(self):
        self.assertEqual(breaches({"include/tessera/array.hpp": '\n#include "core/text.hpp"\n'}),
                         ["include/tessera/array.hpp:2: include/tessera may not include core"])

    def test_lower_rooms_do_not_see_upper_ones(self):
        self.assertEqual(breaches({"core/text.cpp": '#include "array/node.hpp"\n'}),
                         ["core/text.cpp:1: core may not include array"])
        self.assertEqual(breaches({"io/npy/npy.cpp": "#include <scheduler/session.hpp>\n"}),
                         ["io/npy/npy.cpp:1: io may not include scheduler"])

    def test_library_does_not_see_its_tests(self):
        self.assertEqual(breaches({"core/text.cpp": '#include "tests/core/fake.hpp"\n'}),
                         ["core/text.cpp:1: core may not include tests"])

    def test_scheduler_sees_interfaces_alone(self):
        for name in ("kernels/cuda/launch.hpp", "kernels/host/loops.hpp", "io/zarr/zarr.hpp",
                     "comm/nccl/nccl.hpp", "device/cuda/stream.hpp"):
            self.assertEqual(
                breaches({"scheduler/session.cpp": f'#include "{name}"\n'}),
                [f'scheduler/session.cpp:1: scheduler may not include "{name}": '
                 f'it is private to {name.split("/")[0]}'])

    def test_kernels_see_attributes_but_no_nodes(self):
        self.assertEqual(breaches({"kernels/registry.hpp": '#include "array/node.hpp"\n'}),
                         ['kernels/registry.hpp:1: kernels may not include "array/node.hpp": '
                          "it is private to array"])

    def test_kinds_do_not_mix(self):
        self.assertEqual(breaches({"kernels/host/sum.cpp": '#include "device/cuda/stream.hpp"\n'}),
                         ['kernels/host/sum.cpp:1: kernels may not include "device/cuda/stream.hpp": '
                          "it is private to device"])

    def test_vendor_headers_keep_to_one_subfolder(self):
        self.assertEqual(
            breaches({"kernels/host/a.cpp": "#include <cblas.h>\n", "io/png/b.cpp": "#include <lapacke.h>\n"}),
            ["BLAS and LAPACK headers are included in 2 folders: io/png, kernels/host; one may"])
        self.assertEqual(breaches({"io/image.cpp": "#include <png.h>\n"}),
                         ["io/image.cpp:1: libpng headers belong in a subfolder of a room"])

    def test_rings_are_named(self):
        self.assertEqual(
            breaches({"core/a.hpp": '#include "core/b.hpp"\n', "core/b.hpp": '#include "core/a.hpp"\n'}),
            ["files include each other: core/a.hpp -> core/b.hpp -> core/a.hpp"])
        self.assertIn("rooms include each other: core -> device -> core",
                      breaches({"core/a.cpp": '#include "device/d.hpp"\n',
                                "device/d.hpp": '#include "core/c.hpp"\n', "core/c.hpp": ""}))

    def test_includes_start_at_the_root(self):
        self.assertEqual(
            breaches({"core/a.cpp": '#include "text.hpp"\n'}),
            ['core/a.cpp:1: "text.hpp" does not start at the root of the tree (a room, or tessera/)'])

    def test_every_file_has_a_room(self):
        found = breaches({"extras/a.cpp": ""})
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].startswith("extras/a.cpp: lies in no room; rooms are include/tessera, core"))


if __name__ == "__main__":
    unittest.main()
