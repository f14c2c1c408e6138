"""Runs tiny workloads through benchmarks/run.sh and asserts what is written, and what compare.py makes of it.

usage: suite_test.py SOURCE_FOLDER BINARY_FOLDER
"""
import copy
import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

SOURCE, PROGRAMS = Path(sys.argv[1]), Path(sys.argv[2])
del sys.argv[1:3]
sys.dont_write_bytecode = True
sys.path.insert(0, str(SOURCE / "benchmarks"))
import compare  # noqa: E402
import participants  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402


def run_suite(folder, *arguments):
    return subprocess.run(["bash", str(SOURCE / "benchmarks/run.sh"), "--bin", str(PROGRAMS), "--rivals", "none",
                           "--output", folder, *arguments], capture_output=True, text=True, check=False, timeout=100)


def record(*seconds, **more):
    return {"first_seconds": seconds[0], "seconds": list(seconds), "peak_bytes": 1 << 20, **more}


def results(**rows):
    """Results as run.py writes them, with the given participants of each row."""
    ceilings = {name: {"rate": rate, "unit": unit, "all": [rate]} for name, rate, unit in
                (("copy", 1e10, "B/s"), ("dgemm", 1e11, "FLOP/s"), ("disk_write", 1e9, "B/s"), ("disk_read", 2e9, "B/s"))}
    return {"schema": 1, "command": ["benchmarks/run.sh"], "commit": "0", "date": "2026-01-01", "threads": 2,
            "machine": {"processor": "made up", "cores": 2, "blas": "none", "compiler": "none", "version": "0",
                        "memory_bytes": 1 << 34},
            "libraries": {"numpy": {"numpy": "2.0"}}, "ceilings": ceilings,
            "options": {"quick": True, "memory_bytes": 1 << 28, "edge": 1024},
            "rows": [{"name": name, "family": "host", "expression": "x < y", "bound": "memory", "bytes": 10**9,
                      "operations": 10**9, "load_average": 0.5, "participants": row} for name, row in rows.items()]}


class Runs(unittest.TestCase):
    """A real run of one family, made once."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.done = run_suite(cls.folder.name, "--quick", "--repeat", "1", "--only", "host", "--sizes", "64MiB")
        path = Path(cls.folder.name, "suite.json")
        cls.result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_succeeds_and_leaves_three_files(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.assertEqual(sorted(p.name for p in Path(self.folder.name).iterdir()),
                         ["suite.html", "suite.json", "suite.md"])

    def test_measures_every_row_beside_its_loop(self):
        names = [row["name"] for row in self.result["rows"]]
        self.assertEqual(len(names), 17)
        self.assertIn("sum_of_centred", names)
        for row in self.result["rows"]:
            for who in ("tessera", "floor"):
                found = row["participants"][who]
                self.assertEqual(len(found["seconds"]), 1, row["name"])
                self.assertGreater(found["seconds"][0], 0.0)
                self.assertGreater(found["peak_bytes"], 1 << 20)
            self.assertTrue(row["participants"]["floor"]["equal"], row["name"])
            self.assertGreater(row["participants"]["tessera"]["tasks"], 0)
            self.assertGreater(row["bytes"], 0)
            self.assertIn("load_average", row)

    def test_says_what_it_ran_on(self):
        self.assertEqual(self.result["schema"], run.SCHEMA)
        self.assertEqual(self.result["options"]["memory_bytes"], 64 << 20)
        self.assertIn("--only", self.result["command"])
        for key in ("processor", "cores", "blas", "compiler", "kernel", "memory_bytes", "load_average_after"):
            self.assertIn(key, self.result["machine"])
        self.assertEqual(sorted(self.result["ceilings"]), ["copy", "dgemm", "disk_read", "disk_write", "fresh_pages",
                                                           "loopback", "read", "sgemm", "triad"])
        for ceiling in self.result["ceilings"].values():
            self.assertGreater(min(ceiling["all"]), 0.0)

    def test_page_is_whole_and_needs_no_network(self):
        text = Path(self.folder.name, "suite.html").read_text(encoding="utf-8")
        for outside in ("http:", "https:", "src=", "@import", "<script"):
            self.assertNotIn(outside, text)
        pictures = [part.split("</svg>")[0] for part in text.split("<svg")[1:]]
        self.assertEqual(len(pictures), 2)
        for picture in pictures:
            xml.etree.ElementTree.fromstring("<svg" + picture + "</svg>")
        self.assertEqual(pictures[0].count("<circle"),
                         sum(1 for row in self.result["rows"] if row["operations"] > 0))
        self.assertEqual(pictures[1].count("<rect"), 17)


class Programs(unittest.TestCase):
    def test_rows_that_write_files_run(self):
        for name in ("netcdf_to_pile", "zarr_rechunk"):
            with tempfile.TemporaryDirectory() as folder:
                done = run_suite(folder, "--quick", "--only", name, "--repeat", "1", "--sizes", "64MiB")
                row = json.loads(Path(folder, "suite.json").read_text(encoding="utf-8"))["rows"][0]
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("error", row["participants"]["tessera"])
            self.assertGreater(len(row["participants"]["tessera"]["seconds"]), 0)

    def test_refuses_what_cannot_be_meant(self):
        for arguments, words in ((["--sizes", "much"], 'a size is "fit-memory" or a number with a unit'),
                                 (["--sizes", "1MiB"], "a size is at least 64MiB"),
                                 (["--only", "nothing", "--quick"], 'no workload or family is called "nothing"'),
                                 (["--rivals", "matlab"], "rivals are numpy, "), (["--repeat", "0"], "at least 1")):
            with tempfile.TemporaryDirectory() as folder:
                done = run_suite(folder, *arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(words, done.stderr)

    def test_a_library_that_dies_or_hangs_ends_alone(self):
        for program, words in (("exit 7", "ended with status 7"), ("sleep 30", "took more than 0.2 s"),
                               ("echo '{\"skipped\": \"no\"}'", None)):
            one = participants.Participant("x", ["bash", "-c", program], {"PATH": "/usr/bin:/bin"}, 0.2 if words else 5)
            self.assertFalse(participants.guarded(one, one.start))
            one.stop()
            self.assertEqual(one.problem, {"skipped": "no"} if words is None else {"error": one.problem.get("error")})
            self.assertIn(words or "no", str(one.problem))

    def test_results_are_equal_within_the_tolerance_alone(self):
        ours = {"shape": [2], "sample": [1.0, -4.0], "relative": 1e-3, "absolute": 0.0, "moments": False}
        near, far = {"shape": [2, 1], "sample": [1.0, -4.003]}, {"shape": [2], "sample": [1.0, -4.005]}
        self.assertTrue(participants.compare_results([ours], [near])["equal"])
        self.assertFalse(participants.compare_results([ours], [far])["equal"])
        for wrong in ({"shape": [3], "sample": [1.0, -4.0]}, {"shape": [2], "sample": [1.0, None]},
                      {"shape": [2], "sample": [1.0, float("nan")]}):
            self.assertFalse(participants.compare_results([ours], [wrong])["equal"])
        self.assertFalse(participants.compare_results([ours], [])["equal"])


class Compare(unittest.TestCase):
    def verdict(self, before, after):
        return compare.verdict({"seconds": before}, {"seconds": after})[0]

    def test_tells_moves_from_noise(self):
        steady, noisy = [1.0, 1.001, 0.999, 1.0], [1.0, 1.3, 0.8, 1.1]
        self.assertEqual(self.verdict(steady, [1.04] * 4), "same")
        self.assertEqual(self.verdict(steady, [1.10] * 4), "slower")
        self.assertEqual(self.verdict(steady, [0.90] * 4), "faster")
        self.assertEqual(self.verdict(noisy, [1.3, 1.2, 1.4, 1.25]), "same")
        self.assertEqual(self.verdict(noisy, [3.0, 3.1, 2.9, 3.0]), "slower")
        self.assertEqual(self.verdict([1.0], [1.2]), "same")

    def test_names_what_came_went_and_fails(self):
        a = results(sum=dict(tessera=record(1.0)), old=dict(tessera=record(1.0)), bad=dict(tessera=record(1.0)))
        b = results(sum=dict(tessera=record(1.0)), new=dict(tessera=record(1.0)), bad=dict(tessera={"error": "no"}))
        self.assertEqual({e["name"]: e["verdict"] for e in compare.compare(a, b)},
                         {"sum": "same", "old": "gone", "bad": "fails now", "new": "new"})

    def test_command_says_it_and_strict_fails(self):
        a = results(sum=dict(tessera=record(1.0, 1.0), numpy=record(2.0, 2.0, equal=True)))
        b = copy.deepcopy(a)
        b["rows"][0]["participants"]["tessera"] = record(1.5, 1.5)
        b["options"]["edge"] = 2048
        with tempfile.TemporaryDirectory() as folder:
            for name, value in (("a", a), ("b", b), ("c", {"schema": 9})):
                Path(folder, name + ".json").write_text(json.dumps(value), encoding="utf-8")
            def command(*names):
                return subprocess.run([sys.executable, str(SOURCE / "benchmarks/compare.py"), *names], cwd=folder,
                                      capture_output=True, text=True, check=False)
            moved, strict = command("a.json", "b.json"), command("--strict", "a.json", "b.json")
            broken, nothing = command("a.json", "c.json"), command("a.json")
        self.assertEqual((moved.returncode, strict.returncode, broken.returncode, nothing.returncode), (0, 1, 2, 2))
        self.assertIn("| `sum` | tessera | slower | 1 s | 1.5 s | 1.50 | 5% |", moved.stdout)
        self.assertIn("1 of 2 moved beyond noise", moved.stdout)
        self.assertIn("Not the same in both runs: edge: 1024 and 2048", moved.stdout)
        self.assertIn("holds no results of schema 1", broken.stderr)


class Report(unittest.TestCase):
    def test_ratios_and_verdicts(self):
        result = results(fast=dict(tessera=record(0.1), floor=record(0.1, equal=True), numpy=record(0.4, equal=True)),
                         slow=dict(tessera=record(0.4), numpy=record(0.2, equal=True), dask=record(0.1, equal=False)),
                         lost=dict(tessera=record(0.4), floor=record(0.1, equal=True), numpy=record(0.2, equal=True)),
                         bad=dict(tessera={"error": "[x] no"}))
        facts = {row["name"]: report.facts_of(result, row) for row in result["rows"]}
        self.assertEqual(facts["fast"]["verdict"], "")
        self.assertAlmostEqual(facts["fast"]["to_best"], 0.25)
        self.assertAlmostEqual(facts["fast"]["to_ceiling"], 1.0)
        self.assertEqual(facts["slow"]["verdict"], "results differ from those of dask")
        self.assertEqual(facts["slow"]["best"], ("numpy", 0.2))
        self.assertEqual(facts["lost"]["verdict"], "slower than numpy")
        self.assertEqual(facts["bad"]["verdict"], "failed")
        text = report.to_markdown(result)
        self.assertIn("- not slower than the best other library (within 5%): 1 of 3 rows", text)
        self.assertIn("- memory-bound rows within 1.5 of their loops: 1 of 2", text)
        self.assertIn("- `bad` fails: [x] no. Not explained yet.", text)

    def test_what_libraries_say_is_text_in_the_page(self):
        result = results(a=dict(tessera={"error": "<b>"}))
        self.assertIn("&lt;b&gt;", report.to_html(result))
        self.assertNotIn("<b>", report.to_html(result))

    def test_shows_the_rows_of_a_gpu(self):
        result = results(fast=dict(tessera=record(0.1)))
        self.assertNotIn("## GPU", report.to_markdown(result))
        result["gpu"] = json.loads((SOURCE / "benchmarks/results/gpu_h200.json").read_text(encoding="utf-8"))
        for text in (report.to_markdown(result), report.to_html(result)):
            self.assertIn("cupy ms", text)
            self.assertIn("add_transpose", text)

    def test_quotes_between_marks_and_nowhere_else(self):
        result = results(fast=dict(tessera=record(0.1), numpy=record(0.4, equal=True)))
        text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        quoted = report.quote(result, text, "suite.json")
        self.assertTrue(quoted.startswith(f"before\n{report.BEGIN}\n") and quoted.endswith(f"{report.END}\nafter\n"))
        self.assertNotIn("old", quoted)
        self.assertIn("| `fast` | 100 ms | - | 1.00 | numpy 400 ms | 0.25 |  |", quoted)
        self.assertEqual(report.quote(result, quoted, "suite.json"), quoted)
        with self.assertRaisesRegex(ValueError, "the document needs one line"):
            report.quote(result, "no marks", "suite.json")

    def test_documents_quote_the_committed_results(self):
        for path in sorted((SOURCE / "benchmarks/results").glob("suite_*.json")):
            document = path.with_suffix(".md")
            self.assertEqual(document.read_text(encoding="utf-8"), report.to_markdown(report.load(path)), document)
        readme = (SOURCE / "benchmarks/README.md").read_text(encoding="utf-8")
        source = SOURCE / "benchmarks/results/suite_host.json"
        self.assertEqual(readme, report.quote(report.load(source), readme, source.name))


if __name__ == "__main__":
    unittest.main()
