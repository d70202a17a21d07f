"""Fixtures: small real photos with masks, and small randomly initialised models of the real classes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from harmonygen.pictures.images import Decoded
from harmonygen.pictures.photo import Photo, Sizing, size_photo
from harmonygen.records import FileSource, Pair
from harmonygen.synthesis.settings import SynthesizeSettings
from tests.fakes import small_own
from tests.fakes.small_editors import small_sides
from tests.fakes.small_stable_diffusion import narrow_stable_diffusion

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")
SHARED = Path(os.environ.get("HARMONYGEN_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what repeats, in more or longer cases, what other tests see: `make test` has ten minutes."""
    if not os.environ.get("HARMONYGEN_ALL_CASES"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long: HARMONYGEN_ALL_CASES=1 runs it"))


def small_photos(count: int = 3, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """Real photos from the scikit-image wheel, small (H, W, 3) uint8."""
    from skimage import data

    sources = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    return [np.asarray(Image.fromarray(source).resize((width, height))) for source in sources[:count]]


def ellipse(height: int, width: int, scale: float = 0.3) -> np.ndarray:
    """A (H, W) bool mask: an ellipse in the middle."""
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) / (height * scale)) ** 2 + ((x - width / 2) / (width * scale)) ** 2 < 1


@pytest.fixture
def make_photo() -> Callable[..., Photo]:
    """A photo of scikit-image, 128 x 96 with an ellipse in the middle, sized by the keywords."""
    return sized_photo


def sized_photo(name: str = "astronaut", height: int = 96, width: int = 128, **sizing: Any) -> Photo:
    """A decoded photo with its mask, at the sizes that the keywords ask for (model's resolution: 32 px)."""
    from skimage import data

    image = np.asarray(Image.fromarray(getattr(data, name)()).resize((width, height)))
    pair = Pair(f"{name}/0", name, "0", FileSource(Path(f"{name}.png")), FileSource(Path(f"{name}-mask.png")))
    options = {"resolution": 32, "multiple": 8, **sizing}
    return size_photo(pair, Decoded(image, (width, height), 1), ellipse(height, width), Sizing(**options))


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A data set in the `folders` layout: images/ and masks/ with three small real photos."""
    root = tmp_path / "photos"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for name, photo in zip(("astronaut", "coffee", "chelsea"), small_photos(), strict=True):
        Image.fromarray(photo).save(root / "images" / f"{name}.png")
        Image.fromarray(ellipse(*photo.shape[:2]).astype(np.uint8) * 255).save(root / "masks" / f"{name}.png")
    return root


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised classifier folder (image + mask, 32 px)."""
    return small_own.classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="session")
def tiny_inverse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised inverse checkpoint folder, target latent, 32 px, of the real diffusers classes."""
    return small_own.inverse(tmp_path_factory.mktemp("inverse"))


@pytest.fixture(scope="session")
def tiny_forward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forward checkpoint folder, otherwise as :func:`tiny_inverse`."""
    return small_own.forward(tmp_path_factory.mktemp("forward"))


@pytest.fixture(scope="session")
def tiny_direct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised direct harmonizer's folder, 32 px; its last convolution is random too."""
    return small_own.direct(tmp_path_factory.mktemp("direct"))


@pytest.fixture(scope="session")
def tiny_parametric_inverse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised parametric inverse's folder, 32 px, whose prior is of random changes."""
    return small_own.parametric_inverse(tmp_path_factory.mktemp("parametric-inverse"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The local data folder; tests that use it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the local data are not here")
    return SHARED


@pytest.fixture(scope="session", name="small_photos")
def small_photos_fixture() -> Callable[..., list[np.ndarray]]:
    """:func:`small_photos`, for test files: they cannot import this one."""
    return small_photos


@pytest.fixture(scope="session", name="ellipse")
def ellipse_fixture() -> Callable[..., np.ndarray]:
    """:func:`ellipse`, for test files: they cannot import this one."""
    return ellipse


@pytest.fixture(scope="session")
def make_stable_diffusion() -> Callable[..., Path]:
    """Write a Stable Diffusion 1.5 folder of the real classes, block for block, at a fortieth of its widths."""
    return narrow_stable_diffusion


@pytest.fixture(scope="session")
def in_half_precision() -> Callable[[Path], None]:
    """Leave a Stable Diffusion folder only its ``.fp16.safetensors``: so stable-diffusion-v1-5's on the Hub is."""
    return leave_half_precision


def leave_half_precision(folder: Path) -> None:
    """See :func:`in_half_precision`."""
    from safetensors.torch import load_file, save_file

    for path in list(folder.glob("*/*.safetensors")):
        state = load_file(path)
        path.unlink()
        halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        save_file(halved, path.with_suffix(".fp16.safetensors"), {"format": "pt"})


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion inpainting folder: do not write into it."""
    return narrow_stable_diffusion(tmp_path_factory.mktemp("sd") / "inpainting")


@pytest.fixture(scope="session")
def tiny_sd_plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion folder whose UNet takes 4 channels: do not write into it."""
    return narrow_stable_diffusion(tmp_path_factory.mktemp("sd") / "plain", in_channels=4)


SOURCES = ("astronaut", "coffee", "chelsea", "rocket")


@pytest.fixture
def six_photos(tmp_path: Path) -> Path:
    """Six small real photos with masks, in the `folders` layout."""
    return _write_six_photos(tmp_path / "six")


def _write_six_photos(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for index in range(6):
        image = Image.fromarray(getattr(data, SOURCES[index % 4])()).resize((64, 48))
        image.rotate(180 * (index // 4)).save(root / "images" / f"p{index}.png")
        mask = Image.new("L", (64, 48))
        mask.paste(255, (10 + 2 * index, 8, 40, 40))
        mask.save(root / "masks" / f"p{index}.png")
    return root


@pytest.fixture
def settings_of(six_photos: Path, tiny_classifier: Path, tmp_path: Path) -> Callable[..., SynthesizeSettings]:
    """Settings of a small LUT run over six photos, three a shard's two; keywords change them."""

    def make(**changes: Any) -> SynthesizeSettings:
        return _small_run(tiny_classifier, **{"data": str(six_photos), "out": tmp_path / "run", **changes})

    return make


def _small_run(classifier: Path, /, **changes: Any) -> SynthesizeSettings:
    values = {"generator": "color-jitter", "classifier": str(classifier), "k": 4, "shard_size": 2, "device": "cpu"}
    return SynthesizeSettings(**{**values, **changes})


@pytest.fixture(scope="session")
def finished_run(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six pairs, four candidates each, three shards, its photos beside it: do not write into it."""
    from harmonygen.synthesis.synthesize import synthesize

    place = tmp_path_factory.mktemp("finished")
    settings = _small_run(tiny_classifier, data=str(_write_six_photos(place / "six")), out=place / "run")
    synthesize(settings)
    return settings.out


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Every candidate row of a run, in the order of its files, ``pixels`` decoded."""

    def read(out: Path) -> list[dict[str, Any]]:
        rows = [
            row for path in sorted((out / "candidates").glob("*.parquet")) for row in pq.read_table(path).to_pylist()
        ]
        for row in rows:
            row["pixels"] = np.asarray(Image.open(io.BytesIO(row.pop("composite")["bytes"]))).tobytes()
        return rows

    return read


@pytest.fixture
def tree() -> Callable[[Path], dict[str, tuple[int, bytes]]]:
    """Every file below a folder with its mtime and content."""

    def read(out: Path) -> dict[str, tuple[int, bytes]]:
        files = (path for path in sorted(out.rglob("*")) if path.is_file())
        return {str(path.relative_to(out)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    return read


@pytest.fixture
def small_megapixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let QwenImageEdit work at the area of 192 x 192 pixels instead of a megapixel, which takes seconds."""
    for module, sides in small_sides():
        monkeypatch.setattr(module, "calculate_dimensions", sides)
