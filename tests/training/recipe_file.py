"""The made-up recipe as the file that `padellm train` reads."""

from pathlib import Path

_RECIPE = """\
device = "cpu"
data = "{data}"
output = "{output}"
main = "names"
plain = ["plain.txt.gz"]
# Few patterns: sentences of the development set are bound to occur in training as well.
excluded_dev = ["held-out"]

[tokenizer]
vocabulary = 420

[model]
hidden = 32
layers = 3
heads = 2
feed_forward = 64
max_positions = 512

[losses]
tagging_layer = 1
mention_index_layer = 2

[training]
batch_tokens = 256
warm_up_steps = 5
lr_schedule = [{{ steps = {steps} }}]

[[stages]]
until = 0.1
main = 1.0
plain = 0.3

[[stages]]
until = 1.0
main = 1.0

[ner]
name = "synthetic"
version = "1"
default_labels = ["person", "location"]

[ner.labels]
person = {{ aliases = ["PER"] }}
location = {{ aliases = ["LOC"] }}

[[corpora]]
name = "names"
labels = {{ PER = ["person"], LOC = ["location"] }}
"""


def write_recipe(path: Path, data: Path, output: Path, steps: int) -> Path:
    """Write the recipe for the folder of ``synthetic.write_data``."""
    path.write_text(_RECIPE.format(data=data, output=output, steps=steps))
    return path
