"""The demo classifier and its ONNX form: depthwise-separable blocks, residual Add, Concat, Clip(0, 6), BatchNorm unfolded."""
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

BN_EPSILON = 1e-5
PIXEL_SCALE = 1 / 64  # the network takes raw 0..255 pixels; the first convolution carries the scale


class ConvBn(nn.Sequential):
    def __init__(self, inputs, outputs, kernel, stride=1, groups=1, relu=True):
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
                         nn.BatchNorm2d(outputs, eps=BN_EPSILON), *([nn.ReLU6()] if relu else []))


class Separable(nn.Module):
    """Depthwise 3x3, then a linear 1x1; with `skip`, added to its input."""

    def __init__(self, inputs, outputs, stride=1, skip=False):
        super().__init__()
        self.depthwise = ConvBn(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = ConvBn(inputs, outputs, 1, relu=not skip)
        self.skip = skip

    def forward(self, x):
        y = self.pointwise(self.depthwise(x))
        return x + y if self.skip else y


class ShapesNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = ConvBn(3, 16, 3)
        self.block1 = Separable(16, 32, stride=2)
        self.block2 = Separable(32, 32, skip=True)
        self.block3 = Separable(32, 64, stride=2)
        self.block4 = Separable(64, 64, skip=True)
        self.wide = ConvBn(64, 128, 3)
        self.narrow = ConvBn(64, 32, 1)
        self.block5 = Separable(160, 128, stride=2)
        self.block6 = Separable(128, 128, skip=True)
        self.block7 = Separable(128, 256)
        self.classifier = nn.Linear(256, classes)

    def forward(self, x):
        x = self.block2(self.block1(self.stem(x)))
        x = self.block4(self.block3(x))
        x = torch.cat([self.wide(x), self.narrow(x)], 1)
        x = self.block7(self.block6(self.block5(x)))
        return self.classifier(x.mean((2, 3)))


def spread_channels(model, generator):
    """Uneven channels, as trained mobile networks have them: BatchNorm scales of the depthwise layers start up to
    forty times apart, so that one scale for a whole tensor wastes most of its steps."""
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and ".depthwise." in f".{name}.":
            with torch.no_grad():
                module.weight.copy_(10 ** (torch.rand(module.weight.shape, generator=generator) * 1.6 - 1.1))


class OnnxWriter:
    def __init__(self):
        self.nodes, self.initializers = [], []

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def node(self, op_type, inputs, name, **attributes):
        output = f"{name}_out"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def conv_bn(self, x, block, name, scale=1.0):
        conv, norm = block[0], block[1]
        pad, stride = conv.padding[0], conv.stride[0]
        y = self.node("Conv", [x, self.constant(f"{name}.weight", conv.weight.detach().numpy() * scale)], f"{name}_conv",
                      kernel_shape=list(conv.kernel_size), pads=[pad] * 4, strides=[stride] * 2, group=conv.groups)
        parts = {"scale": norm.weight, "bias": norm.bias, "mean": norm.running_mean, "var": norm.running_var}
        names = [self.constant(f"{name}.norm.{part}", value.detach().numpy()) for part, value in parts.items()]
        y = self.node("BatchNormalization", [y, *names], f"{name}_norm", epsilon=BN_EPSILON)
        return self.node("Clip", [y, "relu6_min", "relu6_max"], f"{name}_relu6") if len(block) == 3 else y

    def separable(self, x, block, name):
        y = self.conv_bn(self.conv_bn(x, block.depthwise, f"{name}_dw"), block.pointwise, f"{name}_pw")
        return self.node("Add", [x, y], f"{name}_add") if block.skip else y


def to_onnx(model, size, classes):
    w = OnnxWriter()
    w.constant("relu6_min", 0.0)
    w.constant("relu6_max", 6.0)
    x = w.conv_bn("image", model.stem, "stem", PIXEL_SCALE)
    for name in ["block1", "block2", "block3", "block4"]:
        x = w.separable(x, getattr(model, name), name)
    x = w.node("Concat", [w.conv_bn(x, model.wide, "wide"), w.conv_bn(x, model.narrow, "narrow")], "concat", axis=1)
    for name in ["block5", "block6", "block7"]:
        x = w.separable(x, getattr(model, name), name)
    x = w.node("Flatten", [w.node("GlobalAveragePool", [x], "pool")], "flatten", axis=1)
    weight = w.constant("classifier.weight", model.classifier.weight.detach().numpy())
    bias = w.constant("classifier.bias", model.classifier.bias.detach().numpy())
    w.nodes.append(helper.make_node("Gemm", [x, weight, bias], ["logits"], name="classifier", transB=1))
    graph = helper.make_graph(
        w.nodes, "shapes",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])], w.initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="make_demo")
    onnx.checker.check_model(made, full_check=True)
    return made
