from __future__ import annotations

import importlib.util

import pytest

from exporter.train.log import Row, TrainingLog, read_rows

ROW = Row("prune", 0.5, 10, 1.25, 0.1, 0.5, 0.25, 1234)


def test_rows_are_on_disk_at_once(tmp_path):
    log = TrainingLog(tmp_path / "training.csv", "prune")
    log.write(ROW)
    log.write(Row("prune", 1.0, 20, 1.0, 0.05))
    assert (tmp_path / "training.csv").read_text().splitlines() == [
        "stage,epoch,step,loss,lr,accuracy,sparsity,coded_bytes",
        "prune,0.5,10,1.25,0.1,0.5,0.25,1234",
        "prune,1,20,1,0.05,,,",
    ]
    log.close()


@pytest.mark.parametrize(("step", "kept"), [(0, ["train"]), (10, ["train", "prune"])])
def test_a_stage_replaces_its_own_rows_behind_its_start(tmp_path, step, kept):
    path = tmp_path / "training.csv"
    for stage in ("train", "prune"):
        log = TrainingLog(path, stage)
        log.write(Row(stage, 0.5, 10, 1.0, 0.1))
        log.close()
    TrainingLog(path, "prune", step=step).close()
    assert [row["stage"] for row in read_rows(path)] == kept


def test_a_line_that_was_cut_off_does_not_count(tmp_path):
    path = tmp_path / "training.csv"
    log = TrainingLog(path, "prune")
    log.write(ROW)
    log.close()
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[-1][:12])
    TrainingLog(path, "share").close()
    assert path.read_text() == whole


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None,
    reason="TensorBoard is not installed (pip install tensorboard): its files are not tested",
)
def test_tensorboard_gets_the_same_figures(tmp_path):
    log = TrainingLog(tmp_path / "training.csv", "prune", curves=tmp_path / "curves")
    log.write(ROW)
    log.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "curves")).Reload()
    (point,) = events.Scalars("sparsity")
    assert (point.step, point.value) == (10, 0.25)


def test_without_tensorboard_there_is_the_csv(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    log = TrainingLog(tmp_path / "training.csv", "prune", curves=tmp_path / "curves")
    log.write(ROW)
    log.close()
    assert not (tmp_path / "curves").exists()
    assert len(read_rows(tmp_path / "training.csv")) == 1
