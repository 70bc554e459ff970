"""What an LWIR frame's pixels are like, in numbers that no network made: one small vector for each aspect.

Every function takes one grey image, float64 [H, W] in 0..1, and returns float64 [d]. None of them says what is good:
that is decided by comparison with real frames (`irgen.verifiers.realism`).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

from irgen.metrics.frechet import F64

GREY_LEVEL = 1 / 255

MSCN_SIGMA_PX = 7 / 6
SCALES = 2
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
_SHAPES = np.arange(0.2, 10.001, 0.001)

QUANTILES = np.linspace(0.01, 0.99, 33)
RADIAL_BINS = 12
PERIODS_PX = (8, 16)
"""Of JPEG blocks, and of the patches of latent diffusion."""

BODY_SIGMA = 1 / 32
"""Size of a walking person at middle distance, as the standard deviation of a blob over the image's height."""
BODIES = 5
BODIES_HEIGHT_PX = 160
"""Bodies are large: on a larger image they are looked for at half its size, or a quarter."""

EDGE_SIGMA = 1 / 200
EDGE_SHARE = 0.04
EDGE_REACHES = (1 / 64, 1 / 32, 1 / 16, 1 / 8)
"""How far from an edge its profile is read, over the image's height; the first on both sides is the edge's own step."""


def natural_scene(image: F64) -> F64:
    """Natural-scene statistics, [36]: NIQE's (Mittal et al., IEEE SPL 2013, section II), of the whole image.

    At each of two scales the shape and variance of the locally normalised brightness (generalised Gaussian), and
    shape, mean and both variances of its products with four neighbours (asymmetric generalised Gaussian). Variances
    are in logarithms.
    """
    features = []
    for _ in range(SCALES):
        mean = ndimage.gaussian_filter(image, MSCN_SIGMA_PX)
        variance = ndimage.gaussian_filter(image**2, MSCN_SIGMA_PX) - mean**2
        normalised = (image - mean) / (np.sqrt(variance.clip(min=0)) + GREY_LEVEL)
        features += _generalised_gaussian(normalised)
        for down, right in NEIGHBOURS:
            shifted = np.roll(normalised, (-down, -right), (0, 1))
            features += _asymmetric_generalised_gaussian(normalised * shifted)
        image = _halved(image)
    return np.array(features)


def _generalised_gaussian(values: F64) -> list[float]:
    """Fit by moments (Sharifi and Leon-Garcia 1995): shape, and log variance."""
    variance = float(np.mean(values**2)) + 1e-12
    ratio = float(np.mean(np.abs(values))) ** 2 / variance
    return [_shape(ratio), np.log(variance)]


def _asymmetric_generalised_gaussian(values: F64) -> list[float]:
    """Fit by moments (Lasmar et al., ICIP 2009): shape, mean, and the logs of the left and the right variance."""
    left = float(np.mean(np.minimum(values, 0) ** 2) / max(np.mean(values < 0), 1e-6)) + 1e-12
    right = float(np.mean(np.maximum(values, 0) ** 2) / max(np.mean(values >= 0), 1e-6)) + 1e-12
    skew = np.sqrt(left / right)
    ratio = float(np.mean(np.abs(values))) ** 2 / (float(np.mean(values**2)) + 1e-12)
    ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    return [_shape(ratio), float(np.mean(values)), np.log(left), np.log(right)]


def _shape(ratio: float) -> float:
    """Return the shape of the generalised Gaussian whose (E|x|)^2 / E x^2 is `ratio`."""
    return float(np.interp(ratio, _RATIOS, _SHAPES))


_RATIOS = np.exp(2 * special.gammaln(2 / _SHAPES) - special.gammaln(1 / _SHAPES) - special.gammaln(3 / _SHAPES))
"""Increasing in the shape."""


def histogram(image: F64) -> F64:
    """Grey-level quantiles, [33]: their root mean square distance is the Wasserstein-2 distance of two histograms.

    What gain control left of the temperatures; an inverted or stretched frame is far from real ones.
    """
    return np.quantile(image, QUANTILES)


def spectrum(image: F64) -> F64:
    """Radial power spectrum, [12]: log10 share of the power at log-spaced frequencies up to half a cycle a pixel."""
    height, width = image.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    edges = np.geomspace(2 / min(height, width), 0.5, RADIAL_BINS + 1)
    ring = np.digitize(frequency, edges).ravel()
    total, count = (np.bincount(ring, values, RADIAL_BINS + 2)[1:-1] for values in (power.ravel(), None))
    return np.log10(total / count.clip(min=1) / max(power.sum(), 1e-12) + 1e-12)


def noise(image: F64) -> F64:
    """Row, column and pixel noise, [3], logs of their standard deviations (NVESD's sigma_v, sigma_h and sigma_vh).

    Of rows and columns by the second difference of their means, of pixels by the Laplacian difference of Immerkaer
    (CVIU 1996), which smooth and linear parts of the scene leave out.
    """
    rows, columns = (_second_difference_sd(image.mean(axis=axis)) for axis in (1, 0))
    kernel = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
    pixels = np.sqrt(np.pi / 2) * np.abs(ndimage.convolve(image, kernel)[1:-1, 1:-1]).mean() / 6
    return np.log(np.array([rows, columns, pixels]) + GREY_LEVEL / 100)


def _second_difference_sd(line: F64) -> float:
    """Return the standard deviation of white noise that would give the line's median absolute second difference."""
    return float(1.4826 * np.median(np.abs(np.diff(line, 2))) / np.sqrt(6))


def pattern(image: F64) -> F64:
    """Blocks and repeats, [3]: logs of steps at borders every 8 and 16 px over other steps, and the fit to itself.

    The last is the highest autocorrelation, without the means of rows and columns, at a shift of an eighth of the
    image or more: 1 where a part is repeated all over.
    """
    return np.array([*(_blockiness(image, period_px) for period_px in PERIODS_PX), _repetition(image)])


def _blockiness(image: F64, period_px: int) -> float:
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(image, axis=axis)).mean(axis=1 - axis)
        phases = [steps[phase::period_px].mean() for phase in range(min(period_px, len(steps)))]
        ratios.append((max(phases) + GREY_LEVEL / 10) / (float(np.median(steps)) + GREY_LEVEL / 10))
    return float(np.log(max(ratios)))


def _repetition(image: F64) -> float:
    residual = image - image.mean(axis=0) - image.mean(axis=1, keepdims=True) + image.mean()
    power = np.abs(np.fft.fft2(residual)) ** 2
    correlation = np.fft.ifft2(power).real / max(float((residual**2).sum()), 1e-12)
    down, right = (np.abs(np.fft.fftfreq(size) * size) for size in image.shape)
    least_px = min(image.shape) / 8
    return float(correlation[np.hypot(down[:, None], right) >= least_px].max())


def edges(image: F64) -> F64:
    """Mean profile across the strongest edges, [6]: how brightness goes on beyond them, as shares of their own step.

    Left and right of an edge, from the cold to the warm side, a camera's image levels off; sharpening and local gain
    control overshoot and fall back (a halo), blur goes on rising. Inverted, the warm side is the steep one.
    """
    height = image.shape[0]
    sigma_px = max(1.0, EDGE_SIGMA * height)
    slope_y, slope_x = (ndimage.gaussian_filter(image, sigma_px, order) for order in ((1, 0), (0, 1)))
    slope = np.hypot(slope_y, slope_x)
    rows, columns = np.nonzero(slope >= max(float(np.quantile(slope, 1 - EDGE_SHARE)), 1e-9))
    if not len(rows):
        return np.zeros(2 * (len(EDGE_REACHES) - 1))
    uphill = np.stack([slope_y[rows, columns], slope_x[rows, columns]]) / slope[rows, columns]
    edge = np.stack([rows, columns])

    def brightness(way_px: float) -> float:
        return float(ndimage.map_coordinates(image, edge + way_px * uphill, order=1, mode="nearest").mean())

    cold, warm = ([brightness(side * reach * height) for reach in EDGE_REACHES] for side in (-1, 1))
    step = warm[0] - cold[0] + GREY_LEVEL / 10
    beyond = [(far - warm[0]) / step for far in warm[1:]] + [(cold[0] - far) / step for far in cold[1:]]
    return np.array(beyond)


def bodies(image: F64) -> F64:
    """Warm bodies, [2]: the contrast of the five strongest warm blobs of a person's size, and warm against cold blobs.

    Blobs are found by a difference of Gaussians. Contrast is over the median of the surroundings (2 to 3 blob heights
    away), in standard deviations of the image; the other is the log of the warm over the cold extreme of all blobs.
    """
    image = _halved_to(image, BODIES_HEIGHT_PX)
    sigma_px = max(1.0, BODY_SIGMA * image.shape[0])
    blobs = ndimage.gaussian_filter(image, sigma_px) - ndimage.gaussian_filter(image, 2 * sigma_px)
    peaks = blobs == ndimage.maximum_filter(blobs, 2 * round(2 * sigma_px) + 1)
    places = np.argwhere(peaks)
    strongest = places[np.argsort(-blobs[peaks], kind="stable")[:BODIES]]
    contrast = np.mean([_contrast(image, place, sigma_px) for place in strongest]) / (image.std() + GREY_LEVEL)
    warm, cold = np.quantile(blobs, 0.995), -np.quantile(blobs, 0.005)
    return np.array([contrast, np.log((warm + GREY_LEVEL / 10) / (cold + GREY_LEVEL / 10))])


def _contrast(image: F64, place: np.ndarray, sigma_px: float) -> float:
    rows, columns = (np.arange(size) for size in image.shape)
    distance = np.hypot(rows[:, None] - place[0], columns - place[1])
    far = (distance > 5 * sigma_px) & (distance <= 8 * sigma_px)
    return float(image[distance <= sigma_px].mean() - np.median(image[far]))


def _halved_to(image: F64, height_px: int) -> F64:
    """Halve an image until it is not higher than `height_px`."""
    while image.shape[0] > height_px:
        image = _halved(image)
    return image


def _halved(image: F64) -> F64:
    height, width = (size // 2 * 2 for size in image.shape)
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
