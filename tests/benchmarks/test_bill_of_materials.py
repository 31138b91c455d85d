"""The bill of materials: every installed package with its licence and hash, from what pip reports."""

import hashlib
import json
import sys
from pathlib import Path

import bill_of_materials
import pytest
from bill_of_materials import bill, licence_in, licences


def installed(name: str, sha256: str = "0" * 64, **metadata) -> dict:
    return {
        "download_info": {"url": "file:///nowhere", "archive_info": {"hashes": {"sha256": sha256}}},
        "metadata": {"name": name, "version": "1.2", **metadata},
    }


REPORT = {
    "install": [
        installed("Some_Tool", license="Apache-2.0"),
        installed("plain", "a" * 64, license_expression="MIT OR Apache-2.0"),
        installed(
            "Wordy.One", license="A licence\nof many lines", classifier=["License :: OSI Approved :: BSD License"]
        ),
        installed("silent"),
    ]
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "some_tool-1.2-py3-none-any.whl"
    path.write_bytes(b"a wheel")
    return path


def test_a_bill_has_each_package_with_version_hash_and_licence(wheel):
    found = json.loads(bill(REPORT, wheel))
    own = found["metadata"]["component"]
    assert (own["name"], own["version"], licence_in(own)) == ("some-tool", "1.2", "Apache-2.0")
    assert own["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"a wheel").hexdigest()}]
    parts = {part["purl"]: part for part in found["components"]}
    assert set(parts) == {f"pkg:pypi/{name}@1.2" for name in ("plain", "wordy-one", "silent")}
    assert parts["pkg:pypi/plain@1.2"]["hashes"][0]["content"] == "a" * 64
    said = {purl.split("/")[1].split("@")[0]: licence_in(part) for purl, part in parts.items()}
    assert said == {"plain": "MIT OR Apache-2.0", "wordy-one": "BSD License", "silent": "not said"}
    assert licences(found) == {"MIT OR Apache-2.0": 1, "BSD License": 1, "not said": 1}
    (needed,) = (each["dependsOn"] for each in found["dependencies"] if each["ref"] == own["bom-ref"])
    assert sorted(needed) == ["plain@1.2", "silent@1.2", "wordy-one@1.2"]
    assert "nowhere" not in json.dumps(found)


def test_the_command_writes_it_beside_the_wheel(wheel, tmp_path, monkeypatch, capsys):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    monkeypatch.setattr(sys, "argv", ["bill_of_materials.py", str(tmp_path / "report.json"), str(wheel)])
    bill_of_materials.main()
    assert json.loads((tmp_path / "some_tool-1.2.cdx.json").read_text())["bomFormat"] == "CycloneDX"
    assert "   1  BSD License" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "told"),
    [(None, "cannot read"), ("{", "is no report of pip"), ('{"install": [{}]}', "is no report of pip")],
)
def test_what_is_no_report_is_one_line(wheel, tmp_path, monkeypatch, text, told):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    monkeypatch.setattr(sys, "argv", ["bill_of_materials.py", str(tmp_path / "report.json"), str(wheel)])
    with pytest.raises(SystemExit) as stopped:
        bill_of_materials.main()
    assert told in str(stopped.value)
    assert "\n" not in str(stopped.value)
