"""Recorded demand: a checked reader of weekly sales, and the two settings that use such data.

Demand has the shape (samples, stores, weeks): a sample is a product. Files are `.pt` (one tensor),
`.npy` (one array) or `.csv` with the columns sample,store,week,demand, numbered from 0.

Negative demand is allowed: recorded sales hold returns. They are neither clipped nor dropped, as in
the released simulator of Alvo et al. (arXiv:2306.11246): returned units are back on the shelf at
the end of the period, and with profit their price is paid back.
"""

from __future__ import annotations

import csv
import hashlib
import io
import pickle
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.worlds.network import OUTSIDE, Edge, Network, Traces

# Weekly sales of 288 products in 21 stores of Corporacion Favorita over 171 weeks from 2013-01-01:
# the file data_files/favorita_21_stores/weekly_sales.pt of the repository
# MatiasAlvo/Neural_inventory_control at commit 4d77c14.
FAVORITA_21 = "565959c06b5cedbce5aa0c9c4ef49b3d0246cb552050b3e224c0d3d8ac53e089"
KNOWN = {FAVORITA_21: "Favorita, 21 stores (MatiasAlvo/Neural_inventory_control, commit 4d77c14)"}
START = "2013-01-01"  # the first day of the first week

WEEKS = {"train": (0, 111), "dev": (88, 141), "test": (118, 171)}
PAST = 16  # weeks before the simulation starts, which are observed as past demand
IGNORE = 16  # weeks of the simulation that the reported metric leaves out

SEEDS = {"penalty": 28, "holding": 73, "lead": 41}  # of the published instances
PENALTY, HOLDING, LEADS = (6.3, 11.7), (0.7, 1.3), (4, 5, 6)
COLUMNS = 6  # length of a store's inventory vector

# Lead time of every store (row) from three warehouses; 0: no connection.
WAREHOUSE_LEADS = (
    (6, 1, 5), (6, 1, 5), (6, 1, 5), (0, 1, 5), (6, 1, 4), (5, 0, 6), (5, 2, 5),
    (5, 2, 5), (5, 1, 5), (5, 2, 5), (5, 0, 5), (5, 0, 0), (5, 0, 5), (5, 0, 6),
    (0, 1, 5), (6, 1, 5), (6, 1, 5), (6, 1, 5), (6, 1, 5), (5, 1, 4), (5, 2, 5),
)  # fmt: skip
WAREHOUSE_HOLDING = (0.3, 0.4, 0.2)
SUPPLY_COST = (0.5, 1.5, 0.7)  # per unit that a warehouse orders
SUPPLY_LEAD = 3

FIELDS = ("sample", "store", "week", "demand")
LARGEST = 10**9  # no index of a CSV file is larger: the product of two fits 64 bits


@dataclass(frozen=True)
class Recorded:
    """Demand read from a file: float32 (samples, stores, weeks), units; and what file it was."""

    demand: Tensor
    sha256: str
    origin: str  # a known data set, or a note that it is none


def read(
    path: str | Path, stores: int | None = None, weeks: int | None = None, sha256: str | None = None
) -> Recorded:
    """Demand from `path`, checked: `stores` and `weeks` are what the setting needs, if it does.

    Raises: PgbenchError naming file and place for anything else than finite demand of that shape.
    """
    path = Path(path)
    readers = {".pt": _tensor, ".npy": _array, ".csv": _long}
    if path.suffix not in readers:
        raise PgbenchError(f"demand file {path}: '{path.suffix}' is none of .pt, .npy and .csv")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PgbenchError(f"demand file {path} does not exist; check the path") from None
    except OSError as error:
        raise PgbenchError(f"demand file {path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise PgbenchError(
            f"demand file {path}: SHA-256 is {found}, expected {sha256.lower()}; it is another file"
        )
    raw = readers[path.suffix](data, path)
    if raw.ndim != 3:
        raise PgbenchError(
            f"demand file {path}: {raw.ndim} dimensions, shape {raw.shape}; "
            "it must have 3 (samples, stores, weeks)"
        )
    if raw.size == 0:
        raise PgbenchError(f"demand file {path} is empty: shape {raw.shape}")
    for name, expected, width in (("stores", stores, raw.shape[1]), ("weeks", weeks, raw.shape[2])):
        if expected is not None and width != expected:
            raise PgbenchError(f"demand file {path}: {width} {name}, the setting needs {expected}")
    with np.errstate(over="ignore"):
        demand = np.ascontiguousarray(raw, dtype=np.float32)
    wrong = np.argwhere(~np.isfinite(demand))
    if len(wrong):
        i, k, w = wrong[0]
        raise PgbenchError(
            f"demand file {path}: {raw[i, k, w]} at sample {i}, store {k}, week {w} "
            f"({len(wrong)} such entries); demand must be finite"
        )
    note = f"{path.name}, no data set known here (SHA-256 {found})"
    return Recorded(torch.from_numpy(demand), found, KNOWN.get(found, note))


def _tensor(data: bytes, path: Path) -> np.ndarray:
    """The array of a `.pt` file; objects other than tensors are not unpickled."""
    try:
        value = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PgbenchError(f"demand file {path} holds no tensor: {reason}") from error
    if not isinstance(value, Tensor):
        raise PgbenchError(f"demand file {path} holds a {type(value).__name__}, not a tensor")
    if value.layout != torch.strided or value.is_quantized:
        raise PgbenchError(f"demand file {path} holds a sparse or quantised tensor; save it dense")
    value = value.detach()
    return _real((value.float() if value.dtype == torch.bfloat16 else value).numpy(), path)


def _array(data: bytes, path: Path) -> np.ndarray:
    """The array of a `.npy` file; objects are not unpickled."""
    try:
        value = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PgbenchError(f"demand file {path} holds no array: {reason}") from error
    if not isinstance(value, np.ndarray):
        value.close()
        raise PgbenchError(f"demand file {path} holds several arrays, not one; save one as .npy")
    return _real(value, path)


def _real(value: np.ndarray, path: Path) -> np.ndarray:
    """`value` if its entries are real numbers."""
    if value.dtype.kind not in "fiu":
        raise PgbenchError(f"demand file {path} holds entries of type {value.dtype}, not numbers")
    return value


def _long(data: bytes, path: Path) -> np.ndarray:
    """The array of a `.csv` file in long form, where every (sample, store, week) occurs once."""
    try:
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        header = [name.strip() for name in next(lines, [])]
        columns = _columns(header, path)
        cells = [_cells(row, columns, lines.line_num, len(header), path) for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise PgbenchError(f"demand file {path} is no CSV text: {error}") from error
    if not cells:
        raise PgbenchError(f"demand file {path} is empty: it has no line below its header")
    index = np.array([row[:3] for row in cells], np.int64)
    order = np.lexsort(index.T[::-1])
    index = index[order]
    twice = (index[1:] == index[:-1]).all(1)
    if twice.any():
        i, k, w = index[1:][twice][0]
        raise PgbenchError(f"demand file {path}: sample {i}, store {k}, week {w} occurs twice")
    n, stores, weeks = (int(size) + 1 for size in index.max(0))
    at = np.arange(len(index))
    expected = np.stack([at // weeks // stores, at // weeks % stores, at % weeks], 1)
    gaps = (index != expected).any(1)
    if gaps.any() or len(index) != n * stores * weeks:
        row = int(gaps.argmax()) if gaps.any() else len(index)
        i, k, w = row // weeks // stores, row // weeks % stores, row % weeks
        raise PgbenchError(
            f"demand file {path}: sample {i}, store {k}, week {w} is missing "
            f"({len(cells)} lines for {n} x {stores} x {weeks})"
        )
    return np.array([row[3] for row in cells])[order].reshape(n, stores, weeks)


def _columns(header: list[str], path: Path) -> list[int]:
    """Where the columns of FIELDS are."""
    names = ",".join(FIELDS)
    for name in FIELDS:
        if header.count(name) != 1:
            what = f"has column '{name}' twice" if name in header else f"lacks column '{name}'"
            raise PgbenchError(f"demand file {path} {what}; its columns must be {names}")
    for name in header:
        if name not in FIELDS:
            raise PgbenchError(
                f"demand file {path} has an unknown column '{name}'; its columns must be {names}"
            )
    return [header.index(name) for name in FIELDS]


def _cells(
    row: list[str], columns: list[int], line: int, width: int, path: Path
) -> tuple[int, int, int, float]:
    """Sample, store, week and demand of one line."""
    if len(row) != width:
        raise PgbenchError(f"demand file {path}, line {line}: {len(row)} cells, not {width}")
    at = []
    for name, column in zip(FIELDS, columns[:3], strict=False):
        text = row[column].strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise PgbenchError(
                f"demand file {path}, line {line}: {name} '{text}' is no whole number "
                f"from 0 to {LARGEST - 1}"
            )
        at.append(int(text))
    try:
        return at[0], at[1], at[2], float(row[columns[3]])
    except ValueError:
        text = row[columns[3]]
        raise PgbenchError(
            f"demand file {path}, line {line}: demand '{text}' is no number"
        ) from None


def days_from_christmas(weeks: int, start: str = START) -> Tensor:
    """Days from the nearest Christmas Day to the first day of each week: (weeks,), - before it."""
    day, out = date.fromisoformat(start), []
    for week in range(weeks):
        at = day + timedelta(weeks=week)
        out.append(min(((at - date(at.year - y, 12, 25)).days for y in (0, 1)), key=abs))
    return torch.tensor(out, dtype=torch.float32)


def split(demand: Tensor, name: str) -> tuple[Tensor, int]:
    """The weeks of a split: demand (samples, stores, shift + T), and shift = 16 weeks of past.

    Splits overlap, but no week that a metric counts on dev or test is used by an earlier split.

    Raises: PgbenchError for another name, or if the recording ends before the split does.
    """
    if name not in WEEKS:
        raise PgbenchError(f"no split '{name}'; there are {', '.join(WEEKS)}")
    first, stop = WEEKS[name]
    if demand.shape[-1] < stop:
        raise PgbenchError(f"{demand.shape[-1]} weeks of demand; the split '{name}' ends at {stop}")
    return demand[..., first:stop], PAST


def costs(samples: int, stores: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Penalties (stores, samples), holding costs (stores,) and lead times (1, samples).

    Penalties are U(6.3, 11.7) for every sample and store (the published profit of the
    just-in-time oracle fits such draws, and neither draws by store nor by sample); holding costs
    are 1 for one store, otherwise U(0.7, 1.3); lead times are 4, 5 or 6 weeks. `seed` 0 gives
    the published draws.
    """
    draw = {name: np.random.RandomState(base + seed) for name, base in SEEDS.items()}
    penalty = draw["penalty"].uniform(*PENALTY, (samples, stores))
    holding = np.ones(1) if stores == 1 else draw["holding"].uniform(*HOLDING, stores)
    lead = draw["lead"].randint(LEADS[0], LEADS[-1] + 1, (1, samples))
    return tuple(torch.from_numpy(x).float() for x in (penalty.T.copy(), holding, lead))  # type: ignore[return-value]


def one_store(source: Recorded | Tensor, name: str) -> tuple[Network, Traces]:
    """One store without a warehouse: every series of every store is a sample of its own.

    Profit, lost sales; penalty and lead time vary between samples. `name` is the split.
    """
    series = _demand(source).flatten(0, 1)[:, None]
    penalty, _, lead = costs(len(series), 1)
    mean, std = _moments(series)
    network = Network(
        upstream=0, stores=1, edges=(Edge(OUTSIDE, 0, LEADS[-1]),), holding=(1.0,),
        penalty=(sum(PENALTY) / 2,), mean=mean, std=std, columns=(0, COLUMNS),
        profit=True, past=PAST, clock=True, varying=("penalty", "lead"),
    )  # fmt: skip
    return network, _traces(network, series, name, {"penalty": penalty, "lead": lead})


def many_warehouses(source: Recorded | Tensor, name: str) -> tuple[Network, Traces]:
    """Three warehouses and 21 stores, most of which have two or three suppliers.

    Profit, lost sales; penalties vary between samples (products). `name` is the split.

    Raises: PgbenchError if `source` has another number of stores.
    """
    demand = _demand(source)
    stores, houses = len(WAREHOUSE_LEADS), len(WAREHOUSE_HOLDING)
    if demand.shape[1] != stores:
        raise PgbenchError(f"demand of {demand.shape[1]} stores; many_warehouses needs {stores}")
    penalty, holding, _ = costs(len(demand), stores)
    mean, std = _moments(demand)
    edges = [
        Edge(w, houses + k, WAREHOUSE_LEADS[k][w])
        for w in range(houses) for k in range(stores) if WAREHOUSE_LEADS[k][w]
    ]  # fmt: skip
    edges += [Edge(OUTSIDE, w, SUPPLY_LEAD, SUPPLY_COST[w]) for w in range(houses)]
    network = Network(
        upstream=houses, stores=stores, edges=tuple(edges),
        holding=(*WAREHOUSE_HOLDING, *holding.tolist()), penalty=(sum(PENALTY) / 2,) * stores,
        mean=mean, std=std, columns=(SUPPLY_LEAD, COLUMNS),
        profit=True, past=PAST, clock=True, varying=("penalty",),
    )  # fmt: skip
    return network, _traces(network, demand, name, {"penalty": penalty})


def _demand(source: Recorded | Tensor) -> Tensor:
    return source.demand if isinstance(source, Recorded) else source


def _moments(demand: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each store's demand in the weeks of training."""
    known = split(demand, "train")[0].double()
    return tuple(known.mean((0, 2)).tolist()), tuple(known.std((0, 2)).tolist())


def _traces(network: Network, demand: Tensor, name: str, fixed: dict[str, Tensor]) -> Traces:
    """The split as traces that begin with empty locations."""
    part, shift = split(demand, name)
    first, stop = WEEKS[name]
    start = torch.zeros(network.stock, len(demand), dtype=torch.float32)
    clock = days_from_christmas(stop)[first:]
    return Traces(part.permute(2, 1, 0).contiguous(), start, fixed, clock, shift)
