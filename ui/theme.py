"""How the page looks: Gradio's theme, our style sheet, and the headers that keep it to itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
CSS = (HERE / "page.css").read_text()
SYSTEM = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

# What a page of ours may fetch: itself. On a Space the Hub's avatars and its sign-in pass as well.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' blob: data:",
    "worker-src": "'self' blob:",
    "form-action": "'self'",
    "base-uri": "'self'",
    "object-src": "'none'",
}
HUB = " https://huggingface.co https://cdn-avatars.huggingface.co"


def theme() -> gr.themes.Base:
    """System fonts only (nothing is fetched); colours with a contrast of at least 4.5 in light and dark."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.amber,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=SYSTEM,
        font_mono=MONO,
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_cancel_background_fill="*neutral_100",
        button_cancel_text_color="*neutral_800",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        color_accent="*primary_600",
    )


class Headers:
    """ASGI middleware: the content policy on every answer. Streams pass through untouched."""

    def __init__(self, app: Any, on_space: bool) -> None:
        self.app = app
        policy = dict(POLICY)
        if on_space:
            for name in ("img-src", "form-action", "connect-src"):
                policy[name] += HUB
        self.value = "; ".join(f"{name} {value}" for name, value in policy.items()).encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).append((b"content-security-policy", self.value))
                message["headers"].append((b"x-content-type-options", b"nosniff"))
                message["headers"].append((b"referrer-policy", b"no-referrer"))
            await send(message)

        await self.app(scope, receive, sending if scope["type"] == "http" else send)
