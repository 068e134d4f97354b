import json
import re

from tinytale.addons.serve.look_page import WEB, look_page

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;'
DATA = {
    "layers": 1,
    "heads": 1,
    "tokens": [{"id": 0, "text": HOSTILE, "bits": None, "candidates": [], "lens": []}],
    "attention": [["/w=="]],
}


def test_whatever_the_text_says_it_stays_text():
    page = look_page(DATA, HOSTILE, HOSTILE)
    assert "alert(1)</script>" not in page and "<img" not in page
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert inside and json.loads(inside[1]) == DATA
    assert len(re.findall("<script", page)) == 2


def test_the_page_asks_for_nothing_from_elsewhere():
    page = look_page(DATA, "Look inside", "tiny")
    assert not re.search(r"https?://|@import|url\(|\bimport\b", page)
    assert "export " not in page


def test_text_is_never_read_as_markup():
    for path in WEB.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text("utf-8")
        ), path
