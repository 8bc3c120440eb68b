"""The page in a browser: what its script does, and that it asks for nothing but itself."""

import itertools
import json
import shutil

import pytest

from pgbench.boards.page import render_page

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
TABLE = "#on-policy-500k > .scroll table"


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)} on the PATH")
    with sync_api.sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield instance
        instance.close()


@pytest.fixture
def show(browser, tmp_path):
    """`show(model, "#fragment", width=...)` -> its open page; at the end: no error, no request."""
    file = tmp_path / "board.html"
    pages, wrong, asked = [], [], []

    def show(model, fragment="", width=1280, height=900, **options):
        file.write_text(render_page(model), encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        page.goto(file.as_uri() + fragment)
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]")
        return page

    yield show
    for page in pages:
        page.wait_for_timeout(50)
        page.close()
    assert wrong == []
    assert set(asked) == {file.as_uri()}


def column(page, number, table=TABLE):
    """The cells of a column, of the rows in sight."""
    lines = page.locator(f"{table} tbody tr:visible > :nth-child({number})")
    return [text.split("\n")[0].strip() for text in lines.all_inner_texts()]


def test_sorting(sample_model, show):
    page = show(sample_model())
    start = column(page, 2)
    assert column(page, 1) == ["1", "1", "1", "3", "5", "–"]
    speed = page.locator(f"{TABLE} thead button", has_text="steps/s")
    speed.click()
    found = [float(text.replace(",", "")) for text in column(page, 11)]
    assert found == sorted(found, reverse=True) and len(found) == 6
    head = page.locator(f"{TABLE} thead th", has_text="steps/s")
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator(f"{TABLE} .tie").count() == 0
    speed.press("Enter")  # by the keyboard, and the other way round
    assert [float(text.replace(",", "")) for text in column(page, 11)] == found[::-1]
    page.locator(f"{TABLE} thead button", has_text="rank").click()
    assert column(page, 2) == start
    assert page.locator(f"{TABLE} .tie").count() == 3


def test_rows_without_a_value_stay_last(sample_model, show):
    model = sample_model()
    model["tracks"][0]["rows"][1] |= {"cost": None}
    page = show(model)
    for _ in range(2):
        page.locator(f"{TABLE} thead button", has_text="wall time").click()
        assert column(page, 12)[-1] == "–"


def test_filters(sample_model, show):
    page = show(sample_model())
    track = page.locator("#on-policy-500k")
    search = track.get_by_role("searchbox")
    search.fill("PPO lr")
    assert column(page, 2) == ["ppo, lr=0.001, clip=0.3"]
    assert track.locator(".count").inner_text() == "1 of 6 rows; ranks as before"
    assert track.locator(".legend .chip").count() == 1
    assert track.locator(".panel.curves").first.locator("g[data-series]").count() == 1
    assert len(column(page, 2, "#off-policy-50k > .scroll table")) == 6  # the other track is free
    search.fill("")
    track.get_by_label("evidence").select_option("verified")
    assert column(page, 2) == ["trpo"]
    assert column(page, 2, "#on-policy-500k\\/hopper-v0 table") == ["trpo"]
    track.get_by_label("evidence").select_option("")
    track.get_by_label("tuning").select_option("paper")
    assert column(page, 2) == ["mdpo (paper form)", "trpo", "ppo", "reinforce"]
    assert page.locator(f"{TABLE} .tie").count() == 3


def test_legend_toggles_a_series_in_every_figure(sample_model, show):
    page = show(sample_model())
    figures = page.locator("#on-policy-500k .figures")
    panels = {
        kind: figures.locator(f".panel.{kind}").first for kind in ("curves", "profile", "cost")
    }
    for panel in panels.values():
        panel.scroll_into_view_if_needed()
        panel.locator("svg").wait_for()
    lines = {kind: panel.locator("g[data-series]") for kind, panel in panels.items()}
    assert {kind: found.count() for kind, found in lines.items()} == dict.fromkeys(panels, 6)
    chip = figures.locator(".chip", has_text="trpo")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    page.wait_for_function("document.querySelectorAll('.panel.cost g[data-series]').length < 7")
    for kind, found in lines.items():
        panels[kind].scroll_into_view_if_needed()
        page.wait_for_timeout(50)
        assert found.count() == 5, kind
    chip.press("Space")
    assert chip.get_attribute("aria-pressed") == "true"
    assert lines["curves"].count() == 6
    figures.locator("button", has_text="none").click()
    assert lines["curves"].count() == 0


def test_readout_of_a_plot(sample_model, show):
    model = sample_model()
    page = show(model)
    page.locator(".panel.curves").first.scroll_into_view_if_needed()  # it is drawn when near
    plot = page.locator(".panel.curves svg").first
    plot.scroll_into_view_if_needed()
    plot.locator(".area").hover()
    tip = page.locator("#page-tip")
    assert "environment steps" in tip.inner_text() and "trpo" in tip.inner_text()
    plot.focus()
    plot.press("ArrowLeft")
    step = int(tip.locator("p").inner_text().split()[0].replace(",", ""))
    row = next(r for r in model["tracks"][0]["tasks"]["hopper-v0"] if r["name"] == "trpo")
    point = next(p for p in row["curve"] if p["step"] == step)
    expected = f"{point['mean']:,.0f} [{point['low']:,.0f}, {point['high']:,.0f}]"
    assert expected in tip.inner_text()
    assert expected in page.locator("#page-spoken").text_content()


def test_many_lines_are_named_and_one_stands_out(sample_model, show):
    page = show(sample_model(algorithms=19))
    panel = page.locator("#on-policy-500k .panel.profile")
    panel.scroll_into_view_if_needed()
    panel.locator("svg").wait_for()
    names = panel.locator("[data-name]")
    lines = panel.locator("g[data-series]")
    assert names.count() == lines.count() == 19
    boxes = sorted(box["y"] for box in (names.nth(i).bounding_box() for i in range(19)))
    assert min(b - a for a, b in itertools.pairwise(boxes)) > 9  # none upon another
    opacity = "node => getComputedStyle(node).opacity"
    band = panel.locator("path.band").first
    assert band.evaluate(opacity) == "0"
    names.nth(0).hover()
    page.wait_for_timeout(250)
    shown = [float(lines.nth(i).evaluate(opacity)) for i in range(19)]
    assert sorted(shown)[:18] == [0.12] * 18 and max(shown) == 1
    assert panel.locator("path.band.lit").evaluate(opacity) == "0.2"
    page.mouse.move(2, 2)
    page.wait_for_timeout(250)
    assert {float(lines.nth(i).evaluate(opacity)) for i in range(19)} == {1}
    assert page.locator("#on-policy-500k .chip small").first.inner_text() == "1"


def test_marks_of_an_axis(sample_model, show):
    model = sample_model()
    env = model["tracks"][0]["environments"][0]
    env |= {"floor": -1e6, "reference": 1e6, "ceiling": 1e6}
    page = show(model)
    panel = page.locator("#on-policy-500k .panel.curves").first
    panel.scroll_into_view_if_needed()
    panel.locator("svg").wait_for()
    assert [t.strip() for t in panel.locator(".mark-name").all_text_contents()] == [
        "▴ reference = ceiling 1000000", "▾ floor -1000000",
    ]  # fmt: skip
    assert panel.locator("line.reference").count() == 0


def test_a_phone_has_the_number_beside_the_name(sample_model, show):
    model = sample_model()
    model["tracks"][0]["rows"][0]["changed"] = {"batch": 64}
    page = show(model, width=390, height=844)
    first = page.locator(f"{TABLE} tbody tr").first
    number = first.locator(".beside")
    number.scroll_into_view_if_needed()
    page.evaluate(f"document.querySelector('{TABLE}').parentNode.scrollLeft = 0")
    box = number.bounding_box()
    assert box["x"] + box["width"] <= 390
    value = model["tracks"][0]["rows"][0]["iqm"][0]
    assert number.inner_text().startswith(f"{value:.3f}")
    folded = page.locator("details").first
    assert folded.inner_text() == "1 setting changed"
    folded.locator("summary").click()
    assert "batch = 64" in folded.inner_text()


def test_axis_of_cost(sample_model, show):
    page = show(sample_model())
    figure = page.locator("#on-policy-500k [data-figure=cost]")
    figure.scroll_into_view_if_needed()
    figure.get_by_label("Horizontal axis").select_option("steps_per_s")
    assert (
        figure.locator("svg text", has_text="environment steps a second (log scale)").count() == 1
    )


def test_record_by_click(sample_model, show):
    model = sample_model()
    page = show(model, "#on-policy-500k")
    dot = page.locator("svg.seeds a").nth(3)
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    key = dot.get_attribute("href").removeprefix("#record=")
    dot.click()
    dialog = page.locator("dialog")
    assert dialog.is_visible() and page.url.endswith(f"#record={key}")
    (record,) = (r for i, r in model["records"].items() if i.startswith(key))
    text = dialog.inner_text()
    for word in (
        record["command"], record["checksum"], record["commit"], record["machine"],
        str(record["train_seed"]), "gymnasium", "1.4.0", "kl_coef", "Final episodes (20)",
        f"{record['score']:,.0f}",
    ):  # fmt: skip
        assert word in text, word
    assert dialog.locator("circle.episode").count() == 20
    dialog.get_by_role("button", name=f"copy {record['command']}").click()
    assert page.evaluate("window.copied") == record["command"]
    dialog.locator(".seeds-of a", has_text="7").click()
    assert "seed 7" in dialog.locator("h2").inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible() and page.url.endswith("#on-policy-500k")


def test_record_by_address(sample_model, show):
    model = sample_model()
    (failure,) = model["failures"]
    page = show(model, f"#record={failure['record'][:8]}")
    text = page.locator("dialog").inner_text()
    assert "failed" in text and failure["error"] in text
    page.evaluate("location.hash = '#record=zzz'")
    page.get_by_text("No record of this board starts with zzz.").wait_for()
    page.evaluate("location.hash = '#record='")
    page.locator("dialog").wait_for(state="hidden")
    first = sorted(model["records"])[0][0]
    page.evaluate(f"location.hash = '#record={first}'")
    page.get_by_text("give more digits").wait_for()
    page.get_by_role("button", name="close").click()
    assert not page.locator("dialog").is_visible()


def test_seeds_by_arrow_keys(sample_model, show):
    page = show(sample_model())
    strip = page.locator("svg.seeds").first
    assert strip.locator("a[tabindex='0']").count() == 1
    strip.locator("a").first.focus()
    page.keyboard.press("ArrowRight")
    second = strip.locator("a").nth(1)
    assert second.evaluate("node => node === document.activeElement")
    assert page.locator("#page-tip p").inner_text() == second.get_attribute("aria-label")
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()


def test_address_of_a_section(sample_model, show):
    page = show(sample_model(), "#off-policy-50k/depot-v0")
    page.wait_for_timeout(300)
    top = page.locator("#off-policy-50k\\/depot-v0").bounding_box()["y"]
    assert 0 <= top < 300
    assert page.locator("nav a[aria-current]").inner_text().startswith("Off-policy")


def test_themes(sample_model, show):
    model = sample_model()
    paint = "getComputedStyle(document.body).backgroundColor"
    series = "getComputedStyle(document.querySelector('.s0')).color"
    light, dark = show(model, color_scheme="light"), show(model, color_scheme="dark")
    assert light.evaluate(paint) != dark.evaluate(paint)
    assert light.evaluate(series) != dark.evaluate(series)
    light.get_by_role("button", name="Use the dark theme").click()
    assert light.evaluate(paint) == dark.evaluate(paint)
    light.reload()
    light.wait_for_selector("html[data-ready]")
    assert light.evaluate(paint) == dark.evaluate(paint)  # remembered
    light.emulate_media(media="print")
    assert light.evaluate(paint) == "rgb(252, 252, 250)"
    assert not light.locator("nav").is_visible()


def test_phone(sample_model, show):
    long = "an-exceedingly-long-name-" * 5
    model = json.loads(json.dumps(sample_model()).replace("awr", long))
    page = show(model, width=360, height=740)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # draws every figure
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") > 360
    page.evaluate(f"location.hash = '#record={next(iter(model['records']))}'")
    page.locator("dialog").wait_for()
    assert page.locator("dialog").bounding_box()["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_without_script(sample_model, show):
    page = show(sample_model(), java_script_enabled=False)
    assert page.locator("table:visible").count() == 10
    assert page.locator("figure:visible").count() == 0
    assert page.locator("button:visible").count() == 0
    assert "need JavaScript" in page.locator("noscript").inner_text()


def test_hostile_names_do_nothing(sample_model, show):
    hostile = json.dumps("</script><img src=x onerror='window.broken=1'>")[1:-1]
    text = json.dumps(sample_model())
    for word in ("awr", "kl_coef", "diverged", "Small control", "continuous checks"):
        text = text.replace(word, word + hostile)
    model = json.loads(text)
    page = show(model, f"#record={model['failures'][0]['record']}")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("dialog").is_visible()
    assert page.locator("img").count() == 0
    assert page.evaluate("window.broken") is None


@pytest.mark.parametrize(
    "shape", [{"algorithms": 0}, {"algorithms": 1, "seeds": 1}, {"algorithms": 40}]
)
def test_odd_boards(sample_model, show, shape):
    page = show(sample_model(**shape))
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    chips = page.locator("#on-policy-500k .chip")
    assert chips.count() == shape["algorithms"]
    shown = page.locator("#on-policy-500k .chip[aria-pressed=true]").count()
    assert shown == min(shape["algorithms"], 10)


def test_ten_thousand_records(sample_model, show):
    model = sample_model(algorithms=100, seeds=20)
    assert len(model["records"]) > 9900
    page = show(model)
    # Processor time of the page's thread: the wall clock also measures the machine's other work.
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent():
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

    before = spent()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert 0.05 < spent() - before < 3
    page.locator("svg.seeds a").first.click()
    assert page.locator("dialog").is_visible()


def test_details_of_a_run_are_numbers_lines_and_tables(sample_model, show):
    model = sample_model()
    key = sorted(model["records"])[0]
    model["records"][key]["details"] = {
        "front": [[0.0, 1.0], [0.5, 0.75], [1.0, 0.0]], "regret": [3.0, 2.5, 2.0], "gap": 0.125,
        "wide": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "none": [],
    }  # fmt: skip
    page = show(model, f"#record={key[:12]}")
    dialog = page.locator("#page-record")
    titles = dialog.locator("h3").all_inner_texts()
    at = titles.index("Measured")
    assert titles[at : at + 5] == ["Measured", "front", "regret", "wide", "Stamps"]
    assert "gap" in dialog.inner_text() and "0.125" in dialog.inner_text()
    assert dialog.locator("table.detail td").all_inner_texts() == list("123456")
    plots = dialog.locator(".panel.detail svg")
    for i, name in enumerate(("front", "regret")):  # drawn when they come into view
        dialog.locator(".panel.detail").nth(i).scroll_into_view_if_needed()
        plots.nth(i).locator("circle").nth(2).wait_for()
        plots.nth(i).locator(".area").hover()
        assert name in page.locator("#page-tip").inner_text()
    page.evaluate(f"location.hash = '#record={sorted(model['records'])[1][:12]}'")
    plots.first.wait_for(state="detached")  # another run has none
