"""Check that a trace survives its file and refuses what is not one."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import synthetic_street as street

from hil.runs import trace as tr


def test_both_runs_survive_the_parquet_file(tmp_path):
    runs = [street.controlled(), street.uncontrolled()]
    path = tmp_path / "samples.parquet"
    tr.save_samples(path, runs)
    loaded = tr.load_samples(path)
    assert list(loaded) == [tr.CONTROLLED, tr.UNCONTROLLED]
    for run in runs:
        back = loaded[run.name]
        for column in tr.COLUMNS:
            was, now = getattr(run, column.name), getattr(back, column.name)
            assert now.dtype == np.dtype(column.dtype), column.name
            np.testing.assert_array_equal(now, was, err_msg=column.name)
        for key in tr.PER_CHARGER:
            np.testing.assert_array_equal(getattr(back, key), getattr(run, key), err_msg=key)
        assert back.charger_names == street.CHARGERS


def test_columns_carry_unit_meaning_and_long_names(tmp_path):
    path = tmp_path / "samples.parquet"
    tr.save_samples(path, [street.controlled()])
    schema = pq.read_schema(path)
    entry = schema.field("cp02.drawn_a")
    assert entry.metadata[b"unit"] == b"A"
    assert b"largest phase" in entry.metadata[b"meaning"]
    assert {"run", "t_s", "load5.customer_v", "head.phase_c_a", "head.a_trust"} <= set(schema.names)


def test_a_wrong_shape_and_a_falling_clock_are_refused():
    run = street.controlled()
    run.head_a = run.head_a[:, :2]
    with pytest.raises(tr.TraceError, match=r"head_a has shape \(651, 2\), must be TP = \(651, 3\)"):
        run.__post_init__()
    with pytest.raises(tr.TraceError, match="t_s must rise"):
        tr.blank("x", np.array([0.0, 1.0, 1.0]), ["a"], ["b"], ["c"])


def test_a_foreign_file_and_equal_names_are_refused(tmp_path):
    path = tmp_path / "samples.parquet"
    twin = tr.blank("controlled", np.arange(2.0), ["x", "x"], ["c"], ["m"])
    with pytest.raises(tr.TraceError, match=r"'x\.drawn_a'"):
        tr.save_samples(path, [twin])
    other = tr.blank("uncontrolled", np.arange(2.0), ["y"], ["c"], ["m"])
    with pytest.raises(tr.TraceError, match="same chargers"):
        tr.save_samples(path, [street.controlled(), other])
    pq.write_table(pq.read_table(_saved(path)).replace_schema_metadata({}), path)
    with pytest.raises(tr.TraceError, match="record the run again"):
        tr.load_samples(path)


def _saved(path):
    tr.save_samples(path, [street.controlled()])
    return path
