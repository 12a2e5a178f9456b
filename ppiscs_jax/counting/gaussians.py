"""An image as a sum of Gaussians of one width on a background, fitted by least squares.

Each column is η exp(−|r − r_i|² / 2ρ²), and its volume 2πηρ². The image is cut into tiles, to each
of which only the columns near it contribute. Gradients are exact, by automatic differentiation of
the image; the Gauss–Newton matrix is that of integrals over the whole plane, which have a closed
form and connect neighbours only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Array, Float, Int

from ppiscs_jax.counting.position_prior import PositionPrior

TILE = 128
"""Pixels along the edge of a tile."""

REACH = 5.0
"""Widths ρ from its centre beyond which a Gaussian, then 4e-6 of its height, is left out."""

OVERLAP = 8.0
"""Distance in widths ρ beyond which the overlap of two Gaussians, e^−16, is left out. Larger ones,
left out, would make the Gauss–Newton matrix indefinite."""

LINEAR_STEPS = 2
"""Steps in the heights alone; the matrix is exact but for columns at the edge of the image."""

ITERATIONS = 60
TOLERANCE = 2e-6
"""Relative decrease of the sum of squares in a step below which the fit ends, after QUIET such
steps; sums in single precision are hardly better."""

QUIET = 3

POSITION_STD = 0.5
"""Standard deviation of the Gaussian prior of a position around its initial value, in units of the
initial width ρ. It keeps faint columns from drifting into noise."""

LARGEST_STEP = 0.5
"""Change of the logarithm of the width that a step may have; larger ones are rejected."""

FAINT = 1e-3
"""Columns below this fraction of the largest height are treated as if they had it when positions
are updated."""


@dataclass(frozen=True)
class GaussianFit:
    """Gaussians in units of pixels and of the image's intensity.

    Attributes:
        positions: x, y of the centres, shape (n, 2).
        heights: η, shape (n,).
        width: ρ that all share, from which `widths` of thin and thick columns differ.
        background: coefficients of 1, x', y' with x', y' from −1 to 1 over the image.
        residual_variance: mean square of image − model.
        converged: whether the sum of squares no longer decreased.
        widths: ρ of each, shape (n,), or None for `width`.
    """

    positions: Float[np.ndarray, "n 2"]
    heights: Float[np.ndarray, " n"]
    width: float
    background: Float[np.ndarray, " terms"]
    residual_variance: float
    converged: bool
    widths: Float[np.ndarray, " n"] | None = None

    @property
    def volumes(self) -> Float[np.ndarray, " n"]:
        """2πηρ², in intensity times pixels."""
        widths = self.width if self.widths is None else self.widths
        return 2 * np.pi * self.heights * widths**2

    def background_image(self, shape: tuple[int, ...]) -> Float[np.ndarray, "rows columns"]:
        """The background in every pixel."""
        if len(self.background) == 1:
            return np.full(shape, self.background[0])
        y, x = (np.linspace(-1, 1, n) for n in shape)
        return self.background[0] + self.background[1] * x + self.background[2] * y[:, None]


@partial(jax.tree_util.register_dataclass, data_fields=("pixels", "mask", "corners", "near"),
         meta_fields=("shape",))  # fmt: skip
@dataclass(frozen=True)
class Tiles:
    """An image in tiles.

    Attributes:
        pixels: intensities, shape (tiles, TILE, TILE), 0 beyond the image.
        mask: 1 inside the image, 0 beyond.
        corners: x, y of each tile's first pixel, shape (tiles, 2).
        near: columns that contribute to each tile, shape (tiles, most); n where there are less.
        shape: rows and columns of the image.
    """

    pixels: Float[Array, "tiles y x"]
    mask: Float[Array, "tiles y x"]
    corners: Float[Array, "tiles 2"]
    near: Int[Array, "tiles most"]
    shape: tuple[int, int]


def into_tiles(pixels: np.ndarray, positions: np.ndarray, width: float) -> Tiles:
    """Cut an image into tiles and find the columns near each."""
    rows, columns = (-(-n // TILE) for n in pixels.shape)
    padding = [(0, m * TILE - n) for m, n in zip((rows, columns), pixels.shape, strict=True)]

    def cut(array: np.ndarray) -> np.ndarray:
        whole = np.pad(array.astype(np.float32), padding)
        return whole.reshape(rows, TILE, columns, TILE).swapaxes(1, 2).reshape(-1, TILE, TILE)

    y, x = np.mgrid[:rows, :columns].reshape(2, -1) * TILE
    corners = np.stack([x, y], axis=1).astype(np.float32)
    # Positions move by less than one width while they are fitted.
    reach = (REACH + 1) * width
    beyond = np.maximum(corners[:, None] - positions, positions - corners[:, None] - TILE + 1)
    close = np.all(beyond < reach, axis=-1)
    most = max(1, int(close.sum(axis=1).max()))
    order = np.argsort(~close, axis=1, kind="stable")[:, :most]
    near = np.where(np.take_along_axis(close, order, axis=1), order, len(positions))
    return Tiles(
        pixels=jnp.asarray(cut(pixels)),
        mask=jnp.asarray(cut(np.ones(pixels.shape))),
        corners=jnp.asarray(corners),
        near=jnp.asarray(near),
        shape=(pixels.shape[0], pixels.shape[1]),
    )


@jax.jit
def model_tiles(parameters: dict[str, Array], tiles: Tiles) -> Float[Array, "tiles y x"]:
    """The model in every tile.

    Parameters are positions (n, 2), heights (n,), log_width, background.
    """
    positions = jnp.pad(parameters["positions"], ((0, 1), (0, 0)))
    heights = jnp.pad(parameters["heights"], (0, 1))
    along = jnp.arange(TILE, dtype=jnp.float32)
    inverse = jnp.exp(-parameters["log_width"])
    background = parameters["background"]

    def one(tile: tuple[Array, Array]) -> Float[Array, "y x"]:
        corner, near = tile
        offset = along[:, None] + corner - positions[near][:, None]
        profiles = jnp.exp(-0.5 * jnp.square(offset * inverse))
        image = jnp.einsum("k,ky,kx->yx", heights[near], profiles[..., 1], profiles[..., 0])
        if len(background) == 1:
            return image + background[0]
        x, y = (2 * (along + corner[axis]) / (tiles.shape[1 - axis] - 1) - 1 for axis in (0, 1))
        return image + background[0] + background[1] * x + background[2] * y[:, None]

    return jax.lax.map(one, (tiles.corners, tiles.near), batch_size=16)


@jax.jit
def loss(parameters: dict[str, Array], tiles: Tiles) -> Float[Array, ""]:
    """Half the sum of squares of image − model."""
    return 0.5 * jnp.sum(tiles.mask * jnp.square(tiles.pixels - model_tiles(parameters, tiles)))


def _log_cost(
    parameters: dict[str, Array], tiles: Tiles, prior: PositionPrior
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The logarithm of the loss plus that of the prior, and the loss.

    With N pixels of unknown variance, minus the log posterior is N/2 times the first.
    """
    squares = prior.squares(parameters["positions"])
    left = loss(parameters, tiles)
    return jnp.log(left + 1e-30) + squares / (tiles.shape[0] * tiles.shape[1]), left


@jax.jit
def _gradient(
    parameters: dict[str, Array], tiles: Tiles, prior: PositionPrior
) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Array]]:
    """What `_log_cost` gives, and its gradient times the loss, comparable with `gauss_newton`."""
    of_all = jax.value_and_grad(_log_cost, has_aux=True)
    (cost, left), gradient = of_all(parameters, tiles, prior)
    return cost, left, jax.tree.map(lambda g: left * g, gradient)


def _overlap(p: Float[Array, " 4"], q: Float[Array, " 4"]) -> Float[Array, ""]:
    """Integral of the product of two Gaussians, each x, y, height, log of the width."""
    a, b = jnp.exp(2 * p[3]), jnp.exp(2 * q[3])
    squared = (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2
    return p[2] * q[2] * 2 * jnp.pi * a * b / (a + b) * jnp.exp(-0.5 * squared / (a + b))


_blocks = jax.jit(jax.vmap(jax.jacfwd(jax.grad(_overlap, argnums=0), argnums=1)))


def gauss_newton(parameters: dict[str, Array], shape: tuple[int, int]) -> scipy.sparse.csr_matrix:
    """Inner products of the model's derivatives, over the whole plane.

    In the order x, y, height of each column, log of the width, background.
    """
    positions = np.asarray(parameters["positions"], float)
    heights = np.asarray(parameters["heights"], float)
    log_width = float(parameters["log_width"])
    n, terms = len(heights), len(parameters["background"])
    area = 2 * np.pi * np.exp(2 * log_width)
    pairs = scipy.spatial.cKDTree(positions).query_pairs(
        OVERLAP * np.exp(log_width), output_type="ndarray"
    )
    own = np.arange(n)
    i = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    j = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    of_column = np.column_stack([positions, heights, np.full(n, log_width)])
    # One compilation for a range of numbers of pairs.
    more = (1 << (len(i) - 1).bit_length()) - len(i)
    padded = np.pad(np.stack([i, j]), ((0, 0), (0, more)))
    blocks = np.asarray(_blocks(*map(jnp.float32, of_column[padded])), float)[: len(i)]
    each = np.arange(3)
    row = np.broadcast_to((3 * i[:, None] + each)[:, :, None], (len(i), 3, 3))
    column = np.broadcast_to((3 * j[:, None] + each)[:, None, :], (len(i), 3, 3))
    inner = scipy.sparse.coo_matrix(
        (blocks[:, :3, :3].ravel(), (row.ravel(), column.ravel())), (3 * n, 3 * n)
    )
    shared = np.zeros((n, 3, 1 + terms))
    np.add.at(shared[..., 0], i, blocks[:, :3, 3])
    corner = np.zeros((1 + terms, 1 + terms))
    corner[0, 0] = blocks[:, 3, 3].sum()
    rows, columns = shape
    basis = np.ones((n, terms))
    slopes = np.zeros((n, 2, terms))
    if terms == 3:
        ends = np.array([columns - 1, rows - 1])
        basis[:, 1:] = 2 * positions / ends - 1
        slopes[:, 0, 1], slopes[:, 1, 2] = 2 / ends
    shared[:, :2, 1:] = area * heights[:, None, None] * slopes
    shared[:, 2, 1:] = area * basis
    corner[0, 1:] = corner[1:, 0] = 2 * area * heights @ basis
    corner[1:, 1:] = rows * columns * np.diag([1.0, 1 / 3, 1 / 3][:terms])
    border = shared.reshape(3 * n, -1)
    return scipy.sparse.bmat([[inner, border], [border.T, corner]], format="csr")


def fit_gaussians(
    pixels: np.ndarray,
    positions: Float[np.ndarray, "n 2"],
    width: float,
    *,
    plane: bool = False,
    prior: PositionPrior | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> GaussianFit:
    """Fit Gaussians to an image, by a damped Gauss–Newton method.

    Args:
        pixels: the image, shape (rows, columns).
        positions: x, y of the columns to start from, in pixels.
        width: ρ to start from, in pixels.
        plane: whether the background is a plane rather than a constant.
        prior: of the positions; default: around where they start, without rows.
        progress: called with the number of steps and the largest move of a position in pixels.
    """
    low = float(np.quantile(pixels, 0.05))
    scale = float(np.quantile(pixels, 0.995)) - low or 1.0
    scaled = (pixels - np.float32(low)) / np.float32(scale)
    nearest = np.clip(np.rint(positions).astype(int), 0, np.array(pixels.shape[::-1]) - 1)
    parameters = {
        "positions": jnp.asarray(positions, jnp.float32),
        "heights": jnp.asarray(np.maximum(scaled[nearest[:, 1], nearest[:, 0]], 1e-3)),
        "log_width": jnp.float32(np.log(width)),
        "background": jnp.zeros(3 if plane else 1, jnp.float32),
    }
    tiles, tiled_width = into_tiles(scaled, positions, width), width
    # First heights and background alone, in which the model is linear.
    prior = prior or PositionPrior.of(positions, POSITION_STD * width)
    precision = prior.precision()
    for _ in range(LINEAR_STEPS):
        _, _, gradient = _gradient(parameters, tiles, prior)
        step = _solve(gauss_newton(parameters, pixels.shape), gradient, 0.0)
        parameters, _ = _stepped(parameters, step)
    damping, quiet = 1e-2, 0
    cost, left, gradient = _gradient(parameters, tiles, prior)
    for iteration in range(ITERATIONS):
        matrix = gauss_newton(parameters, pixels.shape)
        stiffness = 2 * float(left) / pixels.size * precision
        step = _solve(matrix, gradient, damping, stiffness)
        trial, moved = _stepped(parameters, step)
        if abs(float(trial["log_width"] - parameters["log_width"])) > LARGEST_STEP:
            damping *= 10
            continue
        if not 0.8 < float(jnp.exp(trial["log_width"])) / tiled_width < 1.15:
            tiled_width = float(jnp.exp(trial["log_width"]))
            tiles = into_tiles(scaled, np.asarray(trial["positions"]), tiled_width)
            cost, left, gradient = _gradient(parameters, tiles, prior)
        new_cost, new_left, new_gradient = _gradient(trial, tiles, prior)
        if progress:
            progress(iteration + 1, moved)
        decrease = float(cost - new_cost)
        if decrease >= -TOLERANCE:
            parameters, cost, left, gradient = trial, new_cost, new_left, new_gradient
            damping = max(damping / 10, 1e-9)
            quiet = quiet + 1 if decrease < TOLERANCE else 0
        else:
            damping *= 10
        if quiet == QUIET:
            break
    background = np.asarray(parameters["background"], float) * scale
    background[0] += low
    return GaussianFit(
        positions=np.asarray(parameters["positions"], float),
        heights=np.asarray(parameters["heights"], float) * scale,
        width=float(np.exp(float(parameters["log_width"]))),
        background=background,
        residual_variance=2 * float(loss(parameters, tiles)) / pixels.size * scale**2,
        converged=quiet == QUIET,
    )


def _solve(
    matrix: scipy.sparse.csr_matrix,
    gradient: dict[str, Array],
    damping: float,
    stiffness: scipy.sparse.csr_matrix | None = None,
) -> Float[np.ndarray, " parameters"]:
    """The damped step, by conjugate gradients on the matrix scaled to a unit diagonal.

    `stiffness` is the prior's curvature along x, or y; without it only heights and background
    change.
    """
    by_column = np.column_stack([gradient["positions"], gradient["heights"]])
    n = len(by_column)
    right = -np.concatenate(
        [by_column.ravel(), [float(gradient["log_width"])], np.asarray(gradient["background"])]
    ).astype(float)
    if stiffness is not None:
        both = scipy.sparse.kron(stiffness, np.diag([1.0, 1.0, 0.0]))
        rest = scipy.sparse.csr_matrix((len(right) - 3 * n,) * 2)
        matrix = matrix + scipy.sparse.block_diag([both, rest])
    diagonal = matrix.diagonal()
    places = diagonal[: 3 * n].reshape(n, 3)[:, :2]  # a view
    places[...] = np.maximum(places, FAINT**2 * places.max())
    unit = 1 / np.sqrt(diagonal)
    if stiffness is None:
        unit[: 3 * n].reshape(n, 3)[:, :2] = 0
        unit[3 * n] = 0
    scaled = scipy.sparse.diags(unit) @ matrix @ scipy.sparse.diags(unit)
    scaled = scaled + damping * scipy.sparse.identity(len(right))
    step, _ = scipy.sparse.linalg.cg(scaled, unit * right, rtol=1e-6, maxiter=1000)
    return unit * step


def _stepped(parameters: dict[str, Array], step: np.ndarray) -> tuple[dict[str, Array], float]:
    """Parameters after a step, and the largest move of a position."""
    n = len(parameters["heights"])
    by_column = step[: 3 * n].reshape(n, 3)
    stepped = {
        "positions": parameters["positions"] + jnp.float32(by_column[:, :2]),
        "heights": parameters["heights"] + jnp.float32(by_column[:, 2]),
        "log_width": parameters["log_width"] + jnp.float32(step[3 * n]),
        "background": parameters["background"] + jnp.float32(step[3 * n + 1 :]),
    }
    return stepped, float(np.abs(by_column[:, :2]).max())
