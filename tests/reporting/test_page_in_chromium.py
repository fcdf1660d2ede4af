"""The report page in a browser: opened from a file, sorted, pointed at, read by keys, on a phone, and at night."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from secmi_exp.report import write_report
from tests.support.page_runs import swept
from tests.support.sweep_folder import SweepFolder

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of ten runs with a curve, of which one has a hostile dataset, and of one run whose TPR isn't resolved."""
    folder = tmp_path_factory.mktemp("page")
    swept(folder / "sweep", count=9, shrunk=10)  # as 13 tests read the page
    SweepFolder(folder / "other").job(["+attack=stat"], {"stat": 3.0}, dataset=HOSTILE)
    SweepFolder(folder / "small", each=50).job(["+attack=pia"], {"pia": 0.5})
    write_report([folder], folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def opened(file: Path, browser: Any) -> Iterator[Open]:
    """Opens the page; in the end nothing may have been asked of a network, or complained of."""
    complaints: list[str] = []
    pages = []

    def open_page(width: int = 1280, **settings: str) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900}, **settings)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def column(page: Any, place: int) -> list[str]:
    return page.locator(f"#comparison-table tbody tr > :nth-child({place})").all_inner_texts()


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.split()[0]) for cell in cells if "resolved" not in cell]


def test_headings_sort_by_pointer_and_keys_and_unresolved_stays_last(opened: Open) -> None:
    page = opened()
    auc, tpr = (page.locator("#comparison-table th", has_text=title) for title in ("AUC", "TPR"))
    assert auc.get_attribute("aria-sort") == "descending"
    auc.get_by_role("button").click()
    assert auc.get_attribute("aria-sort") == "ascending"
    assert numbers(column(page, 2)) == sorted(numbers(column(page, 2)))
    tpr.get_by_role("button").focus()
    for key, direction, sign in (("Enter", "descending", -1), ("Space", "ascending", 1)):
        page.keyboard.press(key)
        assert tpr.get_attribute("aria-sort") == direction
        assert auc.get_attribute("aria-sort") is None
        cells = column(page, 4)
        assert cells[-1] == "not resolved"
        assert numbers(cells) == sorted(numbers(cells), key=lambda value: sign * value)
    page.locator("#comparison-table th", has_text="run").get_by_role("button").click()
    names = column(page, 1)
    assert names == sorted(names)


def test_a_curve_tells_its_rates_under_the_pointer(opened: Open) -> None:
    page = opened()
    page.locator("#roc").scroll_into_view_if_needed()
    box = page.locator("#roc").bounding_box()
    assert box
    x, y = box["x"] + box["width"] * 200 / 560, box["y"] + box["height"] * 14 / 460  # the best curve is near the top
    page.mouse.move(x, y)
    read = page.locator("#roc-readout").inner_text()
    assert re.fullmatch(r".*FPR [\d.]+% \(\d+ of 120\), TPR [\d.]+% \(\d+ of 120\)", read)
    assert page.locator("#roc-cursor circle").is_visible()
    assert page.locator("#roc path.read").count() == 2  # on either scale
    page.mouse.move(0, 0)
    assert page.locator("#roc-cursor").is_hidden()


def test_arrow_keys_read_a_curve_and_go_to_another(opened: Open) -> None:
    page = opened()
    page.locator("#roc-scale").focus()
    page.keyboard.press("Tab")
    readout = page.locator("#roc-readout")
    first = readout.inner_text()
    assert "FPR" in first
    page.keyboard.press("ArrowRight")
    assert readout.inner_text() != first
    assert readout.locator("strong").inner_text() in first
    page.keyboard.press("ArrowDown")
    assert readout.locator("strong").inner_text() not in first


def test_the_axes_switch_between_linear_and_logarithmic(opened: Open) -> None:
    page = opened()
    switch = page.get_by_role("button", name="Logarithmic axes")
    linear, log = (page.locator(f'#roc [data-scale="{scale}"]') for scale in ("linear", "log"))
    assert (linear.is_visible(), log.is_visible()) == (True, False)
    switch.click()
    assert switch.get_attribute("aria-pressed") == "true"
    assert (linear.is_visible(), log.is_visible()) == (False, True)
    assert log.get_by_text("0.01", exact=True).count() == 2
    # The script's own scale is that of the picture: the cursor lies on the curve that it reads.
    page.locator("#roc-scale").focus()
    page.keyboard.press("Tab")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    place = page.locator("#roc-cursor circle").evaluate("circle => [circle.cx.baseVal.value, circle.cy.baseVal.value]")
    path = page.locator('#roc [data-scale="log"] path.read')
    assert path.evaluate("(path, [x, y]) => path.isPointInStroke(new DOMPoint(x, y))", place)


def test_the_legend_shows_and_hides_curves(opened: Open) -> None:
    page = opened()
    curves = page.locator('#roc [data-scale="linear"] .curve:not([hidden])')
    assert curves.count() == 8
    keys = page.locator("#roc-legend button")
    assert keys.count() == 11
    keys.last.click()
    assert keys.last.get_attribute("aria-pressed") == "true"
    assert curves.count() == 9
    page.get_by_role("button", name="Hide all").click()
    assert curves.count() == 0
    page.get_by_role("button", name="Show all").click()
    assert curves.count() == 11


def test_hostile_names_run_nothing_and_are_shown(opened: Open) -> None:
    page = opened()
    assert page.title() == "Membership inference: report"
    assert page.locator("#comparison-table").get_by_text(HOSTILE).count()
    page.locator("#roc-scale").focus()
    page.keyboard.press("Tab")  # reads the curve of the hostile name
    assert HOSTILE in page.locator("#roc-readout").inner_text()
    assert page.title() == "Membership inference: report"


def test_the_policy_lets_no_other_script_run(file: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto(file.as_uri())
    page.evaluate(
        "() => { const it = document.createElement('script'); it.text = 'taken = 1'; document.body.append(it) }"
    )
    assert page.evaluate("typeof taken") == "undefined"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_tables_and_never_the_page(opened: Open, scheme: str) -> None:
    page = opened(360, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    table = page.locator(".scroll", has=page.locator("#comparison-table"))
    assert table.evaluate("each => each.scrollWidth > each.clientWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")


def test_paper_gets_the_folded_tables_and_no_buttons(opened: Open) -> None:
    page = opened()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#rates").is_visible()
    assert page.locator("#roc-scale").is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#rates").is_hidden()


def test_a_screen_reader_finds_landmarks_headings_and_names(opened: Open) -> None:
    page = opened()
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("img", name=re.compile("^ROC True-positive rate over false-positive rate")).count() == 1
    assert page.get_by_role("table", name=re.compile("^Runs by AUC")).count() == 1
    assert page.get_by_role("rowheader", name=re.compile("pia")).count() >= 1
    assert page.locator("img:not([alt])").count() == 0
    identities = page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(identities) == len(set(identities))
    assert (
        page.evaluate(
            "[...document.querySelectorAll('[aria-labelledby], [aria-describedby]')].flatMap(each =>"
            "[each.getAttribute('aria-labelledby'), each.getAttribute('aria-describedby')].join(' ').split(' '))"
            ".filter(id => id && !document.getElementById(id))"
        )
        == []
    )
