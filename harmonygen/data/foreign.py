"""Layouts of other tools that are known by their look and not read: what to do with each, in one line."""

from __future__ import annotations

from pathlib import Path

from harmonygen.data.files import entries, subfolders

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_SIDE_BY_SIDE = "mkdir images masks; mv *.jpg images; mv *.png masks"


def advice(path: Path) -> str:
    """Say which tool's layout a path is in and how to convert it, or return ""."""
    if path.is_file():
        return _of_file(path)
    if not path.is_dir():
        return ""
    found = (_supervisely, _cvat, _arrow, _shards, _yolo, _one_stem)
    return next((said for each in found if (said := each(path))), "")


def _of_file(path: Path) -> str:
    if path.suffix.lower() == ".xml":
        return _CVAT if "annotation" in path.name.lower() else ""
    if path.suffix.lower() in _ARCHIVES:
        return f"it is an archive: unpack it (tar -xf {path.name} -C FOLDER, or unzip), then {_WEBDATASET}"
    return ""


_CVAT = "it is CVAT's XML: export the task again as 'COCO 1.0', which is read"
_WEBDATASET = f"if photos and masks of one name then lie side by side, part them: {_SIDE_BY_SIDE}"


def _supervisely(path: Path) -> str:
    inner = [folder for top in (path, *subfolders(path)) for folder in subfolders(top) if folder.name == "ann"]
    if inner and any((folder.parent / "img").is_dir() for folder in inner):
        return "it is a Supervisely project: export it as COCO (the app 'Export to COCO'), which is read"
    return ""


def _cvat(path: Path) -> str:
    return _CVAT if (path / "annotations.xml").is_file() else ""


def _arrow(path: Path) -> str:
    if (path / "dataset_info.json").is_file() and any(entry.name.endswith(".arrow") for entry in entries(path)):
        return "it was written by datasets' save_to_disk: write it with to_parquet instead"
    return ""


def _shards(path: Path) -> str:
    names = [entry.name for entry in entries(path)]
    tars = [name for name in names if name.lower().endswith((".tar", ".tar.gz", ".tgz"))]
    if not tars:
        return ""
    unpack = f"for t in {'*.tar' if tars[0].endswith('.tar') else tars[0]}; do tar -xf $t; done"
    return f"it holds {len(tars)} archives such as WebDataset's shards: unpack them ({unpack}), then {_WEBDATASET}"


def _yolo(path: Path) -> str:
    inner = {folder.name for folder in subfolders(path)}
    if "labels" in inner and (path / "labels").is_dir() and _has_text(path / "labels"):
        return "it is YOLO's (labels/*.txt): export it as COCO with segmentations, or draw masks"
    return ""


def _has_text(folder: Path) -> bool:
    places = (folder, *subfolders(folder))
    return any(entry.name.endswith(".txt") for place in places for entry in entries(place))


def _one_stem(path: Path) -> str:
    """Tell of photos and masks of one name in one folder."""
    names = [entry.name.lower() for entry in entries(path)]
    jpegs = {name.rpartition(".")[0] for name in names if name.endswith((".jpg", ".jpeg"))}
    both = sorted(jpegs & {name.rpartition(".")[0] for name in names if name.endswith(".png")})
    if not both:
        return ""
    return (
        f"'{both[0]}.jpg' and '{both[0]}.png' lie side by side; if the PNG files are the masks, part them: "
        f"{_SIDE_BY_SIDE}"
    )
