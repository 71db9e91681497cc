"""The page of `lebm-text explore`: Gradio tabs for the functions of `Explorer`, served to this machine only."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from typing import Any

from lebm_text.errors import InputError

from . import tabs
from .explorer import Explorer
from .markup import shown

__all__ = ["ADDRESS", "require_gradio", "serve"]

ADDRESS = "127.0.0.1"

_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_MONO = ["ui-monospace", "SF Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]
_COLOURS = {
    f"{name}{dark}": colour
    for name in ("body_text_color_subdued", "block_info_text_color")
    for dark, colour in (("", "#57606a"), ("_dark", "#a5aeb8"))
}
_POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
_PRIORS = {"ebm": "learned (energy-based)", "gaussian": "normal, N(0, I)"}


def require_gradio() -> Any:
    """Return the gradio package. Raises InputError if it is not installed."""
    try:
        import gradio
    except ImportError:
        raise InputError("the page needs Gradio: pip install 'lebm-text[app]'") from None
    return gradio


def serve(explorer: Explorer, *, port: int, browser: bool, on_ready: Callable[[str], None]) -> None:
    """Serve the page to this machine only, until an interrupt; `on_ready` is called with the address.

    Raises:
        InputError: Gradio is missing, or the port is not available.
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
        raise InputError(f"port {port} of {ADDRESS}: {error.strerror}; choose another port") from None


def application(explorer: Explorer) -> Callable[..., Any]:
    """Return the page as an ASGI application, which answers only requests to this machine's own address.

    Its content security policy forbids loading anything from other hosts.
    """
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
    """Return the page as Gradio's `Blocks`; language models, and priors without a chain, have fewer tabs."""
    gradio, dims, name = require_gradio(), explorer.latent_dim, explorer.run.name
    about = f"{len(explorer.model.tokenizer):,} tokens known; "
    if dims:
        prior = explorer.model.config.model.prior
        about += f"z has {dims} dimensions, its prior is {_PRIORS.get(prior, prior)}"
    else:
        about += "a language model, without a latent vector: it can only write and score"
    with gradio.Blocks(title=f"{name} · lebm-text", analytics_enabled=False) as page:
        gradio.HTML(f"<h1>{shown(name)}</h1><p class=muted>{shown(about)}</p>", elem_classes="lebm")
        examples = explorer.examples(2)
        with gradio.Tabs():
            tabs.generate(gradio, explorer)
            tabs.sentence(gradio, explorer, examples[0])
            if dims:
                tabs.between(gradio, explorer, examples)
                tabs.direction(gradio, explorer, examples[0])
                tabs.plane(gradio, explorer)
            if explorer.prior_steps:
                tabs.chain(gradio, explorer)
    return page
