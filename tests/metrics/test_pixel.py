import cv2
import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from inspection.core.errors import InspectionError
from inspection.metrics.pixel import PixelEvidence, score_edges

fast = pytest.mark.fast


def parts(count=6, seed=0):
    """Non-square parts: maps 6×9 with a raised defect, masks of sizes around 48×81 px."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(count):
        score_map = rng.gamma(4, 1, (6, 9)).astype(np.float32)
        mask = np.zeros((48 + index, 81), np.bool_)
        if index % 3:
            mask[8:20, 10:28] = True
            mask[30:34, 50 : 60 + index] = True
            mask[34, 49] = True  # touches the second region by its corner only
            score_map[1:3, 1:4] += 3
            score_map[4, 6] += 1.5
        maps.append(score_map)
        masks.append(mask)
    return maps, masks


def evidence(maps, masks, **choices):
    """Gather all parts on bins chosen from their maps."""
    gathered = PixelEvidence(score_edges(maps, **choices))
    for score_map, mask in zip(maps, masks, strict=True):
        gathered.add(score_map, mask)
    return gathered


def upsampled(maps, masks):
    """Maps at the size of their masks, as the evidence sees them."""
    return [
        cv2.resize(score_map, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        for score_map, mask in zip(maps, masks, strict=True)
    ]


def slow_aupro(scores, masks, limit=0.3):
    """Bergmann et al.: every threshold in turn, overlap of each region in turn."""
    normal = np.concatenate([s[~m] for s, m in zip(scores, masks, strict=True)])
    regions = []
    for score, mask in zip(scores, masks, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [score[labels == index] for index in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([s.ravel() for s in scores]))[::-1]:
        overlap = np.mean([(region >= threshold).mean() for region in regions])
        points.append(((normal >= threshold).mean(), overlap))
    rates, overlaps = np.array(points).T
    inside = rates <= limit
    x = np.append(rates[inside], limit)
    y = np.append(overlaps[inside], np.interp(limit, rates, overlaps))
    return np.trapezoid(y, x) / limit


@fast
def test_auroc_equals_scikit_learn_on_all_pixels():
    """The binned pixel AUROC is scikit-learn's within the stated error."""
    maps, masks = parts()
    scores = np.concatenate([s.ravel() for s in upsampled(maps, masks)])
    truth = np.concatenate([m.ravel() for m in masks])
    gathered = evidence(maps, masks)
    assert gathered.auroc_error() < 0.001
    assert gathered.auroc().value == pytest.approx(
        roc_auc_score(truth, scores), abs=gathered.auroc_error()
    )


@pytest.mark.parametrize("bins", [2048, 48], ids=["default bins", "few bins"])
@pytest.mark.parametrize("seed", [0, 1])
def test_aupro_equals_the_slow_definition(bins, seed):
    """AUPRO is the definition of Bergmann et al. within the stated error, for any bins."""
    maps, masks = parts(seed=seed)
    gathered = evidence(maps, masks, bins=bins)
    expected = slow_aupro(upsampled(maps, masks), masks)
    assert gathered.aupro().value == pytest.approx(expected, abs=gathered.aupro_error())
    assert bins < 2048 or gathered.aupro_error() < 0.003


def test_aupro_equals_anomalib():
    """AUPRO agrees with Anomalib's own on the same upsampled maps."""
    torch = pytest.importorskip("torch")
    from anomalib.metrics.aupro import _AUPRO  # the bare torchmetric, without field names

    maps, masks = parts(count=9)
    masks = [mask[:48] for mask in masks]
    metric = _AUPRO()
    metric.update(
        torch.from_numpy(np.stack(upsampled(maps, masks))), torch.from_numpy(np.stack(masks)).int()
    )
    gathered = evidence(maps, masks)
    assert gathered.aupro().value == pytest.approx(float(metric.compute()), abs=1e-3)


@fast
def test_perfect_map_has_full_area():
    """A map that is high exactly on the defect has AUROC, AUPRO, IoU and Dice of 1."""
    mask = np.zeros((20, 30), np.bool_)
    mask[4:9, 5:25] = True
    gathered = evidence([mask.astype(np.float32)], [mask], marks=(0.5,))
    assert gathered.auroc().value == 1.0
    assert gathered.aupro().value == pytest.approx(1.0, abs=1e-12)
    assert gathered.iou(0.5).value == 1.0
    assert gathered.dice(0.5).value == 1.0


@fast
def test_small_regions_weigh_as_much_as_large_ones():
    """Missing one of two regions costs half of AUPRO, however small that region is."""
    mask = np.zeros((40, 60), np.bool_)
    mask[2:30, 2:50] = True
    mask[36, 56] = True
    score_map = mask.astype(np.float32)
    score_map[36, 56] = -1
    assert evidence([score_map], [mask]).aupro().value == pytest.approx(0.5, abs=1e-9)


@fast
def test_iou_and_dice_are_exact_at_a_marked_threshold():
    """IoU and Dice count pixels strictly above the threshold, exactly, over all images."""
    maps, masks = parts()
    threshold = float(np.median(maps[1]))
    gathered = evidence(maps, masks, marks=(threshold,))
    above = [s > np.float32(threshold) for s in upsampled(maps, masks)]
    both = sum((a & m).sum() for a, m in zip(above, masks, strict=True))
    either = sum((a | m).sum() for a, m in zip(above, masks, strict=True))
    assert gathered.iou(threshold).value == pytest.approx(both / either, abs=1e-12)
    assert gathered.dice(threshold).value == pytest.approx(2 * both / (both + either), abs=1e-12)


@fast
def test_unmarked_threshold_is_refused():
    """IoU at a threshold that is no bin edge is refused, since it could not be exact."""
    maps, masks = parts()
    with pytest.raises(InspectionError, match=r"threshold 2\.5 is no edge of the bins"):
        evidence(maps, masks).iou(2.5)


@fast
def test_interval_is_by_image_and_repeats():
    """The bootstrap resamples images: many equal images have no spread, different ones do."""
    maps, masks = parts(count=12)
    spread = evidence(maps, masks).aupro()
    assert spread.low < spread.value < spread.high
    assert spread == evidence(maps, masks).aupro()
    equal = evidence([maps[1]] * 8, [masks[1]] * 8).aupro()
    assert equal.low == pytest.approx(equal.high, abs=1e-12)


@fast
def test_blocks_of_images_add_up():
    """More images than one block give what the repeated images give."""
    maps, masks = parts(count=3)
    few = evidence(maps, masks)
    many = PixelEvidence(few.edges, few.images * 100)
    assert many.aupro(draws=2).value == pytest.approx(few.aupro(draws=2).value, abs=1e-12)


@fast
def test_an_outlying_map_does_not_blur_the_bins():
    """One map with an absurd peak leaves the resolution for all others."""
    maps, masks = parts()
    maps[0][0, 0] = 1e6
    assert evidence(maps, masks).aupro_error() < 0.01


@fast
@pytest.mark.parametrize(
    ("score_map", "message"),
    [
        (np.zeros((3, 4)), r"score map is float64 \(3, 4\); wanted float32"),
        (np.zeros((1, 3, 4), np.float32), r"float32 \(1, 3, 4\); wanted float32 \(h, w\)"),
        (np.full((3, 4), np.nan, np.float32), "a value that is not finite"),
    ],
    ids=["float64", "three axes", "NaN"],
)
def test_bad_maps_are_refused(score_map, message):
    """Both passes refuse a map that is not finite float32 (h, w)."""
    with pytest.raises(InspectionError, match=message):
        score_edges([score_map])
    with pytest.raises(InspectionError, match=message):
        PixelEvidence(np.array([0.0], np.float32)).add(score_map, np.zeros((6, 8), np.bool_))


@fast
def test_bad_masks_are_refused():
    """A mask that is no bool H×W is refused, never thresholded by guessing."""
    gathered = PixelEvidence(np.array([0.0], np.float32))
    with pytest.raises(InspectionError, match=r"mask is uint8 \(6, 8\); wanted bool H×W"):
        gathered.add(np.zeros((3, 4), np.float32), np.zeros((6, 8), np.uint8))


@fast
@pytest.mark.parametrize("fill", [False, True], ids=["good parts only", "defect pixels only"])
def test_one_class_of_pixels_is_refused(fill):
    """Areas need normal and defect pixels; one class alone is refused."""
    maps = [np.arange(12, dtype=np.float32).reshape(3, 4)]
    with pytest.raises(InspectionError, match="wanted at least one of each"):
        evidence(maps, [np.full((6, 8), fill)]).auroc()


@fast
def test_no_images_no_bins_and_no_draws_are_refused():
    """Edges need maps and bins; an interval needs draws."""
    maps, masks = parts()
    with pytest.raises(InspectionError, match="0 maps, 2048 bins; wanted at least 1 map"):
        score_edges([])
    with pytest.raises(InspectionError, match="6 maps, 2 bins"):
        score_edges(maps, bins=2)
    with pytest.raises(InspectionError, match="draws is 0"):
        evidence(maps, masks).auroc(draws=0)


@fast
def test_the_map_of_the_caller_stays_as_it_was():
    """Adding an image changes neither its map nor its mask."""
    maps, masks = parts()
    before = maps[1].copy(), masks[1].copy()
    evidence(maps, masks)
    assert np.array_equal(maps[1], before[0])
    assert np.array_equal(masks[1], before[1])
