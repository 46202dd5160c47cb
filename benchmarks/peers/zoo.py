"""The models that narrow is measured on beside its peers: a float ONNX file each, with calibration and test data.

    NARROW_DATA=… <python of the peers> benchmarks/peers/zoo.py FOLDER [NAME …]

fills FOLDER; what is there already is kept. Models that are not ONNX in the shared data are rebuilt: TFLite by
tflite_to_onnx.py, ResNet-44 from its PyTorch checkpoint, MiniLM from its package (both want torch). Data are the
inputs as the model sees them, so that every tool gets the same numbers: `calibration.npz` and `test.npz`, arrays by
input name and `labels` where there are labels. MiniLM's are sentences: its data are STS-B and a tokenizer.
"""
import dataclasses
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from common import harness  # noqa: E402

import quantized_detectors_peer as detectors  # noqa: E402
import quantized_models_peer as classifiers  # noqa: E402

shared = harness.shared


@dataclasses.dataclass
class Entry:
    name: str
    model: pathlib.Path
    data: pathlib.Path          # for calibration
    test: pathlib.Path          # not calibrated on
    metric: str                 # top1, spearman or agreement
    options: tuple = ()         # what `narrow quantize` and `evaluate` need to read the data
    transformer: bool = False   # dynamic quantization is the peers' usual method
    recurrent: bool = False

    def samples(self, which="test", count=None):
        """Feeds by input name, one sample each with its batch axis, and their labels or None."""
        if self.metric == "spearman":
            return sentence_pairs(self.model.parent / "tokenizer.json", self.data, count)
        with np.load(self.test if which == "test" else self.data) as file:
            arrays = {name: file[name] for name in file.files}
        labels = arrays.pop("labels", None)
        total = len(next(iter(arrays.values())))
        # A recurrent model's arrays are a stack of whole inputs, any other model's a batch.
        part = lambda values, at: np.asarray(values[at]) if self.recurrent else values[at:at + 1]
        return [{name: part(values, at) for name, values in arrays.items()} for at in range(min(total, count or total))], labels


def sentence_pairs(tokenizer, path, count=None):
    """(feeds, scores): two sentences after each other for each score of a pair."""
    import tokenizers
    encoder = tokenizers.Tokenizer.from_file(str(tokenizer))
    encoder.no_padding()
    rows = [line.split("\t") for line in path.read_text().splitlines()][:count and (count + 1) // 2]
    encoded = encoder.encode_batch([text for row in rows for text in row[5:7]])
    array = lambda values: np.array([values], np.int64)
    feeds = [{"input_ids": array(e.ids), "attention_mask": array(e.attention_mask), "token_type_ids": array(e.type_ids)} for e in encoded]
    return feeds[:count], np.array([float(row[4]) for row in rows])


def input_name(path):
    return harness.OnnxRuntime(path).inputs[0]


def split(folder, model, images, labels=None, calibration=100):
    """Saves every k-th sample for calibration and the others for the test."""
    name = input_name(model)
    step = max(len(images) // calibration, 2)
    chosen = np.zeros(len(images), bool)
    chosen[::step] = True
    for file, which in (("calibration", chosen), ("test", ~chosen)):
        arrays = {name: images[which]}
        if labels is not None:
            arrays["labels"] = np.asarray(labels)[which].astype(np.int64)
        np.savez(folder / f"{file}.npz", **arrays)


def photographs(size, scale, mean, label_shift=0):
    """The ImageNet sample: the middle 87.5 %, `size` pixels, RGB, (x - mean) · scale; with labels."""
    from PIL import Image
    folder = shared("imagenet")
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines() if line[:1] not in ("", "#")]
    images = []
    for name, *_ in rows:
        image = Image.open(folder / name).convert("RGB")
        side = round(0.875 * min(image.size))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.BILINEAR)
        images.append((np.asarray(image, np.float32).transpose(2, 0, 1) - mean) * scale)
    return np.stack(images).astype(np.float32), np.array([int(row[1]) + label_shift for row in rows])


def copy(source, folder):
    target = folder / "model.onnx"
    target.write_bytes(shared(source).read_bytes())
    return target


def rebuilt(source, folder):
    from tflite_to_onnx import convert
    convert(shared(source), folder / "model.onnx")
    return folder / "model.onnx"


def squeezenet(folder):
    split(folder, copy("vision/squeezenet1.1/squeezenet1.1.onnx", folder), *harness.imagenet_caffe())


def resnet20(folder):
    split(folder, copy("vision/cifar10_resnet_pt/resnet20_cifar10.onnx", folder), *classifiers.cifar())


def resnet44(folder):
    import torch
    source = {"__name__": "resnet"}
    exec(shared("vision/cifar10_resnet_pt/resnet.py.txt").read_text(), source)  # the architecture, as its authors published it
    model = source["resnet44"]()
    state = torch.load(shared("vision/cifar10_resnet_pt/resnet44-014dd654.th"), map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    torch.onnx.export(model.eval(), torch.zeros(1, 3, 32, 32), str(folder / "model.onnx"), dynamo=False, opset_version=17,
                      input_names=["input"], output_names=["logits"], dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})
    split(folder, folder / "model.onnx", *classifiers.cifar())


def mobilenet_v2(folder):
    model = rebuilt("vision/imagenet_tflite/mobilenet_v2_1.0_224_quant.tflite", folder)
    split(folder, model, *photographs(224, 1 / 127.5, 127.5, label_shift=1))  # class 0 is the background


def vww(folder):
    split(folder, rebuilt("vision/vww_mobilenet025/vww_96_float.tflite", folder), photographs(96, 1 / 255, 0)[0])


def yolox(folder):
    split(folder, copy("vision/yolox_nano/yolox_nano.onnx", folder), detectors.bgr(416)(80), calibration=40)


def ultraface(folder):
    split(folder, copy("vision/ultraface/version-RFB-320.onnx", folder), detectors.ultraface_input(200))


def cepstra(sound, rate=16000, window=480, hop=320, bands=40, kept=10):
    """Mel-frequency cepstral coefficients of one second, [1, 49, 10]: what MLPerf Tiny's keyword model was trained on."""
    frames = np.stack([sound[at:at + window] for at in range(0, len(sound) - window + 1, hop)]) * np.hanning(window + 1)[:-1]
    spectrum = np.abs(np.fft.rfft(frames, 512))
    mel = lambda hertz: 1127 * np.log1p(np.asarray(hertz) / 700)
    edges = np.linspace(mel(20), mel(4000), bands + 2)
    bins = mel(np.fft.rfftfreq(512, 1 / rate))
    rising = (bins - edges[:-2, None]) / (edges[1:-1, None] - edges[:-2, None])
    falling = (edges[2:, None] - bins) / (edges[2:, None] - edges[1:-1, None])
    energies = np.log(spectrum @ np.maximum(0, np.minimum(rising, falling)).T + 1e-6)
    basis = np.cos(np.pi / bands * (np.arange(bands) + 0.5)[:, None] * np.arange(kept)) * np.sqrt(2 / bands)
    return (energies @ basis)[None].astype(np.float32)


def keywords(folder):
    model = rebuilt("audio/kws_dscnn/kws_ref_model_float32.tflite", folder)
    words = [detectors.samples_of(f"audio/wav/micro_speech/{word}_1000ms.wav")[0] for word in ("yes", "no", "noise", "silence")]
    speech, _ = detectors.samples_of("audio/wav/silero_test.wav")
    randomly = np.random.default_rng(7)
    second = lambda sound, at: np.pad(sound, (0, 16000))[at:at + 16000]
    clips = [second(speech, at) for at in range(0, len(speech) - 16000, 4000)]
    for word in words:  # shifted, louder or softer, in noise
        for _ in range(40):
            clips.append(np.roll(second(word, 0), randomly.integers(-1600, 1600)) * randomly.uniform(0.3, 1.0)
                         + randomly.normal(0, randomly.uniform(0, 0.01), 16000))
    clips = [clips[at] for at in randomly.permutation(len(clips))]
    split(folder, model, np.stack([cepstra(clip) for clip in clips]))


def recurrent(source, width):
    def fill(folder):
        model = copy(source, folder)
        feeds = detectors.frames_of_speech(width, harness.OnnxRuntime(model))
        for file, part in (("calibration", slice(0, None, 2)), ("test", slice(1, None, 2))):
            np.savez(folder / f"{file}.npz", **{name: values[part] for name, values in feeds.items()})
    return fill


def minilm(folder):
    import export_minilm
    export_minilm.main(folder)
    (folder / "torchscript.onnx").rename(folder / "model.onnx")
    (folder / "dynamo.onnx").unlink()


# name: (what fills its folder, metric, further fields of its entry)
MODELS = {
    "squeezenet1.1": (squeezenet, "top1", {}),
    "resnet20": (resnet20, "top1", {}),
    "resnet44": (resnet44, "top1", {}),
    "mobilenet_v2": (mobilenet_v2, "top1", {}),
    "vww": (vww, "agreement", {}),
    "yolox_nano": (yolox, "agreement", {}),
    "ultraface": (ultraface, "agreement", {}),
    "kws": (keywords, "agreement", {}),
    "minilm": (minilm, "spearman", {"transformer": True}),
    "dtln_1": (recurrent("audio/dtln/model_1.onnx", 257), "sqnr", {"recurrent": True}),
    "dtln_2": (recurrent("audio/dtln/model_2.onnx", 512), "sqnr", {"recurrent": True}),
    "silero": (recurrent("audio/silero_vad/silero_vad_16k_op15.onnx", 576), "sqnr", {"recurrent": True}),
}


def entry(folder, name):
    """The entry called `name`, made under `folder` where it is not there yet."""
    fill, metric, fields = MODELS[name]
    place = pathlib.Path(folder, name)
    if not (place / "complete").exists():
        place.mkdir(parents=True, exist_ok=True)
        fill(place)
        (place / "complete").touch()
    if metric == "spearman":
        data = shared("text/stsb/sts-dev.csv")
        fields = {**fields, "options": ("--tokenizer", str(place / "tokenizer.json"))}
        return Entry(name, place / "model.onnx", data, data, metric, **fields)
    return Entry(name, place / "model.onnx", place / "calibration.npz", place / "test.npz", metric,
                 options=("--preprocess", "none"), **fields)


if __name__ == "__main__":
    for name in sys.argv[2:] or MODELS:
        made = entry(sys.argv[1], name)
        samples, labels = made.samples()
        print(name, made.model, f"{len(samples)} test samples", "labelled" if labels is not None else "without labels", flush=True)
