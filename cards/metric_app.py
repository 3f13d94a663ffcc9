"""The Space of the metric: scores that are pasted or typed in, with intervals. Runs beside `mico_score.py`."""

import csv
import io

import evaluate
import gradio
from scores import TITLES  # type: ignore[import-not-found]  # beside it in the Space

LIMIT = 5_000_000  # characters of a field; no split of the competition takes more
EXAMPLE = ["0.9,0.8,0.3,0.1\n0.7,0.6,0.5,0.2", "1,1,0,0\n1,0,1,0"]


def read(text: str, what: str) -> list[list[float]]:
    """A line for each model, comma-separated numbers."""
    if len(text) > LIMIT:
        raise gradio.Error(f"{what}: expected at most {LIMIT:,} characters, got {len(text):,}")
    rows = [[cell for cell in row if cell.strip()] for row in csv.reader(io.StringIO(text))]
    try:
        return [[float(cell) for cell in row] for row in rows if row]
    except ValueError as error:
        raise gradio.Error(f"{what}: {error}") from error


def score(predictions: str, membership: str) -> list[list[str]]:
    """Rows of the table: score, value, 95% interval."""
    models, truth = read(predictions, "predictions"), read(membership, "membership")
    if [len(model) for model in models] != [len(model) for model in truth] or not models:
        raise gradio.Error(
            f"expected as many models and points in both, got {[len(model) for model in models][:10]} predictions and "
            f"{[len(model) for model in truth][:10]} labels"
        )
    try:
        found = evaluate.load("./mico_score.py").compute(
            predictions=models, references=[[int(label) for label in model] for model in truth], full=True
        )
    except ValueError as error:
        raise gradio.Error(str(error)) from error
    intervals = found.get("intervals", {})
    rows = []
    for name, title in TITLES.items():
        low, high = intervals.get(name) or (None, None)
        rows.append([title, f"{found[name]:.4f}", "-" if low is None else f"{low:.4f} to {high:.4f}"])
    return rows


app = gradio.Interface(
    fn=score,
    inputs=[
        gradio.Textbox(lines=8, label="Predictions: a line for each model, in challenge order, in [0, 1]"),
        gradio.Textbox(lines=8, label="Membership: a line for each model, 1 = member"),
    ],
    outputs=gradio.Dataframe(headers=["score", "value", "95% interval"], label="Scores, models pooled"),
    examples=[EXAMPLE],
    title="MICO score",
    description="How well an attack tells members of a training set from non-members. TPR at FPR < 0.1 ranks.",
    flagging_mode="never",
)

if __name__ == "__main__":
    app.launch()
