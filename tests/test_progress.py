import re

from vagan import progress
from vagan.progress import Bar


def test_plain_lines_with_the_time_left_where_there_is_no_terminal(monkeypatch, capsys):
    now = iter(range(0, 9000, 100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with Bar(4, "training", done=1) as bar:
        bar.advance()
        bar.advance("ncc 0.5")
        bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[-1].startswith("training: ")
    assert re.search(r", \d+ (s|min \d\d s) left", lines[-1])
    assert any(line.endswith("ncc 0.5") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_what_was_done_before_does_not_count_for_the_time_left(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Bar(10, "preparing") as bar:
        for _ in range(5):
            bar.advance(skipped=True)
        clock[0] = 20.0
        bar.advance()  # one in 20 s; four are left
    assert capsys.readouterr().err == "preparing: 6/10, 1 min 20 s left\n"
