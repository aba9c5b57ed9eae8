"""The three photos of `photo_folder` in a tar by webdataset and in Parquet as by `datasets`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds

NAMES = ("astronaut.png", "chelsea.jpg", "sub/coffee.webp")
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def hugging_face(**features: str) -> dict[str, str]:
    """The metadata of a schema: its columns' types as `datasets` notes them."""
    noted = {name: {"_type": kind} for name, kind in features.items()}
    return {"huggingface": json.dumps({"info": {"features": noted}})}


def write_parquet(
    path: Path,
    values: Sequence[bytes | None],
    group: int = 2,
    noted: bool = True,
    paths: bool = False,
    **options: Any,
) -> Path:
    """A column `image` of these bytes, beside numbers. paths: of null bytes there is a path."""
    rows = [
        None if value is None and not paths else {"bytes": value, "path": f"/etc/{i}.png"}
        for i, value in enumerate(values)
    ]
    metadata = hugging_face(image="Image", label="Value") if noted else None
    schema = pa.schema({"label": pa.int64(), "image": IMAGE}, metadata=metadata)
    columns = {"label": list(range(len(values))), "image": pa.array(rows, IMAGE)}
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=group, **options)
    return path


@pytest.fixture(scope="session")
def pictures(photo_folder: Path) -> list[bytes]:
    """The bytes of the three photos."""
    return [(photo_folder / name).read_bytes() for name in NAMES]


@pytest.fixture(scope="session")
def data_sets(pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos-000000.tar`, with a caption beside each, and `train-00000.parquet` of two row groups.
    Do not write here.
    """
    folder = tmp_path_factory.mktemp("data-sets")
    with wds.TarWriter(str(folder / "photos-000000.tar")) as tar:
        for name, data in zip(NAMES, pictures, strict=True):
            key, _, ending = name.rpartition(".")
            tar.write({"__key__": key, ending: data, "txt": b"a caption"})
    write_parquet(folder / "train-00000.parquet", pictures)
    return folder


@pytest.fixture
def tar_of(tmp_path: Path) -> Callable[..., Path]:
    """`tar_of((name, data), ...)`: a tar of members of any names."""

    def write(*members: tuple[str, bytes], name: str = "a.tar", mode: str = "w") -> Path:
        path = tmp_path / name
        with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    return write
