import bz2
import gzip
import lzma

import pandas as pd
import pytest

from vagan.data.table import FORMULA, is_missing, read_table, with_known_columns, without_missing, write_table
from vagan.errors import ManifestError

EXPECTED = {"id": ["007", "010"], "class": ["Kontrolle", "Müdigkeit"], "age": ["60.5", "71"]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("blank_rows", [0, 2])
def test_one_table_in_every_form_that_spreadsheets_write(delimiter, encoding, newline, blank_rows, tmp_path):
    age = '"60,5"' if delimiter == "," else "60,5"
    rows = [("id", "class ", " age"), ("007", " Kontrolle", age), ("010", "Müdigkeit ", "71")]
    rows += [("", " ", "")] * blank_rows
    path = tmp_path / "a.csv"
    path.write_bytes((newline.join(delimiter.join(row) for row in rows) + newline).encode(encoding))
    assert read_table(path).to_dict("list") == EXPECTED


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,5", "2,25", "n/a", ""], ["1.5", "2.25", "n/a", ""]),
        (["1,5", "x"], ["1,5", "x"]),  # text
        (["1,500", "2,250"], ["1,500", "2,250"]),  # thousands, or thousandths
        (["1,500", "2,5"], ["1.500", "2.5"]),
        (["1.5", "2.5"], ["1.5", "2.5"]),
        (["a,b", "c"], ["a,b", "c"]),
    ],
)
def test_decimal_commas_only_where_nothing_else_can_be_meant(cells, expected, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f'{row},"{cell}"\n' for row, cell in enumerate(cells)), encoding="utf-8")
    assert list(read_table(path)["y"]) == expected


def test_columns_and_cells_in_special_cases(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x;y\n1;1,500\n2;2,250\n", encoding="utf-8")
    assert list(read_table(path)["y"]) == ["1.500", "2.250"]
    path.write_text('image\n"a;b.png"\nc.png\n', encoding="utf-8")
    assert list(read_table(path)["image"]) == ["a;b.png", "c.png"]


def test_missing_cells():
    cells = pd.Series(["NA", "n/a", "N/A", "nan", "#N/A", "", "None", "AD"])
    assert list(without_missing(cells)) == ["", "", "", "", "", "", "None", "AD"]
    assert is_missing(" NaN ")
    assert not is_missing("0")


def test_columns_that_differ_in_case_are_renamed_where_that_is_unambiguous():
    table = pd.DataFrame(columns=["Image", "CLASS", "Id", "ID", "age"])
    assert list(with_known_columns(table, ["image", "class", "id"])) == ["image", "class", "Id", "ID", "age"]


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-x", "-1e-5", "'quoted", "'-x", "-1"])
def test_formulas_are_text_for_a_spreadsheet_and_come_back(cell, tmp_path):
    write_table(tmp_path / "a.csv", pd.DataFrame({cell: [cell], "number": [-1.5]}))
    stored = pd.read_csv(tmp_path / "a.csv", dtype=str)
    assert not FORMULA.match(stored.columns[0])
    assert not FORMULA.match(stored.iloc[0, 0])
    assert read_table(tmp_path / "a.csv").to_dict("list") == {cell: [cell], "number": ["-1.5"]}


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_a_compressed_table_is_refused_before_it_can_explode(compress, tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(compress(b"a,b\n" + b"1,2\n" * 10**6))
    with pytest.raises(ManifestError, match="compressed"):
        read_table(tmp_path / "a.csv.gz")
