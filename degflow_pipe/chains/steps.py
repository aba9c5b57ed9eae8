"""The steps of a chain: what each may draw, and what a drawn one does to a picture.

A picture is (H, W, 3) uint8 RGB before and after each step, as programs hand it on. What is drawn
is a mapping of plain values, rounded before it is used, so that what is recorded gives the same
bytes again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np

from degflow_pipe.errors import UsageError
from degflow_pipe.pictures.arrays import rounded
from degflow_pipe.pictures.formats import CHROMA, PictureFormat
from degflow_pipe.settings import AtLeast, AtMost

Drawn = dict[str, Any]
"""What was drawn of a step: its name under `step`, and plain values."""
Kernel = Literal["area", "linear", "cubic", "lanczos4"]
Chroma = Literal["4:4:4", "4:2:2", "4:2:0"]

KERNELS: dict[str, int] = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos4": cv2.INTER_LANCZOS4,
}
"""OpenCV's; none but area is antialiased where it shrinks, as in many programs."""
DECIMALS = 3
"""Of what is drawn from a range."""


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """One step of a chain. probability: of its being taken.

    A range is [least, most], drawn evenly; of a list of words one is drawn, a word that is there
    twice as often.

    Raises UsageError, naming the field, for a range that is none.
    """

    probability: Annotated[float, AtLeast(0), AtMost(1)] = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, list | tuple):
                continue
            object.__setattr__(self, field.name, tuple(value))
            if not value:
                raise UsageError(f"`{field.name}` needs one of its words at least, or two numbers")
            if not isinstance(value[0], str) and (len(value) != 2 or value[0] > value[1]):
                raise UsageError(
                    f"`{field.name}` must be a range [least, most], got {list(value)!r}"
                )

    @abstractmethod
    def draw(self, rng: np.random.Generator, grey: bool) -> Drawn:
        """What this step does to one picture; grey: whether that has no colour."""


class Action(Step):
    """A step that does something to a picture."""

    name: ClassVar[str]

    def draw(self, rng: np.random.Generator, grey: bool) -> Drawn:
        return {"step": self.name, **self._values(rng, grey)}

    @abstractmethod
    def _values(self, rng: np.random.Generator, grey: bool) -> Drawn: ...

    @staticmethod
    @abstractmethod
    def apply(picture: np.ndarray, drawn: Drawn) -> np.ndarray:
        """The picture after the step, drawn so."""


@dataclass(frozen=True, kw_only=True)
class Resize(Action):
    """To another size and back: what was finer than the smaller size is lost, what was there rings.

    factor: of the sides, 1 being the size it has; shrinking, enlarging: kernels of the two ways,
    drawn each for itself. Area is nearly no interpolation at all where it enlarges.
    """

    name = "resize"
    factor: Annotated[tuple[float, float], AtLeast(0.1), AtMost(4)]
    shrinking: tuple[Kernel, ...] = ("area", "linear", "cubic", "lanczos4")
    enlarging: tuple[Kernel, ...] = ("linear", "cubic", "lanczos4")

    def _values(self, rng: np.random.Generator, grey: bool) -> Drawn:
        factor = _number(rng, self.factor)
        ways = (self.shrinking, self.enlarging) if factor < 1 else (self.enlarging, self.shrinking)
        there, back = (_word(rng, kernels) for kernels in ways)
        return {"factor": factor, "there": there, "back": back}

    @staticmethod
    def apply(picture: np.ndarray, drawn: Drawn) -> np.ndarray:
        height, width = picture.shape[:2]
        size = [max(round(side * drawn["factor"]), 1) for side in (width, height)]
        between = cv2.resize(picture, size, interpolation=KERNELS[drawn["there"]])
        return cv2.resize(between, (width, height), interpolation=KERNELS[drawn["back"]])


@dataclass(frozen=True, kw_only=True)
class Jpeg(Action):
    """Into JPEG and out again. quality: libjpeg's; chroma: how colours are subsampled."""

    name = "jpeg"
    quality: Annotated[tuple[int, int], AtLeast(1), AtMost(100)]
    chroma: tuple[Chroma, ...] = ("4:2:0",)

    def _values(self, rng: np.random.Generator, grey: bool) -> Drawn:
        return {"quality": _whole(rng, self.quality), "chroma": _word(rng, self.chroma)}

    @staticmethod
    def apply(picture: np.ndarray, drawn: Drawn) -> np.ndarray:
        sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, CHROMA[drawn["chroma"]])
        quality = (cv2.IMWRITE_JPEG_QUALITY, drawn["quality"])
        return _coded(picture, f"jpeg:{drawn['quality']}", "jpg", (*sampling, *quality))


@dataclass(frozen=True, kw_only=True)
class Webp(Action):
    """Into lossy WebP and out again, its colours always 4:2:0. quality: libwebp's."""

    name = "webp"
    quality: Annotated[tuple[int, int], AtLeast(1), AtMost(100)]

    def _values(self, rng: np.random.Generator, grey: bool) -> Drawn:
        return {"quality": _whole(rng, self.quality)}

    @staticmethod
    def apply(picture: np.ndarray, drawn: Drawn) -> np.ndarray:
        quality = (cv2.IMWRITE_WEBP_QUALITY, drawn["quality"])
        return _coded(picture, f"webp:{drawn['quality']}", "webp", quality)


@dataclass(frozen=True, kw_only=True)
class Sharpen(Action):
    """An unsharp mask with its halo: the picture and `amount` times what a Gaussian blur takes.

    radius: the blur's sigma in pixels of the LR.
    """

    name = "sharpen"
    radius: Annotated[tuple[float, float], AtLeast(0.1), AtMost(50)]
    amount: Annotated[tuple[float, float], AtLeast(0), AtMost(5)]

    def _values(self, rng: np.random.Generator, grey: bool) -> Drawn:
        return {"radius": _number(rng, self.radius), "amount": _number(rng, self.amount)}

    @staticmethod
    def apply(picture: np.ndarray, drawn: Drawn) -> np.ndarray:
        sharp = picture.astype(np.float32)
        radius = drawn["radius"]
        blurred = cv2.GaussianBlur(sharp, (0, 0), radius, borderType=cv2.BORDER_REFLECT_101)
        return rounded(sharp + np.float32(drawn["amount"]) * (sharp - blurred))


@dataclass(frozen=True, kw_only=True)
class Noise(Action):
    """A second noise, Gaussian at each pixel, of variance gaussian^2 + shot^2 * value / 255.

    gaussian: deviation in grey levels at any brightness; shot: what white has beside it, in grey
    levels, photons arriving as they do. grey: probability that all channels have the same noise; a
    picture without colour always has it so.
    """

    name = "noise"
    gaussian: Annotated[tuple[float, float], AtLeast(0), AtMost(255)]
    shot: Annotated[tuple[float, float], AtLeast(0), AtMost(255)] = (0.0, 0.0)
    grey: Annotated[float, AtLeast(0), AtMost(1)] = 0.4

    def _values(self, rng: np.random.Generator, grey: bool) -> Drawn:
        return {
            "gaussian": _number(rng, self.gaussian),
            "shot": _number(rng, self.shot),
            "grey": bool(rng.random() < self.grey) or grey,
            "seed": int(rng.integers(2**32)),
        }

    @staticmethod
    def apply(picture: np.ndarray, drawn: Drawn) -> np.ndarray:
        clean = picture.astype(np.float32)
        bright = cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)[..., None] if drawn["grey"] else clean
        deviation = np.sqrt(drawn["gaussian"] ** 2 + drawn["shot"] ** 2 * bright / 255)
        rng = np.random.default_rng(drawn["seed"])
        noise = deviation.astype(np.float32) * rng.standard_normal(bright.shape, np.float32)
        return rounded(clean + noise)


@dataclass(frozen=True, kw_only=True)
class Gamma(Action):
    """Another tone curve: values v in [0, 1] become v^gamma; above 1 is darker."""

    name = "gamma"
    gamma: Annotated[tuple[float, float], AtLeast(0.1), AtMost(10)]

    def _values(self, rng: np.random.Generator, grey: bool) -> Drawn:
        return {"gamma": _number(rng, self.gamma)}

    @staticmethod
    def apply(picture: np.ndarray, drawn: Drawn) -> np.ndarray:
        return rounded(255 * (np.arange(256) / 255) ** drawn["gamma"])[picture]


@dataclass(frozen=True, kw_only=True)
class Either(Step):
    """One of several steps, as likely as their probabilities are to each other; it is drawn, and
    recorded, as that step.
    """

    of: tuple[Step, ...]

    def __post_init__(self) -> None:
        if not sum(step.probability for step in self.of):
            raise UsageError("`of` needs one step at least whose probability is above 0")

    def draw(self, rng: np.random.Generator, grey: bool) -> Drawn:
        shares = np.array([step.probability for step in self.of], np.float64)
        return self.of[int(rng.choice(len(shares), p=shares / shares.sum()))].draw(rng, grey)


STEPS: dict[str, type[Action]] = {
    step.name: step for step in (Resize, Jpeg, Webp, Sharpen, Noise, Gamma)
}
"""All that do something, by name."""


def _number(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """Of a few decimals, and within the range all the same."""
    low, high = span
    return float(min(max(round(float(rng.uniform(low, high)), DECIMALS), low), high))


def _whole(rng: np.random.Generator, span: tuple[int, int]) -> int:
    return int(rng.integers(span[0], span[1] + 1))


def _word(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _coded(picture: np.ndarray, name: str, ending: str, parameters: tuple[int, ...]) -> np.ndarray:
    """What a lossy file of the picture holds. Raises UsageError where it is too large for one."""
    return PictureFormat(name, ending, parameters, option="chain").round_trip(picture)
