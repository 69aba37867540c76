"""The page: four tabs over the journey. Draws components and wires events; what happens is in `pipeline`.

app.py ── runs (which run) ── data ── train ── compare ── publish       one tab each, over
          texts · form · access · errors · theme
"""
