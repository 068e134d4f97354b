import json
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest
from playwright.sync_api import Page, Route, expect

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of the tiny model, with metrics and stories that are still growing."""
    folder = tmp_path_factory.mktemp("runs") / "growing"
    shutil.copytree(model, folder / "model")
    (folder / "metrics.jsonl").write_text("".join(line(step) for step in range(1, 40)))
    (folder / "samples.jsonl").write_text("".join(told(step) for step in (10, 20, 30)))
    return folder


def told(step: int) -> str:
    stories = [{"prompt": "Once", "text": f" told at {step}"}, {"prompt": "", "text": "<b>A</b> fox."}]
    return json.dumps({"step": step, "tokens": 64 * step, "stories": stories}) + "\n"


def line(step: int) -> str:
    entry = {"step": step, "loss": 5 / step + 2, "tokens": 64 * step, "seconds": step}
    dev = {"step": step, "dev_loss": 5 / step + 2.1, "dev_bits_per_byte": 1.5 / step + 0.6, "seconds": step}
    return json.dumps(entry) + "\n" + (json.dumps(dev) + "\n" if step % 10 == 0 else "")


@pytest.fixture(scope="session")
def url(start_server, model: Path, run: Path) -> str:
    return start_server(model, run).url


def write(page: Page, prompt: str, length: int = 60) -> str:
    page.get_by_label("How the story begins").fill(prompt)
    page.get_by_label("Max tokens").first.fill(str(length))
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("The story is told.", timeout=30_000)
    return page.locator(".story").first.inner_text()


def test_a_story_is_written_and_again_with_another_seed(open_page: Open, url: str):
    page = open_page(url)
    first = write(page, "The cat")
    assert first.startswith("The cat") and len(first) > 20
    expect(page.locator(".below p")).to_contain_text("60 tokens, ")
    assert write(page, "The cat") == first
    page.get_by_role("button", name="Again").click()
    expect(page.get_by_label("Seed")).to_have_value("1")
    expect(page.get_by_role("status")).to_contain_text("The story is told.")
    assert page.locator(".story").inner_text() != first


def test_stop_ends_a_story_at_once(open_page: Open, url: str):
    page = open_page(url)
    page.route("**/v1/completions", lambda route: None)  # the answer never comes
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_enabled()


def test_two_models_write_side_by_side_and_a_link_brings_it_back(open_page: Open, url: str, model: Path, run: Path):
    page = open_page(url)
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_role("button", name="Side by side").click()
    page.get_by_label("Model").nth(1).select_option(str(run))
    page.get_by_label("Seed").nth(1).fill("9")
    write(page, "The dog")
    assert page.locator(".story").count() == 2
    settings = parse_qs(page.url.partition("?")[2])
    assert settings["model"] == [str(model)] and settings["model2"] == [str(run)]
    other = open_page(page.url)
    expect(other.get_by_label("How the story begins")).to_have_value("The dog")
    expect(other.get_by_label("Seed").nth(1)).to_have_value("9")
    expect(other.get_by_label("Temperature").nth(0)).to_have_value("0.5")
    expect(other.get_by_label("Model").nth(1)).to_have_value(str(run))
    other.get_by_role("button", name="One only").click()
    expect(other.get_by_label("Seed")).to_have_count(1)


def test_what_the_server_refuses_is_said(open_page: Open, url: str):
    page = open_page(url)
    page.get_by_label("Max tokens").fill("1000")
    with page.expect_response("**/v1/completions") as answer:
        page.get_by_role("button", name="Write", exact=True).click()
    assert answer.value.status == 400
    expect(page.get_by_role("alert")).to_contain_text("together they may be 128")


def test_every_token_can_be_looked_into(open_page: Open, url: str):
    page = open_page(url)
    text = write(page, "The cat sat", length=12)
    page.get_by_role("button", name="Look inside").click()
    expect(page.get_by_label("A text for the model to read")).to_have_value(text)
    tokens = page.get_by_role("listbox").get_by_role("option")
    expect(tokens.nth(10)).to_be_visible()
    count = tokens.count()
    assert count > 10
    tokens.nth(3).click()
    expect(page.locator(".look-detail")).to_contain_text("What the model expected")
    expect(page.locator(".look-detail")).to_contain_text("position 3")
    assert page.locator(".look-guesses").nth(0).locator("li").count() == 5
    assert page.locator(".look-guesses").nth(1).locator("li").count() == 3  # the embedding and two layers
    page.keyboard.press("Tab")
    page.get_by_role("listbox").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".look-detail")).to_contain_text("position 4")
    attended = page.locator(".look-token").evaluate_all(
        "all => all.map(one => +one.style.getPropertyValue('--attended'))"
    )
    assert sum(attended[:4]) == pytest.approx(1, abs=0.02) and not any(attended[4:])  # of the row that guessed it
    page.keyboard.press("End")
    expect(page.locator(".look-detail")).to_contain_text(f"position {count - 1}")
    page.get_by_role("group", name="Layer").get_by_role("button", name="1").click()
    page.get_by_role("group", name="Head").get_by_role("button", name="2").click()
    expect(page.get_by_role("group", name="Head").get_by_role("button", name="2")).to_have_attribute(
        "aria-pressed", "true"
    )
    assert page.locator("canvas").evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean)"
    )


def test_the_curves_of_a_run_grow(open_page: Open, url: str, run: Path):
    page = open_page(f"{url}/#training")
    caption = page.locator("figcaption")
    expect(caption).to_contain_text("step 39, loss 2.128; best dev score 0.6500 bits per byte")
    assert page.locator("svg circle").count() == 3
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line(40))
    expect(caption).to_contain_text("step 40", timeout=10_000)
    assert page.locator("svg circle").count() == 4


def test_what_a_run_told_is_shown_along_its_course(open_page: Open, url: str, run: Path):
    page = open_page(f"{url}/#training")
    slider = page.get_by_role("slider", name="After step 30, 1,920 tokens seen")
    expect(page.locator(".told .story")).to_have_text(["Once told at 30", "<b>A</b> fox."])
    slider.press("ArrowLeft")
    expect(page.locator(".told .story").first).to_have_text("Once told at 20")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "After step 20, 1,280 tokens seen")
    marked = page.locator(".curves .mark").get_attribute("x1")
    with (run / "samples.jsonl").open("a") as file:
        file.write(told(40))
    expect(page.get_by_role("slider")).to_have_attribute("max", "3", timeout=10_000)
    expect(page.locator(".told .story").first).to_have_text("Once told at 20")  # whoever has gone back stays there
    page.get_by_role("slider").press("End")
    expect(page.locator(".told .story").first).to_have_text("Once told at 40")
    assert marked != page.locator(".curves .mark").get_attribute("x1")
    with (run / "samples.jsonl").open("a") as file:
        file.write(told(50))
    expect(page.locator(".told .story").first).to_have_text("Once told at 50", timeout=10_000)  # at the end one follows


def test_any_text_is_split_while_it_is_typed(open_page: Open, url: str):
    page = open_page(f"{url}/#tokens")
    page.get_by_label("Any text").fill("é a\n")
    tokens = page.get_by_role("list", name="Tokens").get_by_role("listitem")
    expect(tokens).to_have_count(4)
    assert [text.split("\n")[0] for text in tokens.all_inner_texts()] == ["\\xc3", "\\xa9", "␣a", "⏎"]
    assert tokens.nth(0).get_attribute("class") == "part" and tokens.nth(2).get_attribute("class") is None
    expect(page.locator(".counts")).to_have_text("4 tokens4 different ones of 3005 bytes4 characters1.25 bytes a token")
    page.get_by_role("group", name="Below each token").get_by_role("button", name="bytes").click()
    expect(tokens.nth(2)).to_have_text("␣a20 61")
    page.get_by_label("Any text").fill("x" * 4001)
    expect(page.get_by_role("alert")).to_contain_text("at most 4000 characters")
    expect(tokens).to_have_count(0)
    page.get_by_label("Any text").fill("")
    expect(page.locator(".counts")).to_contain_text("0 tokens")


HIT = "document.title=1"
RUNS = (
    f"<script>{HIT}</script>",
    f"<script type=module>{HIT}</script>",
    f'<img src=x onerror="{HIT}">',
    f"<svg/onload={HIT}>",
    f"<svg><script>{HIT}</script></svg>",
    f"<svg><animate onbegin={HIT} attributeName=x dur=1s>",
    f'<iframe srcdoc="<script>parent.{HIT}</script>">',
    f'<iframe src="javascript:parent.{HIT}">',
    f'<object data="javascript:{HIT}">',
    f"<body onload={HIT}><body onpageshow={HIT}>",
    f"<input autofocus onfocus={HIT}>",
    f"<details open ontoggle={HIT}>",
    f"<video><source onerror={HIT}></video>",
    f"<math><mtext></math><img src onerror={HIT}>",
    f'<a autofocus tabindex=0 onfocus={HIT} href="javascript:{HIT}">x</a>',
    f"<style onload={HIT}>@import 'http://evil.example/x.css';</style>",
    f"<link rel=stylesheet href=data:, onload={HIT}>",
    f'<meta http-equiv=refresh content="0;url=javascript:{HIT}">',
    f'{{{{constructor.constructor("{HIT}")()}}}}',
    f"javascript:{HIT}//",
)
WAYS_OUT = ("", '">', "</textarea></script></style></title>", "' --><!]]>", "\\u003c\u0000\u202e")
HOSTILE = [out + run for run in RUNS for out in WAYS_OUT]


def test_text_is_never_run(open_page: Open, url: str, count: Callable[[int, int], int]):
    """As a prompt, typed or in a link; as what a model says (the server's answer is made to); and as tokens."""
    assert len(set(HOSTILE)) == 100
    page, said = open_page(url), ""

    def answer(route: Route) -> None:
        event = {"choices": [{"index": 0, "text": said, "finish_reason": "stop"}]}
        route.fulfill(body=f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n", content_type="text/event-stream")

    def nothing_ran() -> bool:
        foreign = page.locator("main").locator("img, iframe, script, style, object, video, link, meta, details")
        return page.title() == "tinytale" and foreign.count() == 0

    page.route("**/v1/completions", answer)
    for payload in HOSTILE[:: count(11, 1)]:
        said = payload
        write(page, payload, length=1)
        assert page.locator(".story").inner_text().count(payload[-10:]) >= 2
        page.get_by_role("link", name="Look inside").click()
        page.get_by_label("A text for the model to read").fill(payload)
        page.get_by_role("button", name="Look inside").click()
        expect(page.get_by_role("listbox").get_by_role("option").nth(5)).to_be_visible()
        assert nothing_ran()
        page.get_by_role("link", name="Tokens").click()
        page.get_by_label("Any text").fill(payload)
        expect(page.locator(".counts")).to_contain_text(f"{len(payload)} characters")
        assert nothing_ran()
        page.goto(f"{url}/#write?{urlencode({'prompt': payload, 'model': payload, 'seed': payload})}")
        expect(page.get_by_label("How the story begins")).to_have_value(payload.replace("\r", ""))
        assert nothing_ran()


@pytest.mark.parametrize("view", ["write", "look", "tokens", "training"])
def test_nothing_is_cut_off_on_a_phone_or_at_twice_the_size(open_page: Open, url: str, view: str):
    for viewport in ({"width": 320, "height": 640}, {"width": 600, "height": 400}):
        page = open_page(f"{url}/#{view}", viewport=viewport)
        page.wait_for_load_state("networkidle") if view != "training" else page.wait_for_selector("svg")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


CONTRAST = """
([ink, paper]) => {
  const light = (name) => {
    const probe = document.createElement('span');
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    probe.remove();
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(open_page: Open, url: str, scheme: str):
    page = open_page(url, color_scheme=scheme)
    for ink in ("--ink", "--quiet", "--accent", "--look-ink"):
        for paper in ("--paper", "--card"):
            assert page.evaluate(CONTRAST, [ink, paper]) >= 4.5, (ink, paper)
    assert page.evaluate(CONTRAST, ["--on-accent", "--accent"]) >= 4.5
    assert min(page.evaluate(CONTRAST, ["--edge", paper]) for paper in ("--paper", "--card")) >= 3


def test_nothing_blinks_for_whoever_wants_no_motion(open_page: Open, url: str):
    moves = "getComputedStyle(document.querySelector('.story'), '::after').animationName"
    for motion, name in (("no-preference", "blink"), ("reduce", "none")):
        page = open_page(url, reduced_motion=motion)
        page.locator(".story").evaluate("story => story.setAttribute('aria-busy', 'true')")
        assert page.evaluate(moves) == name


def test_a_row_that_is_pressed_in_the_matrix_opens_the_token_that_it_guessed(open_page: Open, url: str):
    page = open_page(f"{url}/#look")
    canvas = page.locator("canvas")
    expect(canvas).to_be_visible()
    box, count = canvas.bounding_box(), page.get_by_role("option").count()
    assert box
    canvas.click(position={"x": 3, "y": box["height"] * 5.5 / count})
    expect(page.locator(".look-detail")).to_contain_text("position 6")


def test_the_link_past_the_navigation_keeps_the_view_and_what_is_in_it(open_page: Open, url: str):
    page = open_page(f"{url}/#tokens")
    page.get_by_role("textbox").fill("Once there was")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main" and page.url.partition("#")[2].startswith("tokens")
    expect(page.get_by_role("textbox")).to_have_value("Once there was")


def test_an_address_that_names_no_view_shows_the_first(open_page: Open, url: str):
    page = open_page(f"{url}/#constructor")
    expect(page.get_by_role("button", name="Write")).to_be_visible()
    page.get_by_role("link", name="Tokens").click()
    expect(page.get_by_role("textbox")).to_be_visible()


def test_the_keyboard_alone_is_enough_to_write(open_page: Open, url: str):
    page = open_page(url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the story"
    for _ in range(40):
        page.keyboard.press("Tab")
        if (
            page.evaluate("document.activeElement.textContent") == "Write"
            and page.evaluate("document.activeElement.tagName") == "BUTTON"
        ):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The story is told.", timeout=30_000)
    assert page.evaluate("document.activeElement.textContent") == "Again"
