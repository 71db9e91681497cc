"""The page of `lebm-text explore`: tabs of Gradio around `Explorer`, on this machine alone.

What model and corpus say is shown as text, never as markup, and characters that are not seen are spelled out.
"""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from html import escape
from importlib import resources
from typing import Any

from lebm_text.errors import InputError
from lebm_text.progress import Progress
from lebm_text.reports.interpolation import PATHS
from lebm_text.visible import named, visible

from .explorer import SHIFTS, Explorer

__all__ = ["ADDRESS", "application", "build", "require_gradio", "serve"]

ADDRESS = "127.0.0.1"

Places = list[tuple[float, str]]
"""Sentences by their place on a slider; a string in their stead says what was wrong."""

_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_MONO = ["ui-monospace", "SF Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]
_COLOURS = {
    f"{name}{dark}": colour
    for name in ("body_text_color_subdued", "block_info_text_color")
    for dark, colour in (("", "#57606a"), ("_dark", "#a5aeb8"))
}
_EVENT = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}  # one at a time on a model
_AT_ONCE = {"show_progress": "hidden", "api_visibility": "private"}
_POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
_SPLITS = [("validation text", "valid"), ("training text", "train"), ("test text", "test")]
_SAY_POINT = """
const say = (event) => {
  const title = event.target.closest('use')?.querySelector('title');
  if (title) element.querySelector('.said').textContent = title.textContent;
};
element.addEventListener('pointerover', say);
element.addEventListener('click', say);
"""


def require_gradio() -> Any:
    """The package. Raises InputError if it is missing."""
    try:
        import gradio
    except ImportError:
        raise InputError("the page needs Gradio: pip install 'lebm-text[app]'") from None
    return gradio


def serve(explorer: Explorer, *, port: int, browser: bool, on_ready: Callable[[str], None]) -> None:
    """Show the page on this machine alone until an interrupt; `on_ready` is told its address.

    Raises:
        InputError: Gradio is missing, or the port cannot be had.
    """
    with _listen(port) as found, suppress(KeyboardInterrupt):
        require_gradio()
        import uvicorn

        settings = uvicorn.Config(application(explorer), log_level="critical", timeout_graceful_shutdown=1)
        address = f"http://{ADDRESS}:{port}"
        on_ready(address)
        if browser:
            webbrowser.open(address)
        uvicorn.Server(settings).run(sockets=[found])


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise InputError(f"port {port} of {ADDRESS}: {error.strerror}; name another by --port") from None


def application(explorer: Explorer) -> Callable[..., Any]:
    """The page as an ASGI application. It answers requests to this machine alone, and browsers load nothing else."""
    gradio = require_gradio()
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    theme = gradio.themes.Default(font=_FONTS, font_mono=_MONO, primary_hue="teal", neutral_hue="slate")
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    mounted = gradio.mount_gradio_app(
        FastAPI(), build(explorer), "/", ADDRESS, footer_links=[], run_history=False, ssr_mode=False, pwa=False,
        enable_monitoring=False, mcp_server=False, theme=theme.set(**_COLOURS), css=style,
    )  # fmt: skip

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY)]
            await send(message)

        await mounted(scope, receive, answer)

    served: Callable[..., Any] = TrustedHostMiddleware(guarded, allowed_hosts=[ADDRESS, "localhost"])
    return served


def build(explorer: Explorer) -> Any:
    """The page as Gradio's `Blocks`; a language model, or a prior without a chain, has fewer tabs."""
    gradio, dims, name = require_gradio(), explorer.latent_dim, explorer.run.name
    about = f"{len(explorer.model.tokenizer):,} tokens known; "
    if dims:
        about += f"z has {dims} dimensions, its prior is {explorer.model.config.model.prior}"
    else:
        about += "a language model, without a latent vector: it can only write and score"
    with gradio.Blocks(title=f"{name} · lebm-text", analytics_enabled=False) as page:
        gradio.HTML(f"<h1>{_text(name)}</h1><p class=muted>{_text(about)}</p>", elem_classes="lebm")
        examples = explorer.examples(2)
        with gradio.Tabs():
            _generate(gradio, explorer)
            _sentence(gradio, explorer, examples[0])
            if dims:
                _between(gradio, explorer, examples)
                _direction(gradio, explorer, examples[0])
                _plane(gradio, explorer)
            if explorer.prior_steps:
                _chain(gradio, explorer)
    return page


# fmt: off
def _generate(gradio: Any, explorer: Explorer) -> None:
    latent, own = explorer.latent_dim > 0, explorer.prior_steps

    def write(n: int, temperature: float, prior: float, steps: int, seed: int) -> str:
        asked = steps if own else None
        found = explorer.generate(n, temperature=temperature, prior_temperature=prior, prior_steps=asked, seed=seed)
        if not latent:
            return _table(["sentence"], [[text] for text in found.sentences])
        f = map(_number, explorer.neg_energy(found.z))
        return _table(["f(z)", "sentence"], zip(f, found.sentences, strict=True))

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
    button.click(_told(write), inputs, output, **_EVENT)


def _sentence(gradio: Any, explorer: Explorer, example: str) -> None:
    latent = explorer.latent_dim > 0

    def read(text: str, seed: int) -> str:
        found = explorer.read(text, seed=seed)
        figures = {"score, −log p(x, z) per token": found.score, "log p(x|z) per token": found.log_likelihood}
        figures |= {"f(z)": found.neg_energy} if latent else {}
        rows = ((_number(value), label) for label, value in figures.items())
        parts = [_table(["nats", f"{found.n_tokens} tokens with &lt;/s&gt;"], rows)]
        if found.unknown:
            parts.insert(0, f"<p>Not in the vocabulary, read as &lt;unk&gt;: {_text(', '.join(found.unknown))}</p>")
        if latent:
            parts = ["<p class=muted>reconstruction</p>", _said(found.reconstruction), *parts, _bars(found.z)]
        return "".join(parts) + (f"<p class=muted>{_text(found.bias)}</p>" if found.bias else "")

    def near(text: str, split: str, progress: Any = gradio.Progress()) -> str:  # noqa: B008
        found = explorer.neighbours(text, split, _heard(progress))
        return _table(["distance", "nearest"], ((_number(each.distance), each.sentence) for each in found))

    with gradio.Tab("Sentence"), gradio.Row():
        with gradio.Column(scale=2, min_width=280):
            text, seed = _typed(gradio, example), _seed(gradio)
            button = gradio.Button("Read", variant="primary")
            split = gradio.Radio(_SPLITS, value="valid", label="Neighbours in the", visible=latent)
            nearest = gradio.Button("Find neighbours", visible=latent)
        with gradio.Column(scale=3, min_width=280):
            output, neighbours = _output(gradio), _output(gradio)
    gradio.on([button.click, text.submit], _told(read), [text, seed], output, **_EVENT)
    nearest.click(_told(near), [text, split], neighbours, **_EVENT)


def _between(gradio: Any, explorer: Explorer, examples: Sequence[str]) -> None:
    def walk(a: str, b: str, path: str) -> Places:
        return [(point.t, point.sentence) for point in explorer.between(a, b, path)]

    with gradio.Tab("Between two"):
        with gradio.Row():
            a, b = _typed(gradio, examples[0], "From"), _typed(gradio, examples[1], "To")
        path = gradio.Radio(list(PATHS), value="spherical", label="Path")
        button = gradio.Button("Decode the way", variant="primary")
        slider = gradio.Slider(0, 1, 0.5, step=0.05, label="Place on the way")
        _slide(gradio, [button.click, a.submit, b.submit], slider, walk, [a, b, path])


def _direction(gradio: Any, explorer: Explorer, example: str) -> None:
    def move(text: str, progress: Any = gradio.Progress()) -> Places:  # noqa: B008
        return [(each.shift, each.sentence) for each in explorer.move(text, _heard(progress))]

    with gradio.Tab("Direction"):
        _note(gradio, "Moves z of a sentence, in standard deviations, along the direction that tells the labels of the "
                      "corpus apart, such as sentiment. Unless lebm-text directions has learned it, that comes first.")
        text = _typed(gradio, example)
        button = gradio.Button("Move", variant="primary")
        slider = gradio.Slider(SHIFTS[0], SHIFTS[-1], 0, step=0.5, label="Shift")
        _slide(gradio, [button.click, text.submit], slider, move, [text])


def _plane(gradio: Any, explorer: Explorer) -> None:
    def draw(n: int, split: str, progress: Any = gradio.Progress()) -> str:  # noqa: B008
        return "<p class=said>Point at a dot, or tap it.</p>" + explorer.plane(n, split, _heard(progress))

    with gradio.Tab("Plane"):
        _note(gradio, "The two principal axes of the latent space: z of sentences (posterior), draws of the prior, and "
                      "draws of N(0, I), where its chain begins (p0).")
        with gradio.Row():
            n = gradio.Slider(20, 1000, 200, step=20, label="Points of each", min_width=280)
            split = gradio.Radio(_SPLITS, value="valid", label="Sentences of the", min_width=280)
        button = gradio.Button("Draw", variant="primary")
        output = _output(gradio, js_on_load=_SAY_POINT)
    button.click(_told(draw), [n, split], output, **_EVENT)


def _chain(gradio: Any, explorer: Explorer) -> None:
    own = explorer.prior_steps

    def follow(steps: int, decode: str, seed: int) -> str:
        found = explorer.chain(steps, decode=decode, seed=seed)
        rows = [(str(each.step), _number(each.f), each.text) for each in found]
        return _table(["step", "f(z)", "sentence"], rows, same=_repeated([row[-1] for row in rows]))

    with gradio.Tab("Chain"), gradio.Row():
        with gradio.Column(scale=2, min_width=280):
            steps = gradio.Slider(1, 10 * own, own, step=1, label="Steps", info=f"the model was trained with {own}")
            decode = gradio.Radio(["greedy", "sample"], value="greedy", label="Words",
                                  info="the most probable ones, or drawn with the same noise at each step")
            seed = _seed(gradio)
            button = gradio.Button("Follow", variant="primary")
        with gradio.Column(scale=3, min_width=280):
            output = _output(gradio)
    button.click(_told(follow), [steps, decode, seed], output, **_EVENT)
# fmt: on


def _slide(gradio: Any, triggers: list[Any], slider: Any, compute: Callable[..., Places], inputs: list[Any]) -> None:
    """`triggers` compute sentences by place; `slider` then chooses the one that is shown large, among all."""

    def shown(found: str | Places, place: float) -> str:
        if isinstance(found, str):
            return found
        if not found:
            return ""
        chosen = min(range(len(found)), key=lambda row: abs(found[row][0] - place))
        rows, same = [(_number(at, 2), text) for at, text in found], _repeated([text for _, text in found])
        return _said(found[chosen][1]) + _table(["place", "sentence"], rows, chosen=chosen, same=same)

    found, output = gradio.State([]), _output(gradio)
    computed = gradio.on(triggers, _told(compute), inputs, found, show_progress_on=output, **_EVENT)
    computed.then(shown, [found, slider], output, **_AT_ONCE)
    slider.change(shown, [found, slider], output, **_AT_ONCE)


def _note(gradio: Any, text: str) -> None:
    gradio.HTML(f"<p class=muted>{_text(text)}</p>", elem_classes="lebm")


def _typed(gradio: Any, text: str, label: str = "Sentence") -> Any:
    return gradio.Textbox(text, label=label, lines=1, max_lines=4, min_width=280)


def _seed(gradio: Any) -> Any:
    return gradio.Number(1, label="Seed", precision=0, minimum=0, info="the same seed gives the same output")


def _output(gradio: Any, **more: Any) -> Any:
    return gradio.HTML(elem_classes="lebm", min_height=80, **more)


def _told(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, or one line of what was wrong."""

    @wraps(call)
    def told(*given: Any) -> Any:
        try:
            return call(*given)
        except (InputError, OSError) as error:
            return f'<p class="problem" role="alert">{_text(" ".join(str(error).split()))}</p>'

    return told


def _heard(progress: Any) -> Progress:
    """Gradio's progress as the library's."""

    def hear(stage: str, done: int, total: int) -> None:
        progress((done, total), desc=stage)

    return hear


def _repeated(texts: Sequence[str]) -> set[int]:
    """Which are as the one before."""
    return {row for row in range(1, len(texts)) if texts[row] == texts[row - 1]}


def _table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, chosen: int = -1, same: Collection[int] = ()
) -> str:
    """Rows of figures with a text in the last column; `same` are those that say nothing new."""

    def line(cells: Sequence[str], tag: str, kind: str = "") -> str:
        kinds = [" class=number"] * (len(headings) - 1) + [" dir=auto"]
        return f"<tr{kind}>{''.join(f'<{tag}{k}>{c}</{tag}>' for k, c in zip(kinds, cells, strict=True))}</tr>"

    kinds = {chosen: " class=chosen"}
    body = (
        line([*map(_text, row)], "td", kinds.get(i, " class=same" if i in same else "")) for i, row in enumerate(rows)
    )
    return f"<table><thead>{line(headings, 'th')}</thead><tbody>{''.join(body)}</tbody></table>"


def _bars(z: Sequence[float]) -> str:
    """The numbers of z as bars up and down from 0, cut at 3."""
    heights, width = [10 * max(-3, min(value, 3)) for value in z], 10 * len(z)
    bars = "".join(
        f'<rect x="{10 * i + 1}" y="{30 - max(height, 0):.1f}" width="8" height="{abs(height):.1f}">'
        f"<title>z[{i}] = {value:.3f}</title></rect>"
        for i, (height, value) in enumerate(zip(heights, z, strict=True))
    )
    return (
        "<p class=muted>z, a bar for each dimension, from −3 to 3</p>"
        f'<svg class=bars viewBox="0 0 {width} 60" preserveAspectRatio="none" role="img" aria-label="z" '
        f'fill="var(--series-0)" style="max-width:{len(z)}rem">{bars}'
        f'<line x2="{width}" y1="30" y2="30" stroke="var(--line)"/></svg>'
        f"<details><summary>numbers</summary><code>{' '.join(f'{value:.3f}' for value in z)}</code></details>"
    )


def _said(text: str) -> str:
    return f"<p class=said dir=auto>{_text(text)}</p>"


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _text(text: str) -> str:
    """As markup that shows it."""
    return escape(visible(text, named)) or "<em>(empty)</em>"
