"""Tables from users and untrusted sources: what is read, and what is refused, with file, row and column."""

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from {{ cookiecutter.package_name }}.datamodules import table_files
from {{ cookiecutter.package_name }}.datamodules.table_files import add_columns, read_table, write_table
from {{ cookiecutter.package_name }}.datamodules.table_values import is_numeric, need_columns, numbers, texts
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.logs import log


def written(folder: Path, content: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_file_is_read_as_it_stands(separator: str, tmp_path: Path) -> None:
    text = "\ufeffcarat,cut, price \n0.30,Very Good,326\n\n,NA,1e3\n".replace(",", separator)
    frame = read_table(written(tmp_path, text.replace("\n", "\r\n")))
    assert [*frame.columns] == ["carat", "cut", "price"]
    assert [*frame.index] == [2, 4]  # row numbers of a spreadsheet
    assert frame["carat"].iloc[0] == "0.30"
    assert numbers(frame, "carat", tmp_path).tolist()[0] == 0.3
    assert np.isnan(numbers(frame, "carat", tmp_path)[1])
    assert numbers(frame, "price", tmp_path).tolist() == [326, 1000]
    assert texts(frame, "cut").tolist() == ["Very Good", "NA"]  # Namibia


def test_csv_and_parquet_hold_the_same(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "x": [0.5, np.nan, 2.0], "t": ["a", None, "b c"], "y": [True, False, True]})
    for name in ("mine.csv", "mine.tsv", "mine.parquet"):
        write_table(frame, tmp_path / name)
        read = read_table(tmp_path / name)
        assert numbers(read, "n", tmp_path).tolist() == [1, 2, 3]
        np.testing.assert_equal(numbers(read, "x", tmp_path), [0.5, np.nan, 2.0])
        assert [each for each in texts(read, "t") if isinstance(each, str)] == ["a", "b c"]
        assert texts(read, "y").tolist() == ["True", "False", "True"]
        assert texts(read, "n").tolist() == ["1", "2", "3"]
        assert [is_numeric(read[column]) for column in "nxty"] == [True, True, False, False]


def test_numbers_of_a_csv_file_are_numbers_in_a_parquet_file(tmp_path: Path) -> None:
    write_table(read_table(written(tmp_path, "a,b\n1,x\n,2\n3,4\n")), tmp_path / "out.parquet")
    read = pd.read_parquet(tmp_path / "out.parquet")
    assert read["a"].dtype == np.float64
    assert read["b"].tolist() == ["x", "2", "4"]


def test_types_of_parquet_that_are_no_plain_numbers_are_texts(tmp_path: Path) -> None:
    times = pd.to_datetime(["2020-01-01", "NaT"])
    columns = {"list": [[1, 2], [3]], "time": times, "answer": [True, None], "blank": ["", "a"]}
    pd.DataFrame(columns).to_parquet(tmp_path / "mine.parquet")
    frame = read_table(tmp_path / "mine.parquet")
    assert not any(is_numeric(frame[column]) for column in columns)
    shown = [texts(frame, column).fillna("-").tolist() for column in columns]
    assert shown == [["[1 2]", "[3]"], ["2020-01-01 00:00:00", "-"], ["True", "-"], ["-", "a"]]
    with pytest.raises(RefusedError, match=r"row 1, column 'list': '\[1 2\]' is not a finite number"):
        numbers(frame, "list", tmp_path)


TYPES = {  # Parquet types, and the values that pandas should hold
    "half": (pa.array([0.5, None, 7], pa.float16()), [0.5, np.nan, 7]),
    "single": (pa.array([7.0, 0.25, None], pa.float32()), [7, 0.25, np.nan]),
    "decimal": (pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("7.00")]), [1.5, np.nan, 7]),
    "unsigned": (pa.array([2**53, 0, None], pa.uint64()), [2**53, 0, np.nan]),
    "whole, with gaps": (pa.array([7, None, 8], pa.int64()), [7, np.nan, 8]),
    "texts": (pa.array(["7.0", None, "8"], pa.large_string()), [7, np.nan, 8]),
    "dictionary": (pa.array([7, 7, None]).dictionary_encode(), [7, 7, np.nan]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_numbers_of_parquet_are_read_whatever_their_type(kind: str, tmp_path: Path) -> None:
    column, right = TYPES[kind]
    parquet.write_table(pa.table({"v": column}), tmp_path / "mine.parquet")
    frame = read_table(tmp_path / "mine.parquet")
    assert is_numeric(frame["v"])
    np.testing.assert_equal(numbers(frame, "v", tmp_path), right)
    shown = [str(int(value)) if value == int(value) else str(value) for value in right if not np.isnan(value)]
    assert texts(frame, "v").dropna().tolist() == shown


SEPARATED = {  # as European Excel and others write numbers, and what they mean
    "decimal commas": ("a;b\n1,5;x\n-2,25;y\n3;z\n", [1.5, -2.25, 3]),
    "tabs": ("a\tb\n1,5\tx\n0,25\ty\n", [1.5, 0.25]),
    "thousands points": ("a;b\n1.234,50;x\n12.345.678,0;y\n", [1234.5, 12345678]),
    "thousands spaces": ("a;b\n1 234,5;x\n2\u00a0500,25;y\n3’000;z\n", [1234.5, 2500.25, 3000]),
    "points": ("a;b\n1.5;x\n1e-1;y\n", [1.5, 0.1]),
    "three digits behind a comma": ("a;b\n1,234;x\n0,500;y\n", [1.234, 0.5]),
    "gaps": ("a;b\n1,5;x\nNA;y\n;z\n2,5;x\n", [1.5, np.nan, np.nan, 2.5]),
    "a quoted header": ('"a";"b, in m, of all"\n1;x\n2;"y,z"\n', [1, 2]),
    "semicolons in texts": ('"a","b; c"\n1,"x;y"\n2,"z;z"\n', [1, 2]),
    "commas in names": ("a;b,c\n1,5;2,5\n2,5;3,5\n", [1.5, 2.5]),
}


@pytest.mark.parametrize("kind", SEPARATED)
def test_numbers_are_read_as_the_file_writes_them(kind: str, tmp_path: Path) -> None:
    text, right = SEPARATED[kind]
    frame = read_table(written(tmp_path, text))
    assert frame.shape[1] == 2
    assert is_numeric(frame["a"])
    np.testing.assert_equal(numbers(frame, "a", tmp_path), right)


def test_a_point_among_decimal_commas_is_refused_where_it_may_mean_thousands(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"mine\.csv: row 2, column 'a': is '1\.234' 1234, or a fraction"):
        read_table(written(tmp_path, "a;b\n1.234;1,5\n2.345;2,5\n"))
    frame = read_table(written(tmp_path, "a;b\n1.234;1,5\n2.5;2,5\n"))
    assert numbers(frame, "a", tmp_path).tolist() == [1.234, 2.5]


FORMATTED = ["1,5", "1,234.50", "$12.50", "52%", "12,50 €", "(3.10)", "1'234", "1 234", "EUR 5", "12.5 kg", "−5"]


@pytest.mark.parametrize("value", FORMATTED)
def test_a_column_of_numbers_for_people_is_refused_and_no_class(value: str, tmp_path: Path) -> None:
    path = written(tmp_path, f'a,b\n"{value}",0\n"{value}",1\n7,2\n')
    frame = read_table(path)
    assert is_numeric(frame["a"])
    with pytest.raises(RefusedError) as error:
        numbers(frame, "a", path)
    assert f"row 2, column 'a': {value!r} is not a finite number; expected only digits" in str(error.value)


@pytest.mark.parametrize("values", ["12a 14b 3c", "1.2.3 1.10.0", "Q1 Q2", "4_doors 2_doors", "10-19 20-29", "16:9"])
def test_texts_with_digits_stay_texts(values: str, tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, "a,b\n" + "".join(f"{each},1\n" for each in values.split())))
    assert not is_numeric(frame["a"])
    assert texts(frame, "a").tolist() == values.split()


def test_a_category_has_one_text_whatever_wrote_it(tmp_path: Path) -> None:
    given = {"whole": [7, 8], "float": [7.0, 8.0], "text": ["7.0", " 8"], "comma": ["7,0", "8"]}
    pd.DataFrame(given).to_parquet(tmp_path / "a.parquet")
    frame = read_table(tmp_path / "a.parquet")
    assert {tuple(texts(frame, column)) for column in given} == {("7", "8")}
    truth = read_table(written(tmp_path, "a,b\nTRUE,true\nfalse,False\n"))
    assert {tuple(texts(truth, column)) for column in "ab"} == {("True", "False")}
    odd = read_table(written(tmp_path, "a,b\n007,1.10\n7,1.1\n"))
    assert [texts(odd, column).nunique() for column in "ab"] == [2, 2]


def test_a_prediction_leaves_the_text_of_its_table_as_it_is(tmp_path: Path) -> None:
    text = '\ufeffv;"a;b";z\r\n"1,5";"x""y";007\r\n;;\r\nNA;"l1\nl2";NA'
    path = written(tmp_path, text)
    rows = read_table(path).index
    add_columns(path, tmp_path / "out.csv", {"prediction": np.array([1.25, 2.5])}, rows)
    right = '\ufeffv;"a;b";z;prediction\r\n"1,5";"x""y";007;1,25\r\nNA;"l1\nl2";NA;2,5\n'
    assert (tmp_path / "out.csv").read_bytes().decode() == right
    rows = read_table(tmp_path / "out.csv").index
    add_columns(tmp_path / "out.csv", tmp_path / "twice.csv", {"prediction": np.array(["p", "q;r"])}, rows)
    again = pd.read_csv(tmp_path / "twice.csv", sep=";", dtype=str, keep_default_na=False)
    assert again.to_numpy().tolist() == [["1,5", 'x"y', "007", "p"], ["NA", "l1\nl2", "NA", "q;r"]]
    add_columns(path, tmp_path / "out.parquet", {"prediction": np.array([1.25, 2.5])}, read_table(path).index)
    assert pd.read_parquet(tmp_path / "out.parquet")["z"].tolist() == ["007", "NA"]


def test_a_prediction_leaves_the_types_of_its_parquet_table_as_they_are(tmp_path: Path) -> None:
    day, half = pa.array([datetime.date(2024, 1, 31), None]), pa.array([0.5, None], pa.float16())
    table = pa.table({"day": day, "half": half, "whole": pa.array([2**60 + 1, None]), "prediction": ["a", "b"]})
    parquet.write_table(table, tmp_path / "mine.parquet")
    rows = read_table(tmp_path / "mine.parquet").index
    add_columns(tmp_path / "mine.parquet", tmp_path / "out.parquet", {"prediction": np.array([1.25, 2.5])}, rows)
    out = parquet.read_table(tmp_path / "out.parquet")
    assert out.drop_columns("prediction").equals(table.drop_columns("prediction"))
    assert out["prediction"].to_pylist() == [1.25, 2.5]


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [1], "city": ["a"]} | {f"x{k}": [k] for k in range(30)})
    message = "has no column 'ages', 'zip'; there are age, city, x0, .* and 12 more; did you mean age"
    with pytest.raises(RefusedError, match=message):
        need_columns(frame, ["ages", "city", "zip"], tmp_path, "datamodule.columns")


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "nothing": (b"", "is empty"),
    "only names": ("a,b\n", "holds no rows"),
    "empty rows": ("a,b\n,\n\n", "holds no rows"),
    "a name twice": ("a,b,a\n1,2,3\n", "row 1, column 1: the name 'a' is there 2 times"),
    "no name": ("a,,b\n1,2,3\n", "row 1, column 2: there is no name"),
    "a value too few": ("a,b,c\n1,2,3\n\n1,2\n", "row 4 has 2 values; expected 3"),
    "a value too many": ("a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
    "an open quotation mark": ('a,b\n1,"2\n', "EOF inside string"),
    "Latin-1": ("a,größe\n1,2\n".encode("latin-1"), "can't decode byte"),
    "a zip file": (b"PK\x03\x04\x14\x00\xff\xfe\x00\x00", "can't"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_is_refused_in_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, message = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    path = written(Path(), content)
    with pytest.raises(RefusedError) as error:
        read_table(path)
    assert str(error.value).startswith(f"datamodule.root={path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["1,5", "inf", "-Infinity", "1e39", "1 2"])
def test_what_is_no_number_is_named_with_file_row_and_column(value: str, tmp_path: Path) -> None:
    path = written(tmp_path, f'a,b\n1,0\n2,"{value}"\n3,2\n4,3\n5,4\n')
    frame = read_table(path)
    assert is_numeric(frame["b"])
    with pytest.raises(RefusedError, match=rf"mine\.csv, row 3, column 'b': '{value}' is not a finite number"):
        numbers(frame, "b", path)


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[: len(data) // 2], lambda data: data[:20], lambda data: b"", lambda data: data[:4] + data[40:]],
)
def test_a_broken_parquet_file_is_refused_in_one_line(
    spoil: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.parquet")
    write_table(pd.DataFrame({"a": range(100), "b": ["x"] * 100}), path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(RefusedError, match=r"mine\.parquet: can't be read as a table") as error:
        read_table(path)
    assert "\n" not in str(error.value)


def test_a_small_file_that_claims_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.parquet"
    zeros = pa.table({"a": pa.array(np.zeros(1_000_000, dtype=np.int8))})
    parquet.write_table(zeros, path, compression="zstd")
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(table_files, "free_memory", lambda: 39 * 10**6)
    with pytest.raises(RefusedError, match=r"holds 1,000,000 rows of 1 columns, for which about 0\.0 GB of memory"):
        read_table(path)


def test_a_table_that_needs_more_memory_than_there_is_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "a,b\n" + "1.25,2.5\n" * 200_000)
    monkeypatch.setattr(table_files, "_read_csv", lambda *_: pytest.fail("was read"))
    monkeypatch.setattr(table_files, "free_memory", lambda: 10**6)
    with pytest.raises(RefusedError, match=r"mine\.csv: holds 0\.0 GB of text, for which about 0\.0 GB of memory are"):
        read_table(path)


LARGE = {  # read by Arrow if they are large, unless Arrow does not read them as pandas does
    "plain": "a,b\n1,x\n2,y\n",
    "byte order mark, other line ends, quotes": '\ufeffa,"b, c"\r\n1,"x, y"\r\n2,"say ""z"""\r\n',
    "empty cells": 'a,b,c\n1,,x\n,"",y\n,,\nNA,null,z\n',
    "lines in a cell": 'a,b\n1,"x\ny"\n2,z\n',
    "an empty row": "a,b\n1,x\n\n2,y\n",
    "a row without values": "a,b\n1,x\n,\n2,y\n",
    "one column": "a\n1\n2\n",
    "decimal commas": "a;b\n1,5;x\n2,5;y\n",
    "a short row": "a,b,c\n1,2,3\n4,5\n",
    "a long row": "a,b\n1,2\n3,4,5\n",
    "two names": "a,a\n1,2\n",
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_csv_file_is_read_as_a_small_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, LARGE[kind])

    def read() -> pd.DataFrame | str:
        try:
            return read_table(path)
        except RefusedError as error:
            return str(error)

    small = read()
    monkeypatch.setattr(table_files, "LARGE_CSV", 0)
    large = read()
    if isinstance(small, pd.DataFrame) and isinstance(large, pd.DataFrame):
        pd.testing.assert_frame_equal(small, large)
    else:
        assert small == large


def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    for name in ("mine.pkl", "mine.xlsx", "mine.csv.gz"):
        with pytest.raises(RefusedError, match=r"expected a \.csv, \.tsv, \.parquet file"):
            read_table(written(tmp_path, b"x", name))


@pytest.mark.parametrize(("mark", "suffix"), [(".", ".csv"), (",", ".csv"), (",", ".tsv")])
def test_thousands_beside_smaller_numbers_are_asked_about(mark: str, suffix: str, tmp_path: Path) -> None:
    """963 and 1.823 are counts, of which a table of decimal commas would make 963 and 1.8."""
    outer = {".csv": ";", ".tsv": "\t"}[suffix]
    rows = "".join(f"{number}{outer}1{mark}{number:03}\n" for number in range(700, 720))
    path = tmp_path / f"mine{suffix}"
    path.write_text(f"a{outer}y\n{rows}1{outer}963\n")
    with pytest.raises(RefusedError, match=rf"row 2, column 'y': is '1\{mark}700' 1700, or a fraction"):
        read_table(path)


@pytest.mark.parametrize(("rows", "asked"), [("20.126;3\n1.500;4\n", True), ("20.126;0.5\n1.500;4\n", False)])
def test_what_may_be_thousands_is_said_to_be_read_as_fractions(
    rows: str, asked: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    frame = read_table(written(tmp_path, f"a;b\n{rows}"))
    assert numbers(frame, "a", tmp_path).tolist() == [20.126, 1.5]
    assert ("column 'a': '20.126' is read as a fraction, not as 20126" in caplog.text) == asked
    caplog.clear()
    add_columns(tmp_path / "mine.csv", tmp_path / "out.csv", {"p": np.zeros(2)}, frame.index)
    assert not caplog.text
