"""The tabs of the page of `lebm-text explore`: each has inputs, calls a method of `Explorer`, and shows the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from lebm_text.errors import InputError, one_line
from lebm_text.progress import Progress
from lebm_text.reports.interpolation import PATHS

from .explorer import SHIFTS, Explorer
from .markup import bars, number, quoted, shown, table

__all__ = ["between", "chain", "direction", "generate", "plane", "sentence"]

Places = list[tuple[float, str]]
"""(position of the slider, sentence) pairs; functions wrapped by `_safe` return an error message instead."""

_EVENT = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}  # one call at a time
_AT_ONCE = {"show_progress": "hidden", "api_visibility": "private"}
_SPLITS = [("validation text", "valid"), ("training text", "train"), ("test text", "test")]
_SHOW_TITLE = """
const showTitle = (event) => {
  const title = event.target.closest('use')?.querySelector('title');
  if (title) element.querySelector('.said').textContent = title.textContent;
};
element.addEventListener('pointerover', showTitle);
element.addEventListener('click', showTitle);
"""


# fmt: off
def generate(gradio: Any, explorer: Explorer) -> None:
    latent, own = explorer.latent_dim > 0, explorer.prior_steps

    def write(n: int, temperature: float, prior: float, steps: int, seed: int) -> str:
        asked = steps if own else None
        found = explorer.generate(n, temperature=temperature, prior_temperature=prior, prior_steps=asked, seed=seed)
        if not latent:
            return table(["sentence"], [[text] for text in found.sentences])
        f = map(number, explorer.neg_energy(found.z))
        return table(["f(z)", "sentence"], zip(f, found.sentences, strict=True))

    with gradio.Tab("Generate"), gradio.Row():
        with gradio.Column(scale=2, min_width=280):
            inputs = [
                gradio.Slider(1, 50, 10, step=1, label="Sentences"),
                gradio.Slider(0.1, 2, 1, step=0.05, label="Temperature",
                              info="of the words: below 1 is safer, above 1 wilder"),
                gradio.Slider(0.1, 4, 1, step=0.05, label="Temperature of the prior", visible=latent,
                              info="below 1, z is nearer to the prior's modes"),
                gradio.Slider(0, max(1, 10 * own), own, step=1, label="Steps of the prior's chain", visible=own > 0,
                              info=f"0 leaves z in N(0, I); the model was trained with {own}"),
                _seed(gradio),
            ]
            button = gradio.Button("Generate", variant="primary")
        with gradio.Column(scale=3, min_width=280):
            output = _output(gradio)
    button.click(_safe(write), inputs, output, **_EVENT)


def sentence(gradio: Any, explorer: Explorer, example: str) -> None:
    latent = explorer.latent_dim > 0

    def read(text: str, seed: int) -> str:
        found = explorer.read(text, seed=seed)
        figures = {"score, −log p(x, z) per token": found.score, "log p(x|z) per token": found.log_likelihood}
        figures |= {"f(z)": found.neg_energy} if latent else {}
        rows = ((number(value), label) for label, value in figures.items())
        parts = [table(["nats", f"{found.n_tokens} tokens with &lt;/s&gt;"], rows)]
        if found.unknown:
            parts.insert(0, f"<p>Not in the vocabulary, read as &lt;unk&gt;: {shown(', '.join(found.unknown))}</p>")
        if latent:
            parts = ["<p class=muted>reconstruction</p>", quoted(found.reconstruction), *parts, bars(found.z)]
        return "".join(parts) + (f"<p class=muted>{shown(found.bias)}</p>" if found.bias else "")

    def near(text: str, split: str, progress: Any = gradio.Progress()) -> str:  # noqa: B008
        found = explorer.neighbours(text, split, _adapted(progress))
        return table(["distance", "nearest"], ((number(each.distance), each.sentence) for each in found))

    with gradio.Tab("Sentence"), gradio.Row():
        with gradio.Column(scale=2, min_width=280):
            text, seed = _typed(gradio, example), _seed(gradio)
            button = gradio.Button("Read", variant="primary")
            split = gradio.Radio(_SPLITS, value="valid", label="Neighbours in the", visible=latent)
            nearest = gradio.Button("Find neighbours", visible=latent)
        with gradio.Column(scale=3, min_width=280):
            output, neighbours = _output(gradio), _output(gradio)
    gradio.on([button.click, text.submit], _safe(read), [text, seed], output, **_EVENT)
    nearest.click(_safe(near), [text, split], neighbours, **_EVENT)


def between(gradio: Any, explorer: Explorer, examples: Sequence[str]) -> None:
    def walk(a: str, b: str, path: str) -> Places:
        return [(point.t, point.sentence) for point in explorer.between(a, b, path)]

    with gradio.Tab("Between two"):
        with gradio.Row():
            a, b = _typed(gradio, examples[0], "From"), _typed(gradio, examples[1], "To")
        path = gradio.Radio(list(PATHS), value="spherical", label="Path")
        button = gradio.Button("Decode the way", variant="primary")
        slider = gradio.Slider(0, 1, 0.5, step=0.05, label="Place on the way")
        _slide(gradio, [button.click, a.submit, b.submit], slider, walk, [a, b, path])


def direction(gradio: Any, explorer: Explorer, example: str) -> None:
    def move(text: str, progress: Any = gradio.Progress()) -> Places:  # noqa: B008
        return [(each.shift, each.sentence) for each in explorer.move(text, _adapted(progress))]

    with gradio.Tab("Direction"):
        _note(gradio, "Moves z of a sentence, in standard deviations, along the direction that tells the labels of the "
                      "corpus apart, such as sentiment. Unless lebm-text directions has learned it, that comes first.")
        text = _typed(gradio, example)
        button = gradio.Button("Move", variant="primary")
        slider = gradio.Slider(SHIFTS[0], SHIFTS[-1], 0, step=0.5, label="Shift")
        _slide(gradio, [button.click, text.submit], slider, move, [text])


def plane(gradio: Any, explorer: Explorer) -> None:
    def draw(n: int, split: str, progress: Any = gradio.Progress()) -> str:  # noqa: B008
        return "<p class=said>Point at a dot, or tap it.</p>" + explorer.plane(n, split, _adapted(progress))

    with gradio.Tab("Plane"):
        _note(gradio, "The two principal axes of the latent space: z of sentences (posterior), draws of the prior, and "
                      "draws of N(0, I), where its chain begins (p0).")
        with gradio.Row():
            n = gradio.Slider(20, 1000, 200, step=20, label="Points of each", min_width=280)
            split = gradio.Radio(_SPLITS, value="valid", label="Sentences of the", min_width=280)
        button = gradio.Button("Draw", variant="primary")
        output = _output(gradio, js_on_load=_SHOW_TITLE)
    button.click(_safe(draw), [n, split], output, **_EVENT)


def chain(gradio: Any, explorer: Explorer) -> None:
    own = explorer.prior_steps

    def follow(steps: int, decode: str, seed: int) -> str:
        found = explorer.chain(steps, decode=decode, seed=seed)
        rows = ((str(each.step), number(each.f), each.text) for each in found)
        return table(["step", "f(z)", "sentence"], rows, repeats=True)

    with gradio.Tab("Chain"), gradio.Row():
        with gradio.Column(scale=2, min_width=280):
            steps = gradio.Slider(1, 10 * own, own, step=1, label="Steps", info=f"the model was trained with {own}")
            decode = gradio.Radio(["greedy", "sample"], value="greedy", label="Words",
                                  info="the most probable ones, or drawn with the same noise at each step")
            seed = _seed(gradio)
            button = gradio.Button("Follow", variant="primary")
        with gradio.Column(scale=3, min_width=280):
            output = _output(gradio)
    button.click(_safe(follow), [steps, decode, seed], output, **_EVENT)
# fmt: on


def _slide(gradio: Any, triggers: list[Any], slider: Any, compute: Callable[..., Places], inputs: list[Any]) -> None:
    """Compute sentences on `triggers`, show them in a table, and highlight the one at the position of `slider`."""

    def show(found: str | Places, place: float) -> str:
        if isinstance(found, str):
            return found
        if not found:
            return ""
        chosen = min(range(len(found)), key=lambda row: abs(found[row][0] - place))
        rows = ((number(at, 2), text) for at, text in found)
        return quoted(found[chosen][1]) + table(["place", "sentence"], rows, chosen=chosen, repeats=True)

    found, output = gradio.State([]), _output(gradio)
    computed = gradio.on(triggers, _safe(compute), inputs, found, show_progress_on=output, **_EVENT)
    computed.then(show, [found, slider], output, **_AT_ONCE)
    slider.change(show, [found, slider], output, **_AT_ONCE)


def _note(gradio: Any, text: str) -> None:
    gradio.HTML(f"<p class=muted>{shown(text)}</p>", elem_classes="lebm")


def _typed(gradio: Any, text: str, label: str = "Sentence") -> Any:
    return gradio.Textbox(text, label=label, lines=1, max_lines=4, min_width=280)


def _seed(gradio: Any) -> Any:
    return gradio.Number(1, label="Seed", precision=0, minimum=0, info="the same seed gives the same output")


def _output(gradio: Any, **more: Any) -> Any:
    return gradio.HTML(elem_classes="lebm", min_height=80, **more)


def _safe(call: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `call` so that it returns an error message as HTML instead of raising InputError or OSError."""

    @wraps(call)
    def wrapped(*given: Any) -> Any:
        try:
            return call(*given)
        except (InputError, OSError) as error:
            return f'<p class="problem" role="alert">{shown(one_line(error))}</p>'

    return wrapped


def _adapted(progress: Any) -> Progress:
    """Return a progress callback of this library that calls Gradio's."""
    return lambda stage, done, total: progress((done, total), desc=stage)
