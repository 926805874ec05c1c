"""Draws a part with its heat and outlines as layers, a score against its band, and patches.

The layers go to the browser once; how strong or whether each is seen is a style of a few bytes.
"""

import base64
import html
import io

import numpy as np
import streamlit as st
from PIL import Image, ImageChops, ImageFilter

from inspection.core.decision import Band, Verdict
from inspection.dashboard.parts.charts import COLOURS
from inspection.hub.wire.review import Look

COARSE, REFINED = (230, 159, 0), (0, 220, 255)  # told apart by colour-blind people
LINE_PX = 2  # of an outline
_HEAT_AT = (0, 64, 128, 192, 255)
_HEAT_RGB = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))  # magma
_STYLE = """
<style>
.layers { position: relative; margin: 0 auto; background: #8884; }
.layers img { position: absolute; inset: 0; width: 100%; height: 100%; border-radius: 4px; }
.layers .named { position: absolute; padding: 0 .25rem; font-size: .7rem; line-height: 1.3;
  color: #000; background: rgb(204 121 167 / .9); border-radius: 2px; white-space: nowrap; }
.patches { display: flex; gap: .75rem; }
.patches figure { margin: 0; flex: 1 1 0; max-width: 9rem; }
.patches img { width: 100%; image-rendering: pixelated; border-radius: 4px; }
.patches figcaption { font-size: .75rem; line-height: 1.15; opacity: .8; }
.gauge { position: relative; height: .6rem; border-radius: 3px; margin: .4rem 0 .2rem; }
.gauge i { position: absolute; top: -.3rem; width: 3px; height: 1.2rem; background: currentColor;
  outline: 1px solid #fff; }
</style>
"""


def styles() -> None:
    """Give the page the styles of what this module draws; once per run."""
    st.html(_STYLE)


def coloured(heat: str, coarse: str) -> bytes:
    """Colour a heat map so that the part stays visible where there is none.

    A map is above its least value nearly everywhere, so what is typical outside of the coarse mask
    is clear, and the colour grows dense from there on.

    Args:
        heat: base64 PNG, grey 8 bit; 0 none, 255 strongest.
        coarse: likewise, as large; 255 where the map lies above the band.

    Returns:
        PNG of 256 colours with their own transparency, as large.
    """
    grey = opened(heat).convert("L")
    values = np.asarray(grey)
    quiet = values[(values > 0) & (np.asarray(opened(coarse).convert("L")) <= 127)]
    typical = float(np.median(quiet)) if quiet.size else 0.0
    levels = np.arange(256)
    rgb = np.stack([np.interp(levels, _HEAT_AT, part) for part in zip(*_HEAT_RGB, strict=True)], 1)
    image = Image.frombytes("P", grey.size, grey.tobytes())
    image.putpalette(rgb.astype(np.uint8).tobytes())
    alpha = 255 * np.clip((levels - typical) / max(1.0, 255 - typical), 0, 1)
    return _png(image, alpha.astype(np.uint8).tobytes())


def outlined(mask: str, colour: tuple[int, int, int]) -> bytes:
    """Draw the outline of a mask, just outside of it.

    Args:
        mask: base64 PNG, grey 8 bit; 255 inside.
        colour: RGB of the line, 0 to 255.

    Returns:
        PNG of two colours, one of them clear, as large.
    """
    return outlined_image(opened(mask).convert("L"), colour)


def outlined_image(mask: Image.Image, colour: tuple[int, int, int]) -> bytes:
    """Draw the outline of a mask that is open, grey, as `outlined` does."""
    inside = mask.point(lambda level: 255 if level > 127 else 0)
    line = ImageChops.subtract(inside.filter(ImageFilter.MaxFilter(2 * LINE_PX + 1)), inside)
    image = Image.frombytes("P", line.size, line.point(lambda level: level // 255).tobytes())
    image.putpalette(bytes((0, 0, 0, *colour)))
    return _png(image, bytes((0, 255)))


def layers(
    picture: bytes, look: Look | None, most_vh: int, named: tuple[bytes, str] | None = None
) -> None:
    """Show a picture with its heat and outlines over it.

    Args:
        picture: JPEG or PNG.
        look: heat and masks over the whole picture; none has none.
        named: what a second stage named, as a layer and as labels in HTML; none has none.
        most_vh: height it may take, hundredths of the window's.
    """
    with Image.open(io.BytesIO(picture)) as opened:
        width, height = opened.size
        kind = f"image/{(opened.format or 'jpeg').lower()}"
    drawn = [_image("part", kind, picture)]
    if look is not None:
        drawn.append(_image("heat", "image/png", coloured(look.heat, look.coarse)))
        drawn.append(_image("coarse", "image/png", outlined(look.coarse, COARSE)))
        drawn.append(_image("refined", "image/png", outlined(look.refined, REFINED)))
    if named is not None:
        drawn += [_image("known", "image/png", named[0]), named[1]]
    ratio = width / height
    st.html(
        f'<div class="layers" style="aspect-ratio: {width} / {height}; '
        f'width: min(100%, {most_vh * ratio:.1f}vh)">{"".join(drawn)}</div>'
    )


def strengths(opacity: float, *, coarse: bool, refined: bool, known: bool) -> None:
    """Say how much is seen of the layers of this page.

    Args:
        opacity: of the heat, 0 to 1.
        coarse: whether the map's outline is seen.
        refined: whether the segmenter's or a person's is.
        known: whether what a second stage named is.
    """
    shown = {"coarse": float(coarse), "refined": float(refined), "heat": opacity}
    shown |= {"known": float(known), "named": float(known)}
    rules = " ".join(f".layers .{name} {{ opacity: {value} }}" for name, value in shown.items())
    st.html(f"<style>{rules}</style>")


def gauge(score: float, band: Band) -> None:
    """Show a score on the scale of its band: up to the first PASS, above the second REJECT."""
    low = min(0.0, score, band.review_above)
    high = max(score, band.reject_above) + 0.15 * (max(score, band.reject_above) - low or 1.0)
    first, second, at = (
        100 * (value - low) / (high - low)
        for value in (band.review_above, band.reject_above, score)
    )
    stops = (
        f"{COLOURS[Verdict.PASS]} {first:.1f}%, {COLOURS[Verdict.REVIEW]} {first:.1f}% "
        f"{second:.1f}%, {COLOURS[Verdict.REJECT]} {second:.1f}%"
    )
    st.html(
        f'<div class="gauge" style="background: linear-gradient(90deg, {stops})">'
        f'<i style="left: calc({at:.1f}% - 1px)"></i></div>'
    )
    st.caption(
        f"Score **{score:.4g}**; REVIEW above {band.review_above:.4g}, REJECT above "
        f"{band.reject_above:.4g}"
    )


def patches(look: Look) -> None:
    """Show the strongest place beside what it is most alike among the bundle's normals."""
    pairs = [(look.patch, "strongest place here")]
    if look.normal_distance is not None:
        alike = f"most alike among normals, {look.normal_distance:.3g} away"
        pairs.append((look.normal_patch, alike))
    drawn = "".join(
        f'<figure><img alt="{html.escape(words)}" src="data:image/png;base64,{patch}">'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
        for patch, words in pairs
        if patch is not None
    )
    if drawn:
        st.html(f'<div class="patches">{drawn}</div>')


def _image(name: str, kind: str, content: bytes) -> str:
    text = base64.b64encode(content).decode()
    return f'<img class="{name}" alt="{name}" src="data:{kind};base64,{text}">'


def opened(text: str) -> Image.Image:
    """Open a picture the hub gave as base64."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        image.load()
        return image


def _png(image: Image.Image, alphas: bytes) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=alphas)
    return stream.getvalue()
