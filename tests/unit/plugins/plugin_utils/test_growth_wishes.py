# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of volumes with a size each, in every form in which an operator has them."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.filter.growth_wishes import growth_wishes
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_wishes import WishError, wishes_of

GIB = 1024**3
THREE = [("rbd/vm1", 8 * GIB, False), ("vm4:vdb", 9 * GIB, True), ("nqn.2016-06.io.spdk:c1#1", 5 * GIB, False)]


def short(wishes: t.Sequence[dict[str, t.Any]]) -> list[tuple[str, int, bool]]:
    assert [wish["problem"] for wish in wishes] == [""] * len(wishes)
    return [(wish["volume"], wish["size_bytes"], wish["exact"]) for wish in wishes]


FORMS: dict[str, t.Any] = {
    "list": [{"volume": "rbd/vm1", "size": "8G"}, {"volume": "vm4:vdb", "size": "9G", "exact": True}, {"volume": "nqn.2016-06.io.spdk:c1#1"}],
    "mapping": {"rbd/vm1": "8G", "vm4:vdb": {"size": "9G", "exact": "yes"}, "nqn.2016-06.io.spdk:c1#1": None},
    "pairs and texts": [{"rbd/vm1": "8G"}, "vm4:vdb 9G exact", "nqn.2016-06.io.spdk:c1#1"],
    "lines": "# the ticket says\nrbd/vm1   8G\n\nvm4:vdb 9 G exact\nnqn.2016-06.io.spdk:c1#1\n",
    "lines with commas": "rbd/vm1,8G\nvm4:vdb, 9G, exact\nnqn.2016-06.io.spdk:c1#1",
    "lines of both": "rbd/vm1 8G\r\nvm4:vdb,9G,exact\r\nnqn.2016-06.io.spdk:c1#1\r\n",
    "lines with a header": "volume size exact\nrbd/vm1 8G\nvm4:vdb 9G exact\nnqn.2016-06.io.spdk:c1#1",
    "csv": 'volume,size,exact\nrbd/vm1,8G,\n"vm4:vdb","9G",true\nnqn.2016-06.io.spdk:c1#1,,\n',
    "csv in another order": "comment,exact,size,volume\nfor A,no,8G,rbd/vm1\n,yes,9G,vm4:vdb\n,,,nqn.2016-06.io.spdk:c1#1\n",
    "csv of a spreadsheet": "\ufeffVolume;Size;Exact\r\nrbd/vm1;8G;\r\nvm4:vdb;9G;TRUE\r\nnqn.2016-06.io.spdk:c1#1;;\r\n;;\r\n",
    "pasted from a spreadsheet": "volume\tsize\texact\nrbd/vm1\t8G\t\nvm4:vdb\t9G\t1\nnqn.2016-06.io.spdk:c1#1\t\t\n",
    "yaml": "---\n- volume: rbd/vm1\n  size: 8G\n- {volume: vm4:vdb, size: 9G, exact: true}\n- nqn.2016-06.io.spdk:c1#1\n",
    "yaml mapping": "rbd/vm1: 8G\nvm4:vdb: {size: 9G, exact: true}\nnqn.2016-06.io.spdk:c1#1:\n",
    "yaml with a key": "volumes:\n  - rbd/vm1: 8G\n  - vm4:vdb 9G exact\n  - nqn.2016-06.io.spdk:c1#1\n",
}
FORMS["json"] = json.dumps(FORMS["list"])
FORMS["json mapping"] = json.dumps(FORMS["mapping"], indent=2)
FORMS["json with tabs"] = json.dumps({"volumes": FORMS["list"]}, indent="\t")


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_says_the_same(form: str) -> None:
    assert short(wishes_of(FORMS[form], size="5G")) == THREE


@pytest.mark.parametrize(
    ("form", "name"),
    [("csv", "a.csv"), ("csv of a spreadsheet", "B.CSV"), ("yaml", "c.yml"), ("yaml mapping", "c.yaml"), ("json", "d.json"), ("lines", "e.txt"), ("csv", "f")],
)
def test_files_say_the_same(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, form: str, name: str) -> None:
    (tmp_path / name).write_text(FORMS[form], encoding="utf-8")
    assert short(wishes_of("", str(tmp_path / name), size="5G")) == THREE
    monkeypatch.chdir(tmp_path)
    assert short(wishes_of(None, name, size="5G")) == THREE


def test_a_size_and_handles_are_wishes_too_and_nothing_is_none() -> None:
    assert short(wishes_of("", "", "8G", True, ["a", "b"])) == [("a", 8 * GIB, True), ("b", 8 * GIB, True)]
    assert wishes_of(" \n", None, "8G") == []


def test_exact_for_all_unless_a_line_says_otherwise() -> None:
    assert short(wishes_of("volume,size,exact\na,8G,\nb,8G,no\n", exact=True)) == [("a", 8 * GIB, True), ("b", 8 * GIB, False)]


@pytest.mark.parametrize(
    ("given", "where", "text"),
    [
        ("a 1G\nb 800\nc 2G", "line 2", "has no unit; write 800G"),
        ("a 1G\nb 1,5G", "line 2", "cannot be read; write VOLUME SIZE"),
        ("a 1G\nb -1G", "line 2", "is not a size"),
        ("a 1G\nb 1000000B", "line 2", "not a whole number of MiB"),
        ("a 1G\n\n# x\nb 2000P", "line 4", "above the limit"),
        ("a 1G\nb", "line 2", "b has no size, and there is no size for all"),
        ("a 1G\na 1G", "line 2", "a is on line 1 already"),
        ("volume,size\na,1G\na,2G", "line 3", "a is on line 2 already"),
        ("volume,size\n,1G", "line 2", "no volume is named"),
        ("volume,size\na,1G,x", "line 2", "it has 3 cells, the header 2"),
        ('volume,size\na,1G\nb,"1G', "line 3", "it is no CSV"),
        ("volume,size,owner\na,1G,me", "line 2", "unknown key owner"),
        ("volume,size,exact\na,1G,perhaps", "line 2", "neither true nor false"),
        ("a: 1G\na: 2G", "line 2", "a is on line 1 already"),
        ("- volume: a\n  size: 1G\n  size: 2G", "line 1", "size is given twice"),
        ("- volume: a\n  size: [1G]", "line 1", "size is not text"),
        ("- [a, 1G]", "line 1", "a list in the list"),
        ("- volume: a\n  sise: 1G", "line 1", "unknown key sise"),
        ([{"volume": "a", "size": 800}], "entry 1", "has no unit"),
        ([{"volume": "a", "size": "1G"}, {"volume": "b", "size": True}], "entry 2", "is not a size"),
        ([{"size": "1G", "exact": False}], "entry 1", "no volume is named"),
    ],
)
def test_a_bad_line_is_named_and_the_others_stay(given: t.Any, where: str, text: str) -> None:
    bad = [wish for wish in wishes_of(given) if wish["problem"]]
    assert [wish["where"] for wish in bad] == [where] and text in bad[0]["problem"]


def test_all_bad_lines_are_there_at_once() -> None:
    assert [bool(wish["problem"]) for wish in wishes_of("a 800\nb 1G\nc\nb 2G\nd 1Q")] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "no size was given"),
        ({"volumes": []}, "volumes has no volume in it"),
        ({"volumes": {}}, "has no volume in it"),
        ({"volumes": "[]"}, "has no volume in it"),
        ({"volumes": "# nothing\n"}, "has no volume in it"),
        ({"volumes": "volume,size\n"}, "has no volume in it"),
        ({"volumes": "- a: [\n"}, "neither YAML nor JSON at line 2"),
        ({"volumes": '{\n\t"a": "1G",\n\t"a": "2G"}'}, "neither YAML nor JSON"),
        ({"volumes": 7}, "neither a list of volumes"),
        ({"volumes": "a 1G", "volumes_file": "x.csv"}, "more than one way"),
        ({"volumes": "a 1G", "handles": ["b"]}, "more than one way"),
        ({"volumes": [], "handles": ["b"], "size": "1G"}, "more than one way"),
        ({"volumes_file": "/none/x.csv"}, "/none/x.csv cannot be read on the controller: No such file"),
    ],
)
def test_what_is_no_list_is_one_sentence(arguments: dict[str, t.Any], text: str) -> None:
    with pytest.raises(WishError, match=text):
        wishes_of(**arguments)


def test_a_file_that_is_no_text(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(WishError, match="not UTF-8"):
        wishes_of(volumes_file=str(tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_text("", encoding="utf-8")
    with pytest.raises(WishError, match="has no volume in it"):
        wishes_of(volumes_file=str(tmp_path / "b.csv"))


def test_the_filter_takes_answers_of_forms() -> None:
    assert [wish["volume"] for wish in growth_wishes("", size="1G", volume="a, b", exact="")] == ["a", "b"]
    assert growth_wishes("a", size="1G", exact="true")[0]["exact"] is True
    with pytest.raises(AnsibleFilterError, match="no size was given"):
        growth_wishes("")
