"""Quantized models that are judged by agreement with their float selves: detectors on the shared photographs, audio
models on the shared recordings. Each is quantized with the default flags, accepted by onnx.checker, opened in ONNX
Runtime and OpenVINO, and decides there what narrow says it decides.

Agreement is the share of decisions that stay as they were: for a detector one a box (above the threshold or not, and
which class), for an audio model one a frame and note. `overlap` leaves out what both call background."""
import pathlib
import sys
import tempfile
import wave

import numpy as np

from harness import OnnxRuntime, OpenVino, check, check_model, narrow, run_narrow, shared, sqnr_db


def photographs(count, width, height, letterbox):
    from PIL import Image
    folder = shared("imagenet")
    rows = [line.split("\t")[0] for line in (folder / "labels.tsv").read_text().splitlines() if line[:1] not in ("", "#")]
    for name in rows[::len(rows) // count][:count]:
        image = Image.open(folder / name).convert("RGB")
        scale = min(width / image.width, height / image.height)
        size = (round(image.width * scale), round(image.height * scale)) if letterbox else (width, height)
        canvas = np.full((height, width, 3), 114, np.float32)
        canvas[:size[1], :size[0]] = np.asarray(image.resize(size, Image.BILINEAR))
        yield canvas


def bgr(size):
    return lambda count: np.stack([np.ascontiguousarray(p[:, :, ::-1].transpose(2, 0, 1)) for p in photographs(count, size, size, True)])


def ultraface_input(count):
    return np.stack([(p.transpose(2, 0, 1) - 127) / 128 for p in photographs(count, 320, 240, False)]).astype(np.float32)


def samples_of(path):
    with wave.open(str(shared(path))) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32).reshape(-1, file.getnchannels())
        return sound.mean(1) / 32768, file.getframerate()


def pitch_input(count):
    sound, rate = samples_of("audio/wav/vocadito_10.wav")
    at = np.arange(0, len(sound) * 22050 // rate) * (rate / 22050)
    sound = np.interp(at, np.arange(len(sound)), sound).astype(np.float32)
    starts = np.linspace(0, len(sound) - 43844, count).astype(int)
    return np.stack([sound[s:s + 43844, None] for s in starts])


# What a model decides, as an array of whole numbers, 0 for background.
def yolox_decisions(outputs):
    scores = outputs[0][..., 4:5] * outputs[0][..., 5:]
    return np.where(scores.max(-1) > 0.3, scores.argmax(-1) + 1, 0)


def ultraface_decisions(outputs):
    return (outputs[0][..., 1] > 0.2).astype(int)


def yunet_decisions(outputs):
    return np.concatenate([(np.sqrt(np.clip(c, 0, 1) * np.clip(o, 0, 1))[..., 0] > 0.1).astype(int) for c, o in zip(outputs[:3], outputs[3:6])], -1)


def pitch_decisions(outputs):
    return np.concatenate([(o > 0.3).astype(int).ravel() for o in outputs])


def agreement(before, after):
    before, after = np.concatenate([b.ravel() for b in before]), np.concatenate([a.ravel() for a in after])
    found = (before > 0) | (after > 0)
    overlap = float((before[found] == after[found]).mean()) if found.any() else 1.0
    return 100 * float((before == after).mean()), 100 * overlap, int((before > 0).sum())


class Narrow:
    """One model run by narrow itself."""
    name = "narrow"

    def __init__(self, path):
        self.path = path
        session = OnnxRuntime(path).session
        self.input, self.outputs = session.get_inputs()[0].name, [o.name for o in session.get_outputs()]

    def run(self, array):
        return run_narrow(self.path, {self.input: array}, self.outputs)


def feed_forward(work, name, inputs, decisions, least, least_overlap, largest, count=48):
    original = shared(name)
    made, data, test = pathlib.Path(work, original.name), pathlib.Path(work, "calibration.npy"), pathlib.Path(work, "test.npy")
    images = inputs(count)
    np.save(data, images[::2])
    np.save(test, images[1::4])
    narrow("quantize", original, "-o", made, "--data", data, "--preprocess", "none", "--eval-samples", 2)
    check_model(made)
    ratio = made.stat().st_size / original.stat().st_size
    reported = narrow("evaluate", made, "--data", test, "--preprocess", "none", "--reference", original, "--metric", "sqnr", "--json")["sqnr_db"]
    before = [OnnxRuntime(original).run(i[None]) for i in images[1::4]]
    expected = [decisions(o) for o in before]
    own = None
    for kind in (Narrow, OnnxRuntime, OpenVino):
        model = kind(made)
        after = [model.run(i[None]) for i in images[1::4]]
        db = sqnr_db(np.concatenate([o.ravel() for s in before for o in s]), np.concatenate([o.ravel() for s in after for o in s]))
        agreeing, overlap, positive = agreement(expected, [decisions(o) for o in after])
        own = agreeing if own is None else own
        print(f"{name} in {model.name}: {agreeing:.2f} % agree, {overlap:.1f} % of {positive} findings, {db:.1f} dB, size {ratio:.3f}", flush=True)
        check(agreeing >= least and overlap >= least_overlap, f"{name} in {model.name}: {agreeing:.2f} % agree, overlap {overlap:.1f}")
        check(abs(agreeing - own) <= 0.2, f"{name} in {model.name}: {agreeing:.2f} % agree, narrow itself says {own:.2f}")
        if kind is Narrow:
            check(abs(db - reported) <= 0.2, f"{name}: narrow evaluate reports {reported:.1f} dB, its outputs say {db:.1f}")
    check(ratio <= largest, f"{name}: {ratio:.3f} of the float file, expected at most {largest}")


def frames_of_speech(width, model):
    """Consecutive frames with the states the float model has there."""
    sound, _ = samples_of("audio/wav/silero_test.wav")
    names = [i.name for i in model.session.get_inputs()]
    frames, states = [], []
    if width == 576:
        state = np.zeros((2, 1, 128), np.float32)
        for at in range(64, 64 + 512 * 100, 512):
            frames.append(sound[at - 64:at + 512][None])
            states.append(state)
            state = model.run(input=frames[-1], state=state, sr=np.array(16000, np.int64))[1]
        return {"input": np.stack(frames), "state": np.stack(states), "sr": np.full(len(frames), 16000, np.int64)}  # one scalar a frame
    state = np.zeros((1, 2, 128, 2), np.float32)
    for at in range(16000, 16000 + 128 * 100, 128):
        block = sound[at:at + 512]
        frame = np.abs(np.fft.rfft(block)).astype(np.float32) if width == 257 else block
        frames.append(frame.reshape(1, 1, width))
        states.append(state)
        state = model.run(frames[-1], state)[1]
    return dict(zip(names, (np.stack(frames), np.stack(states))))


def error_percent(db):
    return 100 * 10 ** (-db / 20)


COMPRESSED = 'method = "dynamic"\ncompress_weights = true\n'


def recurrent(work, name, width, least_db, largest, largest_compressed, opens_in_openvino=True):
    original = shared(name)
    before = OnnxRuntime(original)
    feeds = frames_of_speech(width, before)
    test = pathlib.Path(work, "frames.npz")
    np.savez(test, **feeds)
    count = len(next(iter(feeds.values())))
    expected = [before.run(**{k: np.asarray(v[i]) for k, v in feeds.items()}) for i in range(count)]

    def distance(model):
        found = [model.run(**{k: np.asarray(v[i]) for k, v in feeds.items()}) for i in range(count)]
        return sqnr_db(np.concatenate([o.ravel() for s in expected for o in s]), np.concatenate([o.ravel() for s in found for o in s]))

    made, other = pathlib.Path(work, original.name), pathlib.Path(work, f"openvino_{original.name}")
    narrow("quantize", original, "-o", made, "--method", "dynamic")
    check_model(made)
    ratio = made.stat().st_size / original.stat().st_size
    reported = narrow("evaluate", made, "--data", test, "--reference", original, "--metric", "sqnr", "--json")["sqnr_db"]
    found = distance(OnnxRuntime(made))
    print(f"{name} in onnxruntime: {found:.2f} dB, narrow reports {reported:.2f}, size {ratio:.3f}", flush=True)
    check(found >= least_db, f"{name}: {found:.1f} dB in ONNX Runtime, expected {least_db}")
    check(abs(found - reported) <= 0.2, f"{name}: {found:.2f} dB in ONNX Runtime, narrow reports {reported:.2f}")
    check(ratio <= largest, f"{name}: {ratio:.3f} of the float file, expected at most {largest}")
    # Convolutions stay float in the dynamic method; stored as integers they cost nothing but a little accuracy.
    recipe, small = pathlib.Path(work, "compressed.toml"), pathlib.Path(work, f"small_{original.name}")
    recipe.write_text(COMPRESSED)
    narrow("quantize", original, "-o", small, "--recipe", recipe)
    check_model(small)
    ratio, found = small.stat().st_size / original.stat().st_size, distance(OnnxRuntime(small))
    print(f"{name} with compress_weights: {found:.2f} dB in onnxruntime, size {ratio:.3f}", flush=True)
    check(ratio <= largest_compressed, f"{name} with compress_weights: {ratio:.3f} of the float file, expected at most {largest_compressed}")
    check(found >= least_db - 5, f"{name} with compress_weights: {found:.1f} dB")
    narrow("quantize", original, "-o", other, "--method", "dynamic", "--target", "openvino")
    check_model(other)
    if opens_in_openvino:
        there = distance(OpenVino(other))
        reported = narrow("evaluate", other, "--data", test, "--reference", original, "--metric", "sqnr", "--json")["sqnr_db"]
        print(f"{name} in openvino: {there:.2f} dB, narrow reports {reported:.2f}", flush=True)
        check(there >= least_db, f"{name}: {there:.1f} dB in OpenVINO, expected {least_db}")
        # Above 50 dB single roundings decide the decibels: what is compared is the error in percent of the signal.
        check(abs(error_percent(there) - error_percent(reported)) <= 0.2, f"{name}: {there:.2f} dB in OpenVINO, narrow reports {reported:.2f}")
        return
    reasons = []
    for path in (original, other):
        try:
            OpenVino(path)
            reasons.append("")
        except RuntimeError as error:
            reasons.append(str(error))
    check("rank has to be known" in reasons[0], f"{name}: OpenVINO opens the float file now: open the quantized one too")
    check(reasons[1] != "", f"{name}: OpenVINO opens the quantized file: compare it")
    print(f"{name}: OpenVINO opens neither the float file nor the quantized one (its Conv inside If needs a known rank)")


CASES = {
    "yolox": lambda work: feed_forward(work, "vision/yolox_nano/yolox_nano.onnx", bgr(416), yolox_decisions, 99.5, 60, 0.305),
    "ultraface": lambda work: feed_forward(work, "vision/ultraface/version-RFB-320.onnx", ultraface_input, ultraface_decisions, 99.9, 75, 0.38, count=200),
    "yunet": lambda work: feed_forward(work, "vision/yunet/yunet_n_320_320.onnx", bgr(320), yunet_decisions, 99.9, 60, 0.48),
    "basic_pitch": lambda work: feed_forward(work, "audio/basic_pitch/nmp.onnx", pitch_input, pitch_decisions, 99.5, 90, 0.92),
    "dtln_1": lambda work: recurrent(work, "audio/dtln/model_1.onnx", 257, 30, 0.27, 0.27),
    "dtln_2": lambda work: recurrent(work, "audio/dtln/model_2.onnx", 512, 30, 0.58, 0.27),
    "silero": lambda work: recurrent(work, "audio/silero_vad/silero_vad_16k_op15.onnx", 576, 30, 0.80, 0.39, opens_in_openvino=False),
}


def main():
    failed = []
    for key in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as work:
            try:
                CASES[key](work)
            except AssertionError as error:
                failed.append(key)
                print(f"{key}: FAILED {str(error)[-600:]}", flush=True)
    check(not failed, f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
