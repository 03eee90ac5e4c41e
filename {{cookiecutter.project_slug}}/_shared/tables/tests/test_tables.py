"""Tables that a user or a stranger may bring: what is read of them, and what is refused, with file, row and column."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from {{ cookiecutter.package_name }}.datamodules import tables
from {{ cookiecutter.package_name }}.datamodules.tables import is_numeric, numbers, read_table, texts, write_table
from {{ cookiecutter.package_name }}.errors import RefusedError


def written(folder: Path, content: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_file_is_read_as_it_stands(separator: str, tmp_path: Path) -> None:
    text = "\ufeffcarat,cut, price \n0.30,Very Good,326\n\n,NA,1e3\n".replace(",", separator)
    frame = read_table(written(tmp_path, text.replace("\n", "\r\n")))
    assert [*frame.columns] == ["carat", "cut", "price"]
    assert [*frame.index] == [2, 4]  # as a spreadsheet counts
    assert frame["carat"].iloc[0] == "0.30"
    assert numbers(frame, "carat", tmp_path).tolist()[0] == 0.3
    assert np.isnan(numbers(frame, "carat", tmp_path)[1])
    assert numbers(frame, "price", tmp_path).tolist() == [326, 1000]
    assert texts(frame, "cut").isna().tolist() == [False, True]


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
    with pytest.raises(RefusedError, match=r"row 1, column 'list': '\[1 2\]' is no finite number"):
        numbers(frame, "list", tmp_path)


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "nothing": (b"", "is empty"),
    "names alone": ("a,b\n", "holds no rows"),
    "empty rows": ("a,b\n,\n\n", "holds no rows"),
    "a name twice": ("a,b,a\n1,2,3\n", "row 1, column 1: the name 'a' is there 2 times"),
    "no name": ("a,,b\n1,2,3\n", "row 1, column 2: there is no name"),
    "a value too many": ("a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
    "an open quotation mark": ('a,b\n1,"2\n', "EOF inside string"),
    "Latin-1": ("a,größe\n1,2\n".encode("latin-1"), "can't decode byte"),
    "a zip file": (b"PK\x03\x04\x14\x00\xff\xfe\x00\x00", "can't"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_is_refused_in_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, said = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    path = written(Path(), content)
    with pytest.raises(RefusedError) as error:
        read_table(path)
    assert str(error.value).startswith(f"datamodule.root={path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["1,5", "inf", "-Infinity", "1e39", "1 2"])
def test_what_is_no_number_is_named_with_file_row_and_column(value: str, tmp_path: Path) -> None:
    path = written(tmp_path, f'a,b\n1,0\n2,"{value}"\n3,2\n4,3\n5,4\n')
    frame = read_table(path)
    assert is_numeric(frame["b"])
    with pytest.raises(RefusedError, match=rf"mine\.csv, row 3, column 'b': '{value}' is no finite number"):
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
    monkeypatch.setattr(tables, "MOST_VALUES", 999_999)
    with pytest.raises(RefusedError, match="holds 1,000,000 values"):
        read_table(path)


def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    for name in ("mine.pkl", "mine.xlsx", "mine.csv.gz"):
        with pytest.raises(RefusedError, match=r"expected a \.csv, \.tsv, \.parquet file"):
            read_table(written(tmp_path, b"x", name))
