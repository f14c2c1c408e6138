"""Asserts which blocks run_blocks finds in a text and what it makes of them."""
import sys
import unittest

sys.dont_write_bytecode = True
import run_blocks  # noqa: E402


class Blocks(unittest.TestCase):
    def test_finds_languages_reasons_and_lines(self):
        text = ("# T\n```cpp\nint main() {}\n```\n```text\nno\n```\n```sh no-run: needs root\napt\n```\n"
                "- item\n  ```sh\n  true\n    x\n  ```\n````text\n```cpp\n```\n````\n")
        found = [(b.place, b.language, b.reason, b.text) for b in run_blocks.blocks_of("a.md", text)]
        self.assertEqual(found, [("a.md:2", "cpp", None, "int main() {}\n"),
                                 ("a.md:8", "sh", "needs root", "apt\n"),
                                 ("a.md:12", "sh", None, "true\n  x\n")])

    def test_refuses_what_it_cannot_read(self):
        with self.assertRaisesRegex(ValueError, r"a\.md:1: what follows ```sh is .* got \"skip\""):
            run_blocks.blocks_of("a.md", "```sh skip\n```\n")
        with self.assertRaisesRegex(ValueError, r"a\.md:2: this fence is never closed"):
            run_blocks.blocks_of("a.md", "x\n```cpp\n")

    def test_completes_fragments(self):
        self.assertEqual(run_blocks.complete_program("int main() {}\n"), "int main() {}\n")
        self.assertEqual(run_blocks.complete_program("#include <map>\nf();\n"),
                         "#include <iostream>\n#include <tessera/tessera.hpp>\n#include <map>\n"
                         "namespace ts = tessera;\nint main() {\nf();\n}\n")

    def test_reports_failure_and_its_output(self):
        self.assertIsNone(run_blocks.run(["true"], "/", {}))
        self.assertRegex(run_blocks.run(["sh", "-c", "echo why; exit 3"], "/", {"PATH": "/usr/bin:/bin"}),
                         r"exit status 3\nwhy")


if __name__ == "__main__":
    unittest.main()
