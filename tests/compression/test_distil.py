"""A student learns what the champion computes, and its weights are a backbone's like any other."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from inspection.bundles.graph import compile_graph
from inspection.compression import distil
from inspection.compression.distil import StudentRecord, make_student
from inspection.compression.teacher import Pictures, Teacher, layers_of
from inspection.core.geometry import Geometry
from inspection.core.parts import FitTiles
from inspection.core.records import hash_file, read_manifest, read_record
from inspection.core.settings import BackboneConfig, TrainConfig
from inspection.export.build import read_features
from inspection.training.weights import declared_weights
from tests.bench.libraries import quiet
from tests.training.tiny import GEOMETRY

STUDENT = TrainConfig(
    backbone=BackboneConfig(name="formulanet_050", layers=("fine",)), geometry=GEOMETRY
)


def tiles_of(run: Path, geometry: Geometry = GEOMETRY) -> FitTiles:
    """The champion's fit tiles."""
    return FitTiles(read_manifest(run / "manifest.json"), geometry)


@quiet
def test_teaching_makes_a_student_explain_more_of_the_champion(run: Path, tmp_path, monkeypatch):
    """Held-out tiles say so; the file is taken as declared weights, its record says where from."""
    monkeypatch.setattr(distil, "PICTURES", 640)
    monkeypatch.setattr(distil, "LAP", 4)
    made = make_student(run, STUDENT, tmp_path / "student", taught=True)
    first, *_, last = (lap.fine for lap in made.laps)
    assert last > max(0.3, first + 0.1)
    assert all(lap.coarse is None for lap in made.laps)  # this champion has nothing so coarse
    path = tmp_path / "student" / made.file
    assert made.sha256 == hash_file(path)
    assert read_record(tmp_path / "student" / "student.json", StudentRecord) == made
    assert [one.source for one in made.began_with] == ["shipped"]
    backbone = STUDENT.backbone.model_copy(update={"weights": str(path)})
    with declared_weights(backbone) as log:
        model = timm.create_model("formulanet_050", pretrained=True)
    log.require_file_used()
    assert torch.equal(model.state_dict()["fine.weight"], load_file(path)["fine.weight"])


def test_an_untaught_student_is_pruned_only(run: Path, tmp_path: Path):
    """Its speed is known before minutes are spent on it."""
    made = make_student(run, STUDENT, tmp_path / "student", taught=False)
    assert (made.file, made.laps, made.pictures) == ("formulanet_050.pruned.safetensors", (), 0)


def test_what_is_taught_keeps_the_distances_of_the_champions_weighed_features(run: Path):
    """The layers, each by its weight, turned into other numbers: distances are all that counts."""
    tiles = [tiles_of(run)[number] for number in (0, 5)]
    teacher = Teacher(run, {"fine": 128}, {"fine": (16, 24)})
    teacher.learn(tiles)
    (taught,) = teacher(tiles[:1]).values()
    maps = [torch.tensor(one) for one in compile_graph(read_features(run))(tiles[0][None]).values()]
    first, second = maps[0] * 0.5, maps[1]
    second = torch.nn.functional.interpolate(second, (16, 24), mode="bilinear", antialias=True)
    found, wanted = (
        torch.pdist(planes[0].flatten(1).T[::7].double())
        for planes in (taught, torch.cat([first, second], 1))
    )
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_layers_go_to_the_students_layer_that_is_as_fine(run: Path):
    """Strides 4 and 8 are both fine."""
    assert layers_of(read_features(run)) == {"fine": [0, 1]}


def test_both_see_one_picture_each_in_its_size_and_turns_differ(run: Path):
    """The same turn gives the same pair; some are broken, some mirrored."""
    small = Geometry(height_px=32, width_px=48)
    pictures = Pictures(tiles_of(run), tiles_of(run, small))
    assert len(pictures) == 8
    seen = set()
    for turn in range(6):
        one, again = pictures.varied(3, turn), pictures.varied(3, turn)
        assert (one.champion.shape, one.student.shape) == ((64, 96, 3), (32, 48, 3))
        assert (one.champion == again.champion).all()
        assert (one.student == again.student).all()
        means = one.champion.mean(), one.student.mean()
        assert means[0] == pytest.approx(means[1], abs=4)
        seen.add(one.champion.tobytes())
    assert len(seen) == 6
