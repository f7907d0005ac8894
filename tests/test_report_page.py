"""The report as a document: whole, reproducible, safe to send on, readable without a script and without eyes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys

import pytest
from click.testing import CliRunner

from ds2prof.analysis.host_timelines import CAUSES
from ds2prof.cli.report import command
from ds2prof.errors import Ds2profError, ExistsError, ReadError, UsageError
from ds2prof.parsers import read_all
from ds2prof.report import advice, glossary, html, style
from ds2prof.report.html import cells, kernel_tables, measurement, rendering, words
from tests.join_support import kineto_text, ncu_text, replayed, truth
from tests.known.cases import runs
from tests.known.formats import written
from tests.profiles import META, counters_profile, profile
from tests.ranks_support import Made
from tests.ranks_support import write as write_ranks
from tests.report_support import read

RUNS = {run.name: run for run in runs()}
HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "'\"><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[31mred\x07\x00",
    "abc\u202egnp.exe\u2066",
    "--></style><b>",
    "$\\frac{1}{0}$",
    "&lt;b&gt;&amp;",
    "line\nbreak\u2028and\u2029more",
    "\ud800half",
    "x" * 50_000,
)


def profiles_of(*paths):
    return [found for path in paths for found in read_all(str(path), tables=html.TABLES)]


def made(*paths, **options):
    return html.page(profiles_of(*paths), **options)


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return written(RUNS["communication"], "kineto", tmp_path_factory.mktemp("trace"))


@pytest.fixture(scope="module")
def page_text(trace):
    return made(trace)


@pytest.fixture(scope="module")
def page(page_text):
    return read(page_text)


def kernels_profile(names, *, step=1_000):
    rows = [(name, 0, 7, place * step, step // 2) for place, name in enumerate(names)]
    return profile(meta=META, kernels=(("name", "device", "stream", "start_ns", "dur_ns"), rows))


# ---- one document


def test_the_page_is_well_formed_and_no_id_stands_twice(page):
    assert page.first("html").attributes["lang"] == "en"  # reading it held the rest


def test_the_same_file_gives_the_same_bytes(trace, page_text):
    assert made(trace) == page_text


def test_nothing_is_fetched_from_anywhere(page_text):
    assert re.findall(r'(?:src|href|action|data|poster)="(?!#)[^"]*"', page_text) == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import", page_text) == []
    assert "http:" not in page_text
    assert "https:" not in page_text


def test_the_policy_names_the_one_style_sheet_and_the_one_script_and_nothing_else(page):
    policy = page.first("meta", http_equiv="Content-Security-Policy").attributes["content"]
    rules = dict(part.split(" ", 1) for part in policy.split("; "))
    assert rules["default-src"] == "'none'"
    (sheet,) = page.all("style")
    (script,) = [node for node in page.all("script") if "type" not in node.attributes]
    for node, rule in ((sheet, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256("".join(node.children).encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_no_element_has_a_style_or_a_handler_of_its_own(page):
    odd = [(node.tag, name) for node in page.walk() for name in node.attributes if name == "style" or name[:2] == "on"]
    assert odd == []


def test_the_folders_of_the_machine_are_not_told(page_text, trace):
    assert str(trace.parent) not in page_text


def test_all_sections_are_there_and_each_has_a_heading_that_names_it(page):
    names = [section.attributes["id"] for section in page.all("section")]
    wanted = ["facts", "ledger", "core", "phases", "kernels", "roofline", "iterations"]
    assert names == ["verdict", *(f"m0-{name}" for name in wanted), "definitions"]
    headings = {node.attributes["id"] for level in "1234" for node in page.all(f"h{level}") if "id" in node.attributes}
    assert {section.attributes["aria-labelledby"] for section in page.all("section")} <= headings


def test_the_contents_lead_to_every_section(page):
    targets = {link.attributes["href"] for link in page.first("nav").all("a")}
    assert targets == {f"#{section.attributes['id']}" for section in page.all("section")}


def test_every_link_leads_somewhere(page):
    names = {node.attributes["id"] for node in page.walk() if "id" in node.attributes}
    links = [node.attributes["href"] for node in page.walk() if node.tag in ("a", "use")]
    assert links
    assert [link for link in links if link[1:] not in names] == []


def test_the_first_screen_says_how_busy_what_was_lost_and_what_to_do(page):
    verdict = page.first("section", id="verdict")
    assert "busy for 63.3 % of the window" in verdict.first("h2").text
    titles = [node.text for node in verdict.all("h4")]
    assert titles == ["exposed communication", "time after the last operation", "launch calls"]
    assert all("Look at:" in item.text for item in verdict.first("ol").all("li"))
    assert "estimates only" in verdict.text
    assert "nsight" in verdict.text


def test_the_ledger_is_a_bar_whose_parts_are_the_whole_width(page):
    bar = page.first("figure", id="m0-ledger-bar")
    lengths = []
    for mark in [node for node in bar.all("g") if node.has_class("mark")]:
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", mark.first("path").attributes["d"])]
        lengths.append((max(numbers[::2]) - min(numbers[::2]), mark.attributes["aria-label"]))
    shares = [float(re.search(r"([\d.]+) % of the window", told)[1]) for _, told in lengths]
    assert sum(shares) == pytest.approx(100, abs=0.05)
    whole = sum(length for length, _ in lengths)
    for (length, _), share in zip(lengths, shares, strict=True):
        assert 100 * length / whole == pytest.approx(share, abs=0.2)


def test_what_is_missing_is_said_with_how_to_get_it(page):
    missing = [node.text for node in page.all("p") if node.has_class("missing")]
    assert any("shapes" in text and "with" in text for text in missing)
    assert all(text.startswith("Not in this file: ") for text in missing)


# ---- for whoever cannot see, or has no script


def test_every_table_has_a_caption_and_scoped_headings(page):
    for table in page.all("table"):
        assert table.all("caption")[0].text
        assert {head.attributes["scope"] for head in table.all("thead")[0].all("th")} == {"col"}
        rows = [row for part in (*table.all("tbody"), *table.all("tfoot")) for row in part.all("tr")]
        assert all([head.attributes["scope"] for head in row.all("th")] == ["row"] for row in rows if row.all("th"))


def test_every_drawing_says_what_it_shows(page):
    drawings = [node for node in page.all("svg") if node.has_class("figure")]
    assert len(drawings) >= 2
    assert all(len(node.attributes["aria-label"]) > 15 for node in drawings)
    others = [node for node in page.all("svg") if not node.has_class("figure")]
    assert all(node.attributes["aria-hidden"] == "true" for node in others)


def test_there_are_landmarks_and_a_way_past_the_contents(page):
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert page.first("a").attributes == {"class": "skip", "href": "#main"}


def test_without_a_script_every_row_is_there_and_no_dead_control_is_shown():
    names = [f"kernel_{number}" for number in range(120)]
    page = read(html.page([kernels_profile(names)]))
    rows = page.first("table", id="m0-kernels-table").all("tbody")[0].all("tr")
    assert len(rows) == 120
    assert not any("hidden" in row.attributes for row in rows)
    assert all("hidden" in node.attributes for node in page.walk() if node.has_class("scripted"))


@pytest.mark.parametrize("theme", style.THEMES)
def test_text_stands_out_from_what_is_behind_it(theme):
    for text in ("ink", "ink_soft", "link"):
        for behind in ("background", "surface"):
            assert style.contrast(style.colour(text, theme), style.colour(behind, theme)) >= 4.5, (text, behind)
    for role in (role for role in style.ROLES if role.startswith("cause")):
        if role not in style.HATCHES:  # texts on a hatch stand on a plate of the background
            assert style.contrast(style.label_colour(role, theme), style.colour(role, theme)) >= 4.5, role


def test_the_style_sheet_uses_no_colour_that_the_page_does_not_define():
    sheet = rendering.style_sheet()
    defined = set(re.findall(r"(--[\w-]+):", sheet))
    assert set(re.findall(r"var\((--[\w-]+)\)", sheet)) <= defined


def test_every_colour_class_of_a_drawing_has_a_rule(page):
    sheet = rendering.style_sheet()
    used = {
        name
        for drawing in page.all("svg")
        for node in drawing.walk()
        for name in (node.attributes.get("class") or "").split()
        if re.match(r"(f|s|on)-", name)
    }
    assert used
    assert {name for name in used if f".{name}{{" not in sheet} == set()


# ---- names of strangers


@pytest.fixture(scope="module")
def hostile():
    return html.page([kernels_profile(HOSTILE)], title=HOSTILE[0])


def test_hostile_names_add_no_element_and_no_attribute(hostile):
    tame = html.page([kernels_profile([f"name{place}" for place in range(len(HOSTILE))])], title="tame")
    ours = {"details", "summary"}  # full names behind short ones
    assert {node.tag for node in read(hostile).walk()} - ours == {node.tag for node in read(tame).walk()}
    assert len(read(hostile).all("script")) == 2
    assert len(read(hostile).all("img")) == 0


def test_hostile_names_are_told_in_full_where_they_are_short(hostile):
    text = read(hostile).first("table", id="m0-kernels-table").text
    for name in (HOSTILE[0], HOSTILE[2], HOSTILE[3], HOSTILE[7], HOSTILE[8]):
        assert name in text


def test_characters_that_steer_hide_or_turn_text_are_marked(hostile):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", hostile)
    assert "\N{REPLACEMENT CHARACTER}[31mred" in hostile
    hostile.encode("utf-8")


def test_a_name_of_fifty_thousand_characters_is_cut_in_its_middle(hostile):
    assert len(max(re.findall("x+", hostile), key=len)) < cells.NAME_CHARACTERS
    assert "xxx\N{HORIZONTAL ELLIPSIS}xxx" in hostile


def test_the_data_for_machines_cannot_end_its_element():
    text = rendering.script_json({"name": "</script><!--", "value": float("nan"), "amp": "&\u2028"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"name": "</script><!--", "value": None, "amp": "&\N{REPLACEMENT CHARACTER}"}


def test_a_hostile_sidecar_and_title_are_text(trace, tmp_path):
    path = tmp_path / "trace.json"
    path.write_bytes(trace.read_bytes())
    run = {"command": ["python", HOSTILE[0]], "preset": HOSTILE[1], "versions": {"torch": HOSTILE[2]}, "batch_size": 4}
    (tmp_path / "trace.json.meta.json").write_text(json.dumps({"schema": "ds2prof-meta/1", **run}))
    page = read(made(path, title=HOSTILE[1]))
    assert page.first("h1").text == HOSTILE[1]
    assert HOSTILE[0] in page.first("section", id="m0-facts").text
    assert len(page.all("script")) == 2


# ---- many names


def test_names_beyond_the_table_are_one_row_and_the_sums_hold(monkeypatch):
    monkeypatch.setattr(kernel_tables, "MOST_NAMES", 10)
    page = read(html.page([kernels_profile([f"kernel_{number}" for number in range(25)])]))
    table = page.first("table", id="m0-kernels-table")
    assert len(table.all("tbody")[0].all("tr")) == 10
    rest, whole = table.all("tfoot")[0].all("tr")
    assert rest.first("th").text == "(15 further names)"
    assert [cell.text for cell in whole.all("td")][1] == "25"
    assert [cell.text for cell in rest.all("td")][1] == "15"


def test_full_names_stand_behind_a_short_one():
    names = ["void k<4, float>(float*)", "void k<8, float>(float*)"]
    page = read(html.page([kernels_profile(names)]))
    (folded,) = [node for node in page.all("details") if node.has_class("full")][:1]
    assert [item.text.split(" 1 calls")[0] for item in folded.all("li")] == names


# ---- several files


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    for batch in (4, 8):
        whole = truth(batch, launches=24, streams=1, iterations=3)
        (folder / f"torch_bs{batch}.json").write_text(kineto_text(whole))
        (folder / f"nsight_bs{batch}.csv").write_text(ncu_text(replayed(whole, mixed=True)))
        for name in (f"torch_bs{batch}.json", f"nsight_bs{batch}.csv"):
            facts = {"schema": "ds2prof-meta/1", "batch_size": batch, "precision": "fp32"}
            (folder / f"{name}.meta.json").write_text(json.dumps(facts))
    return folder


def test_files_of_several_batch_sizes_make_a_sweep_and_pairs_are_joined(batches):
    page = read(made(batches))
    table = page.first("table", id="sweep-table")
    rows = [row.first("th").text for row in table.all("tbody")[0].all("tr")]
    assert rows == ["4", "8"]
    heads = [head.attributes["data-column"] for head in table.first("thead").all("th")]
    assert {"batch_size", "gpu_compute_utilization", "step_ns", "fma", "tensor"} <= set(heads)
    titles = [heading.text for heading in page.all("h2")]
    assert [title for title in titles if title.startswith("Core utilization in the real run")] == [
        "Core utilization in the real run: batch 4",
        "Core utilization in the real run: batch 8",
    ]
    assert len([node for node in page.all("details") if node.has_class("measurement")]) == 4


def test_a_join_shows_the_pipes_of_the_real_run_first(batches):
    paths = [batches / "torch_bs4.json", batches / "nsight_bs4.csv"]
    page = read(made(*paths, sm_clock_hz=1.41e9))
    verdict = page.first("section", id="verdict")
    assert "Pipes in the real run" in verdict.text
    cells_there = [cell for cell in page.first("table", id="join0-core").all("td") if cell.attributes.get("data-value")]
    assert cells_there


def test_a_join_without_a_clock_shows_bounds(batches):
    page = read(made(batches / "torch_bs4.json", batches / "nsight_bs4.csv"))
    assert re.search(r"[\d.]+ % to [\d.]+ %", page.first("table", id="join0-core").text)


def test_the_ranks_of_a_run_are_compared(tmp_path):
    late = [[0, 5_000, 300_000], [0, 250_000, 1_000], [10_000, 0, 4_000], [0, 0, 90_000]]
    page = read(made(*write_ranks(tmp_path, Made(late, [0, 7_654_321, -123_456_789]))))
    assert [row.first("th").text for row in page.first("table", id="ranks-table").first("tbody").all("tr")] == list(
        "012"
    )
    assert page.first("table", id="ranks-straggler").first("tbody").all("tr")


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("ds2prof_run/tiny/input.jsonl", ["facts", "iterations"]),
        ("memory_csv/two_gpus/input.csv", ["facts", "memory"]),
        ("smi_csv/query_two_gpus/input.csv", ["facts", "core", "readings"]),
        ("torch_kineto/cpu_run/input.json.gz", ["facts", "phases", "kernels", "roofline", "iterations"]),
        (
            "torch_kineto/pm_sampling/input.json",
            ["facts", "ledger", "core", "phases", "kernels", "roofline", "iterations"],
        ),
    ],
)
def test_each_kind_of_file_has_its_sections(name, sections, golden):
    page = read(made(golden / name))
    found = [each.attributes["id"] for each in page.all("section")]
    assert [name for name in found if name.startswith("m0-")] == [f"m0-{name}" for name in sections]


def test_counters_alone_say_the_busiest_pipe_and_that_idle_time_is_not_known():
    page = read(html.page([counters_profile([("a", 1000, 0.5), ("b", 3000, 0.1)])]))
    assert "fma was the busiest pipe: 20.0 %" in page.first("h2", id="verdict-title").text
    assert "capture a timeline" in page.first("section", id="verdict").text


def test_warnings_of_reading_are_on_the_first_screen(trace):
    (found,) = profiles_of(trace)
    warned = profile(
        meta=META, warnings=("half of it was lost",), kernels=(("name", "start_ns", "dur_ns"), [("k", 0, 5)])
    )
    page = read(html.page([warned, found], failures=["not read: other.csv: is empty"]))
    listed = [item.text for item in page.first("details", class_="warnings").all("li")]
    assert listed[0] == "not read: other.csv: is empty"
    assert listed[1].endswith("half of it was lost")


# ---- words


def test_every_term_of_a_page_is_in_the_glossary_with_its_blind_spot(page):
    terms = {node.attributes["href"] for node in page.all("a") if node.has_class("def")}
    assert terms
    assert terms <= {f"#term-{term}" for term in glossary.GLOSSARY}
    for term in glossary.GLOSSARY:
        entry = page.first("div", id=f"term-{term}")
        assert "Blind spot:" in entry.text
        assert entry.first("dt").text == glossary.entry(term).term


def test_every_cause_of_the_ledger_has_a_name_a_meaning_and_advice():
    assert set(words.CAUSES) == set(words.MEANINGS) == set(words.NOUNS) == set(CAUSES)
    assert set(advice.ADVICE) == set(CAUSES) - {"compute"}


def test_every_column_leads_to_a_term_that_exists():
    terms = {term for _, term, _ in cells._COLUMNS.values()} - {None}
    assert terms <= set(glossary.GLOSSARY)
    assert {name for names in measurement._HANDLED.values() for name in names} >= {"facts", "ledger", "kernels"}


# ---- the command


def run(*arguments, code=0):
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def test_the_command_writes_one_page_and_says_so_on_standard_error(trace, tmp_path, page_text):
    output = tmp_path / "new" / "report.html"
    done = run(trace, "-o", output)
    assert done.stdout == ""
    assert "1 profile" in done.stderr
    assert output.read_text() == page_text
    assert [path.name for path in output.parent.iterdir()] == ["report.html"]
    assert [path.name for path in trace.parent.iterdir()] == [trace.name]


def test_an_existing_page_is_replaced_with_force_alone(trace, tmp_path):
    output = tmp_path / "report.html"
    run(trace, "-o", output)
    with pytest.raises(ExistsError, match="--force"):
        run(trace, "-o", output)
    run(trace, "-o", output, "--force", "--title", "Again")
    assert "<h1>Again</h1>" in output.read_text()


def test_neither_input_nor_anything_else_than_a_page_is_overwritten(trace, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    before = trace.read_bytes()
    with pytest.raises(UsageError, match="one of the files to read"):
        run(trace, "-o", trace, "--force")
    with pytest.raises(UsageError, match="is no page"):
        run(trace, "-o", other, "--force")
    assert (trace.read_bytes(), other.read_text()) == (before, "mine")


def test_a_bad_file_is_told_on_the_page_and_by_the_exit_code(trace, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("nothing of a profiler\n")
    output = tmp_path / "report.html"
    with pytest.raises(ReadError):
        run(trace, bad, "-o", output)
    text = read(output.read_text()).first("details", class_="warnings").text
    assert "not read: bad.csv: " in text
    assert str(tmp_path) not in output.read_text()


def test_without_jinja2_one_line_says_what_to_install(trace, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    rendering.template.cache_clear()
    with pytest.raises(Ds2profError, match=re.escape('pip install "ds2prof[report]"')):
        run(trace, "-o", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_without_any_profile_no_page_is_written(tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("nothing of a profiler\n")
    with pytest.raises(ReadError):
        run(bad, "-o", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_sidecars_that_a_star_brings_along_are_passed_over(batches, tmp_path):
    files = sorted(batches.glob("torch_bs4*"))
    assert len(files) == 2
    run(*files, "-o", tmp_path / "report.html")
    assert "batch size" in (tmp_path / "report.html").read_text().lower()


def test_a_page_of_fifty_thousand_kernels_under_five_thousand_names_stays_near_a_megabyte():
    names = [f"triton_poi_fused_add_native_layer_norm_view_{number % 5000}" for number in range(50_000)]
    text = html.page([kernels_profile(names, step=1_000)])
    assert len(text.encode()) < 1_100_000
    whole = read(text).first("table", id="m0-kernels-table").all("tfoot")[0].all("tr")[-1]
    assert [cell.text for cell in whole.all("td")][1] == "50,000"


def test_facts_of_the_run_are_said_in_words_and_empty_ones_are_left_out():
    run = {"dur_ns": 9_946_000_000, "window": {"start": 3, "stop": 6}, "clocks": {"sm": None}, "versions": {"t": "1"}}
    facts = {each.label: each.text for each in measurement._run_facts(run)}
    assert facts == {"Whole run took": "9.946 s", "Captured iterations": "3 to 5", "Versions": "t 1"}


def test_kernels_of_which_only_times_are_known_are_called_no_losses():
    columns = ("name", "device", "calls", "dur_ns")
    text = html.page([profile(kernels=(columns, [("a", 0, 12, 900), ("b", 0, 3, 100)]))])
    assert "<h3>Longest kernels</h3>" in text
    assert "Largest losses" not in text


def test_the_window_of_several_devices_is_told_as_the_terminal_tells_it():
    rows = [("k", device, 7, start, 150) for device in (0, 1) for start in (1000, 2000)]
    of = profile(kernels=(("name", "device", "stream", "start_ns", "dur_ns"), rows))
    one = read(html.page([of]))
    told = [each for each in one.all("data") if each.attributes.get("data-name") == "window_ns"]
    assert {each.attributes["value"] for each in told} == {"2300"}
    assert {each.text for each in told} == {"1.150 us on each of 2 devices"}
    assert "<h3>Largest losses, summed over 2 devices</h3>" in html.page([of])
    both = read(html.page([of, kernels_profile(["a", "b"])]))
    cells = [cell.attributes.get("data-value") for cell in both.first("table", id="files-table").all("td")]
    assert "1150" in cells
    assert "2300" not in cells


@pytest.mark.parametrize(("device", "asked"), [("NVIDIA H100", True), ("AMD Instinct MI300X", False)])
def test_the_page_sends_nobody_to_a_tool_that_does_not_know_the_device(device, asked):
    kernels = (("name", "device", "stream", "start_ns", "dur_ns"), [("k", 0, 7, 1000, 150)])
    text = html.page([profile(kernels=kernels, devices=(("device", "name"), [(0, device)]))])
    assert ("run nsight" in text) == asked
    assert ("on NVIDIA&#39;s devices alone" in text) != asked
