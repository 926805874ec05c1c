"""PatchCore's search in OpenVINO against the same arithmetic written out in numpy."""

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from inspection.bundles.graph import compile_graph
from inspection.export.graph import (
    SLICE_LEAST,
    Correction,
    Search,
    add_embedding,
    add_search,
)

pytestmark = pytest.mark.fast

Array = NDArray[np.float32]
HEIGHT, WIDTH = 8, 12
DEPTH = 24
EXACT_SEARCH = Search(pool=3, layer_weights=(1.0,), coarse=0, dimensions=0, refine=16, int8=False)


def embedding_graph() -> openvino.Model:
    """A graph whose embedding is its input, (1, d, h, w)."""
    source = ops.parameter([1, DEPTH, HEIGHT, WIDTH], np.float32)
    return openvino.Model([ops.result(source)], [source], "identity")


def draw(seed: int, bank_size: int, offset: float = 0.0) -> tuple[Array, Array]:
    """Draw an embedding (1, d, h, w) and a bank (n, d), with some far patches."""
    rng = np.random.default_rng(seed)
    bank = (rng.normal(size=(bank_size, DEPTH)) + offset).astype(np.float32)
    query = rng.normal(size=(HEIGHT * WIDTH, DEPTH)) + offset
    query[::13] += 4.0
    return query.T.reshape(1, DEPTH, HEIGHT, WIDTH).astype(np.float32), bank


def brute_force(query: Array, bank: Array) -> Array:
    """Euclidean distance of each patch to the nearest vector, float64, (h, w)."""
    patches = query.reshape(DEPTH, -1).T.astype(np.float64)
    nearest = [np.sqrt(np.square(bank - patch).sum(1).min()) for patch in patches]
    return np.reshape(nearest, (HEIGHT, WIDTH))


def score_map(query: Array, bank: Array, search: Search, *correction: Correction) -> Array:
    """Run the search graph on one embedding; (h, w)."""
    compiled = compile_graph(add_search(embedding_graph(), bank, search, *correction))
    result = compiled(query)
    assert compiled.output(0).names == {"score_map"}
    assert result[0].shape == (1, 1, HEIGHT, WIDTH)
    return result[0][0, 0]


def replace(search: Search, **changes: object) -> Search:
    """Change some fields of a search."""
    return Search(**{**search.__dict__, **changes})


@pytest.mark.parametrize("bank_size", [1, 17, SLICE_LEAST, 6_000], ids=lambda n: f"{n} vectors")
@pytest.mark.parametrize("offset", [0.0, 100.0], ids=["around zero", "far from zero"])
def test_float_search_equals_brute_force(bank_size: int, offset: float):
    """In FP32 the map is the distance to the nearest vector to one part in a thousand."""
    query, bank = draw(1, bank_size, offset)
    np.testing.assert_allclose(
        score_map(query, bank, EXACT_SEARCH), brute_force(query, bank), rtol=1e-3
    )


def test_patch_that_stands_in_the_bank_is_at_distance_nothing():
    """The terms cancel to zero and never to a NaN from a small negative number."""
    query, bank = draw(2, 300)
    bank[7] = query[0, :, 3, 5]
    found = score_map(query, bank, EXACT_SEARCH)
    assert found[3, 5] == pytest.approx(0, abs=5e-3)
    assert np.isfinite(found).all()


def test_map_keeps_the_places_of_patches():
    """Rows are rows and columns columns, on a map that is not square."""
    query, bank = draw(3, 200)
    query[0, :, 1, 10] += 50
    found = score_map(query, bank, EXACT_SEARCH)
    assert np.unravel_index(found.argmax(), found.shape) == (1, 10)


def test_int8_search_is_close_to_brute_force():
    """INT8 products move distances by a few per cent and keep their order."""
    query, bank = draw(4, 1_000)
    found = score_map(query, bank, replace(EXACT_SEARCH, int8=True))
    wanted = brute_force(query, bank)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(found, wanted, rtol=0.05)


def test_int8_search_keeps_a_far_defect_far():
    """Values beyond the bank's range are clipped in the product only; distance still grows."""
    query, bank = draw(5, 1_000)
    peaks = []
    for step in (0.0, 10.0, 40.0):
        far = query.copy()
        far[0, :, 4, 4] += step
        peaks.append(score_map(far, bank, replace(EXACT_SEARCH, int8=True))[4, 4])
    assert peaks[0] < peaks[1] < peaks[2]


def test_int8_search_survives_a_constant_bank():
    """A bank of one repeated vector has no range; distances are still numbers."""
    query, bank = draw(6, 64)
    bank[:] = bank[0]
    found = score_map(query, bank, replace(EXACT_SEARCH, int8=True))
    np.testing.assert_allclose(found, brute_force(query, bank), rtol=0.05)


@pytest.mark.parametrize("refine", [1, 20, 95])
def test_two_stages_are_exact_on_the_worst_patches_and_corrected_elsewhere(refine: int):
    """The patches farthest from the coarse bank see the whole bank, the others a straight line."""
    query, bank = draw(7, 800)
    coarse, correction = 100, Correction(offset=-0.4, slope=0.9)
    search = replace(EXACT_SEARCH, coarse=coarse, refine=refine)
    found = score_map(query, bank, search, correction)
    first, whole = brute_force(query, bank[:coarse]), brute_force(query, bank)
    worst = np.argsort(-first.ravel())[:refine]
    wanted = np.maximum(first * 0.9 - 0.4, 0).ravel()
    wanted[worst] = whole.ravel()[worst]
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-3, atol=1e-4)


def test_refining_every_patch_is_the_exact_search():
    """More patches to refine than there are is the same as comparing with all."""
    query, bank = draw(8, 400)
    search = replace(EXACT_SEARCH, coarse=50, refine=4_096)
    np.testing.assert_allclose(
        score_map(query, bank, search, Correction(9.0, 9.0)), brute_force(query, bank), rtol=1e-3
    )


@pytest.mark.parametrize("coarse", [400, 5_000], ids=["equal", "larger"])
def test_coarse_bank_that_is_the_whole_bank_has_no_second_stage(coarse: int):
    """A small bank is compared with every patch, uncorrected."""
    query, bank = draw(9, 400)
    search = replace(EXACT_SEARCH, coarse=coarse)
    np.testing.assert_allclose(
        score_map(query, bank, search, Correction(9.0, 9.0)), brute_force(query, bank), rtol=1e-3
    )


def rough_force(query: Array, bank: Array, dimensions: int) -> Array:
    """Distance with the product taken along the bank's principal directions only, float64."""
    centred = bank.astype(np.float64) - bank.mean(0, dtype=np.float64)
    patches = query.reshape(DEPTH, -1).T - bank.mean(0, dtype=np.float64)
    along = np.linalg.svd(centred)[2][:dimensions].T
    squared = np.square(centred).sum(1) - 2 * (patches @ along) @ (centred @ along).T
    squared = squared.min(1) + np.square(patches).sum(1)
    return np.sqrt(np.maximum(squared, 0)).reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize("dimensions", [1, 6, 20])
def test_fewer_dimensions_shorten_the_product_only(dimensions: int):
    """The lengths stay whole; the patch to be refined is exact."""
    query, bank = draw(11, 500)
    search = replace(EXACT_SEARCH, dimensions=dimensions, refine=1)
    found, rough = score_map(query, bank, search), rough_force(query, bank, dimensions)
    wanted, worst = rough.ravel().copy(), rough.argmax()
    wanted[worst] = brute_force(query, bank).ravel()[worst]
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-3, atol=1e-3)


def test_bank_that_lies_in_few_dimensions_loses_nothing():
    """A bank on a plane is compared exactly in two dimensions, patches off it too."""
    query, bank = draw(12, 300)
    bank[:, 2:] = 1.5
    search = replace(EXACT_SEARCH, dimensions=2, refine=1)
    np.testing.assert_allclose(score_map(query, bank, search), brute_force(query, bank), rtol=1e-3)


@pytest.mark.parametrize("dimensions", [DEPTH, 1_000])
def test_all_dimensions_are_the_exact_search(dimensions: int):
    """No projection, no second stage, no correction."""
    query, bank = draw(13, 200)
    search = replace(EXACT_SEARCH, dimensions=dimensions)
    np.testing.assert_allclose(
        score_map(query, bank, search, Correction(9.0, 9.0)), brute_force(query, bank), rtol=1e-3
    )


def test_int8_in_fewer_dimensions_is_close_to_float():
    """Two roundings instead of one still keep the order."""
    query, bank = draw(14, 1_000)
    bank[:, 8:] *= 0.2
    search = replace(EXACT_SEARCH, dimensions=8)
    wanted = score_map(query, bank, search)
    found = score_map(query, bank, replace(search, int8=True))
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("dimensions", [0, 3])
def test_search_takes_layers_before_they_are_upsampled(dimensions: int):
    """The map of two layers of different size is that of their joined embedding."""
    shapes = {"fine": (4, 8, 12), "deep": (6, 4, 6)}
    rng = np.random.default_rng(15)
    features = [rng.random((1, *shape), dtype=np.float32) for shape in shapes.values()]
    bank = rng.random((40, 10), dtype=np.float32)
    search = replace(
        EXACT_SEARCH, layer_weights=(0.5, 1.0), dimensions=dimensions, refine=HEIGHT * WIDTH
    )
    embedding = add_embedding(feature_graph(shapes), search)
    joined = compile_graph(embedding)(features)[0].reshape(10, -1)
    wanted = [np.sqrt(np.square(bank - column).sum(1).min()) for column in joined.T]
    found = compile_graph(add_search(embedding, bank, search))(features)[0]
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-3)


def test_corrected_distance_is_never_negative():
    """A correction below zero gives zero: no distance is less."""
    query, bank = draw(10, 400)
    search = replace(EXACT_SEARCH, coarse=50, refine=1)
    assert score_map(query, bank, search, Correction(-1e6, 1.0)).min() == 0.0


def feature_graph(shapes: dict[str, tuple[int, int, int]]) -> openvino.Model:
    """A graph whose feature maps are its inputs, one (1, c, h, w) per layer."""
    sources, results = [], []
    for name, shape in shapes.items():
        source = ops.parameter([1, *shape], np.float32)
        result = ops.result(ops.relu(source))
        result.output(0).get_tensor().set_names({f"feature.{name}"})
        sources.append(source)
        results.append(result)
    return openvino.Model(results, sources, "features")


def test_joined_layers_stand_in_their_order_with_their_weights():
    """The first layer's channels come first; a weight scales its own layer only."""
    shapes = {"fine": (2, 4, 6), "deep": (3, 4, 6)}
    features = [np.full((1, *shape), value, np.float32) for shape, value in zip(
        shapes.values(), (1.0, 2.0), strict=True
    )]  # fmt: skip
    search = replace(EXACT_SEARCH, pool=1, layer_weights=(10.0, 0.5))
    embedding = compile_graph(add_embedding(feature_graph(shapes), search))(features)[0]
    assert embedding.shape == (1, 5, 4, 6)
    assert embedding[0, :, 2, 3].tolist() == [10.0, 10.0, 1.0, 1.0, 1.0]


def test_pooled_maps_can_be_found_by_name():
    """The gate compares each layer by the tensor name it has inside the graph."""
    graph = add_embedding(
        feature_graph({"a.1": (2, 4, 6), "b.2": (2, 2, 3)}),
        replace(EXACT_SEARCH, layer_weights=(1.0, 1.0)),
    )
    names = {
        name
        for node in graph.get_ordered_ops()
        for port in node.outputs()
        for name in port.get_tensor().get_names()
    }
    assert {"pooled.a.1", "pooled.b.2"} <= names
