# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit's page in a real browser: what a reader clicks and types, and what hostile names do not do."""

from __future__ import annotations

import copy
import pathlib

import pytest
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._audit import report
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._report_growth import growth_page
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._report_html import page
from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import GIB, fleet
from conftest import HOSTILE

FILES = pathlib.Path(__file__).parents[3] / "roles/volume_growth/files"
SHOWN = "[...document.querySelectorAll('.volume')].filter(v => v.getClientRects().length || [...v.rows].some(r => r.getClientRects().length))"
NAMES = SHOWN + ".map(v => v.querySelector('.name').textContent.split('/').pop())"


@pytest.fixture(name="page")
def _page(browser, audit):
    browser.open(audit.url)
    yield browser
    assert browser.thrown == []


def images(browser) -> list[str]:
    """The shown volumes by the number of their image, from top to bottom; the one with the hostile name as ``x``."""
    return [name.rpartition("-")[2] if name.startswith("host-rbd-img-") else "x" for name in browser.value(NAMES)]


def head(browser, word: str) -> str:
    place = browser.value("[...document.querySelectorAll('#table thead th')].map(h => h.textContent)").index(word) + 1
    return f"#table thead th:nth-child({place})"


def test_the_worst_volumes_come_first(page) -> None:
    assert images(page)[:3] == ["3", "2", "7"]
    assert page.value("document.getElementById('count').value") == "8 volumes"


def test_columns_sort_both_ways_by_number(page) -> None:
    column = head(page, "disk")
    sizes = "[...document.querySelectorAll('.volume > tr:first-child')].map(r => Number(r.cells[%s].dataset.sort))"
    place = int(column.rpartition("(")[2][:-1]) - 1
    page.click(column + " button")
    up = page.value(sizes % place)
    assert up == sorted(up) and len(set(up)) > 1 and page.value(f"document.querySelector('{column}').ariaSort") == "ascending"
    page.focus(column + " button")
    page.key("Enter", "\r")
    assert page.value(sizes % place) == sorted(up, reverse=True) and page.value(f"document.querySelector('{column}').ariaSort") == "descending"
    page.click(head(page, "volume") + " button")
    assert page.value("document.querySelectorAll('[aria-sort=ascending], [aria-sort=descending]').length") == 1
    assert [name for name in images(page) if name != "x"] == ["1", "2", "3", "4", "5", "6", "7"]


def test_the_search_is_reached_by_a_key_and_finds_by_any_name(page) -> None:
    page.key("/", "/")
    page.type("vm4 h1")
    assert images(page) == ["4"]
    assert page.value("document.getElementById('count').value") == "1 of 8 volumes"
    assert page.value("[...document.querySelectorAll('.finding')].filter(f => !f.hidden).length") == 0
    assert page.value("location.hash") == "#q=vm4+h1"
    page.key("Escape")
    assert len(images(page)) == 8
    page.type("IMAGE-SMALLER")
    assert images(page) == [] and page.value("[...document.querySelectorAll('.finding')].filter(f => !f.hidden).length") == 2


def test_verdicts_filter_by_keyboard_and_the_address_keeps_it(page) -> None:
    page.focus(".tile.lagging")
    page.key(" ", " ")
    assert images(page) == ["2"]
    page.click(".tile.critical")
    assert images(page) == ["3", "2"]
    assert page.value("location.hash") == "#verdict=critical%2Clagging"
    address = page.value("location.href")
    page.open(address)
    assert images(page) == ["3", "2"] and page.value("document.querySelector('.tile.lagging').ariaPressed") == "true"


def test_verdicts_are_told_apart_by_colour(page) -> None:
    """Red, amber, grey and green, in both schemes; and the word is there for whoever sees no colours."""
    verdicts = ["critical", "lagging", "unproven", "ok"]
    for scheme in ("light", "dark"):
        page.media(prefers_color_scheme=scheme)
        colours = [page.value(f"getComputedStyle(document.querySelector('.volume .badge.{kind}')).color") for kind in verdicts]
        backgrounds = [page.value(f"getComputedStyle(document.querySelector('.volume .badge.{kind}')).backgroundColor") for kind in verdicts]
        assert len(set(colours)) == len(set(backgrounds)) == len(verdicts)
    assert [page.value(f"document.querySelector('.volume .badge.{kind}').textContent").partition(" ")[0].rstrip(":") for kind in verdicts] == verdicts
    page.media()


def test_a_path_opens_by_keyboard_and_shows_where_it_lags(page) -> None:
    visible = "document.querySelectorAll('svg')[%s].getClientRects().length > 0"
    volume = page.value("[...document.querySelectorAll('.volume')].findIndex(v => v.dataset.verdict === 'lagging')")
    assert page.value(visible % volume) is False
    page.focus(f"#v{volume} .name")
    page.key("Enter", "\r")
    assert page.value(visible % volume) is True and page.value(f"document.querySelector('#v{volume} .name').ariaExpanded") == "true"
    lagging = f"[...document.querySelectorAll('#v{volume} .box.lagging')].map(b => b.querySelector('title').textContent)"
    assert page.value(lagging) == ["disk h2:vm2:vdb: 106300440576 B", "guest h2:vm2:vdb: 106300440576 B"]
    page.click(f"#v{volume} .name")
    assert page.value(visible % volume) is False


def test_a_finding_leads_to_its_volume(page) -> None:
    page.click(".tile.ok")
    page.click(".finding a")
    page.until("document.querySelector('.volume.open') !== null")
    assert images(page)[0] == "3" and page.value("document.querySelector('.volume.open .name').textContent").endswith("img-3")


def test_hostile_names_are_text(browser, audit) -> None:
    browser.open(audit.url)
    browser.click("#open-all")
    assert browser.value("typeof window.hacked") == "undefined"
    assert browser.value("document.querySelectorAll('img, iframe, object, link, script').length") == 1
    assert HOSTILE in browser.value("document.querySelector('#findings').textContent")
    assert browser.value(f"[...document.querySelectorAll('.name')].some(n => n.textContent === {('pool-1/' + HOSTILE)!r})")
    assert browser.requests == [audit.url] and browser.logged == [] and browser.thrown == []


def test_a_script_from_elsewhere_would_not_run(browser, audit, tmp_path: pathlib.Path) -> None:
    """The page's own policy holds even where a name would not have been escaped."""
    from urllib.parse import unquote, urlparse

    text = pathlib.Path(unquote(urlparse(audit.url).path)).read_text()
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(text.replace("<main>", "<main><script>window.hacked=1</script><img src='http://192.0.2.1/x' onerror='window.hacked=2'>", 1))
    browser.open(spoilt.as_uri())
    assert browser.value("typeof window.hacked") == "undefined"
    assert len(images(browser)) == 8  # the page's own script did run
    assert any("Content Security Policy" in text for text in browser.logged)


def test_without_a_script_everything_can_be_read(browser, audit) -> None:
    browser.open(audit.url, scripts=False)
    assert len(images(browser)) == 8
    assert browser.value("document.querySelector('.tools').getClientRects().length") == 0
    browser.click("#v0 summary")
    assert browser.value("document.querySelector('#v0 svg').getClientRects().length") == 1


def test_dark_light_and_paper(page) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    seen = []
    for scheme in ("light", "dark"):
        page.media(prefers_color_scheme=scheme)
        seen.append(page.value(colour))
    assert seen[0] != seen[1]
    page.click("#v0 .name")
    page.media("print", prefers_color_scheme="dark")
    assert page.value(colour) == "rgb(255, 255, 255)"
    assert page.value("document.querySelector('.tools').getClientRects().length") == 0
    assert page.value("[...document.querySelectorAll('tr.path')].filter(r => r.getClientRects().length).map(r => r.id)") == ["p0"]
    page.media()


def test_a_thousand_volumes(browser, tmp_path: pathlib.Path) -> None:
    audited = report(fleet())
    rows = []
    for number in range(1000):
        row = copy.copy(audited["volumes"][number % 8])
        row.update(volume=f"pool-2/image-{number}", uuid=f"0a1b2c3d-0000-5000-8000-{number:012d}")
        rows.append(row)
    file = tmp_path / "many.html"
    file.write_text(page({**audited, "volumes": rows}, (FILES / "report.css").read_text(), (FILES / "report.js").read_text()))
    browser.open(file.as_uri())
    browser.click("#table thead th button")
    browser.click("#table thead th button")
    assert browser.value(NAMES + ".slice(0, 3)") == ["image-999", "image-998", "image-997"]
    browser.focus("#search")
    browser.type("image-77")
    assert len(browser.value(NAMES)) == 11
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")


def test_a_growth_shows_before_and_after_and_hostile_errors_are_text(browser, tmp_path: pathlib.Path) -> None:
    rows = copy.deepcopy(report(fleet())["volumes"])
    for number, row in enumerate(rows):
        grown = number % 2 == 0
        row.update(before_bytes={hop: size - GIB if grown else size for hop, size in row["bytes"].items()}, seconds={"bdev": 2.5, "device": 0.5})
        row.update(changed_hops=list(row["bytes"]) if grown else [], errors=[], held=None)
    told = {"hosts": [{"host": "h1", "stage": "rest", "hop": "device", "state": "lost", "error": HOSTILE}]}
    file = tmp_path / "growth.html"
    style, script = (FILES / "report.css").read_text(), (FILES / "report.js").read_text()
    file.write_text(growth_page({"volumes": rows, "failed": []}, told, style, script, {"run": HOSTILE}, [HOSTILE]))
    browser.open(file.as_uri())
    assert browser.value("document.title") == "Volume growth: 8 volumes, 0 not as wanted"
    assert browser.value("typeof window.hacked") == "undefined" and browser.value("document.querySelectorAll('img, script').length") == 1
    assert "h1: was lost at device (rest): " + HOSTILE in browser.value("document.querySelector('#hosts').textContent")
    before = "[...document.querySelectorAll('small.before')].map(s => s.textContent)"
    assert browser.value(before).count("was 99 GiB, 2.5 s") == 2 * 4 and browser.value("document.querySelector('#v1 small.before')") is None
    browser.click("#table thead th:nth-child(2) button")
    sizes = browser.value("[...document.querySelectorAll('.volume > tr:first-child')].map(r => Number(r.cells[1].dataset.sort))")
    assert sizes == sorted(sizes) and browser.thrown == [] and browser.logged == []
