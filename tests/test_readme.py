"""README names no test that does not exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_named_in_the_readme_exists() -> None:
    file, found = "", 0
    for path, name in re.findall(r"`([\w/]*\.py)?::(\w+)`", (ROOT / "README.md").read_text()):
        file = path or file
        source = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"{file}::{name}"
        found += 1
    assert found > 20
