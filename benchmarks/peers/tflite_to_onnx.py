"""Rebuilds a feed-forward TFLite model as a float ONNX model with channels first, so that narrow and its peers start alike.

Quantized weights and biases become float by their own scales. Reads the operators of MobileNet, DS-CNN and ResNet-8:
convolutions, depthwise too, ADD, AVERAGE_POOL_2D, FULLY_CONNECTED, RESHAPE, SOFTMAX, and QUANTIZE or DEQUANTIZE at the ends.

    python benchmarks/peers/tflite_to_onnx.py IN.tflite OUT.onnx       (wants the packages tflite, numpy and onnx)
"""
import sys

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

TYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.INT8: np.int8, tflite.TensorType.UINT8: np.uint8,
         tflite.TensorType.INT32: np.int32}
CODES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}


class Converter:
    def __init__(self, path):
        self.model = tflite.Model.GetRootAsModel(open(path, "rb").read(), 0)
        self.graph = self.model.Subgraphs(0)
        self.nodes, self.initializers, self.names = [], [], {}

    def constant(self, index):
        """The tensor's values as floats, or None when it is computed; int32 without a scale stay integers."""
        tensor = self.graph.Tensors(index)
        data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(data, int) or len(data) == 0:
            return None
        values = np.frombuffer(data.tobytes(), TYPES[tensor.Type()]).reshape(tensor.ShapeAsNumpy())
        quantization = tensor.Quantization()
        if quantization is None or quantization.ScaleLength() == 0:
            return values
        shape = [1] * values.ndim
        if values.ndim:
            shape[quantization.QuantizedDimension()] = -1 if quantization.ScaleLength() > 1 else 1
        scale = quantization.ScaleAsNumpy().astype(np.float64).reshape(shape)
        zero = quantization.ZeroPointAsNumpy().astype(np.float64).reshape(shape)
        return ((values - zero) * scale).astype(np.float32)

    def initializer(self, name, values):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def emit(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def activated(self, activation, value, output):
        if activation == tflite.ActivationFunctionType.NONE:
            self.names[output] = value
        elif activation == tflite.ActivationFunctionType.RELU:
            self.names[output] = self.emit("Relu", [value], f"relu_{output}")
        elif activation == tflite.ActivationFunctionType.RELU6:
            six = self.initializer(f"six_{output}", np.float32(6))
            zero = self.initializer(f"zero_{output}", np.float32(0))
            self.names[output] = self.emit("Clip", [value, zero, six], f"clip_{output}")
        else:
            raise ValueError(f"activation {activation} is not known here")

    def padding(self, options, input_index, output_index, kernel, dilation):
        """ONNX pads of SAME or VALID, from the sizes that the file states."""
        if options.Padding() == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        begin, end = [], []
        for axis, stride in ((0, options.StrideH()), (1, options.StrideW())):
            size = int(self.graph.Tensors(input_index).Shape(1 + axis))
            made = int(self.graph.Tensors(output_index).Shape(1 + axis))
            total = max((made - 1) * stride + (kernel[axis] - 1) * dilation[axis] + 1 - size, 0)
            begin.append(total // 2)
            end.append(total - total // 2)
        return begin + end

    def convolution(self, operator, options, depthwise):
        source, weight_index, bias_index = (operator.Inputs(i) for i in range(3))
        output = operator.Outputs(0)
        weight = self.constant(weight_index)  # depthwise [1, h, w, channels], else [out, h, w, in]
        weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
        dilation = [options.DilationHFactor(), options.DilationWFactor()]
        kernel = list(weight.shape[2:])
        inputs = [self.names[source], self.initializer(f"weight_{output}", weight), self.initializer(f"bias_{output}", self.constant(bias_index))]
        value = self.emit("Conv", inputs, f"conv_{output}", strides=[options.StrideH(), options.StrideW()], kernel_shape=kernel,
                          dilations=dilation, group=int(weight.shape[0]) if depthwise else 1,
                          pads=self.padding(options, source, output, kernel, dilation))
        self.activated(options.FusedActivationFunction(), value, output)

    def step(self, operator):
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        kind = CODES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        output = operator.Outputs(0)

        def options(of):
            made = of()
            table = operator.BuiltinOptions()
            made.Init(table.Bytes, table.Pos)
            return made

        if kind == "CONV_2D":
            self.convolution(operator, options(tflite.Conv2DOptions), False)
        elif kind == "DEPTHWISE_CONV_2D":
            self.convolution(operator, options(tflite.DepthwiseConv2DOptions), True)
        elif kind == "ADD":
            value = self.emit("Add", [self.names[operator.Inputs(i)] for i in range(2)], f"add_{output}")
            self.activated(options(tflite.AddOptions).FusedActivationFunction(), value, output)
        elif kind == "AVERAGE_POOL_2D":
            pool = options(tflite.Pool2DOptions)
            kernel = [pool.FilterHeight(), pool.FilterWidth()]
            value = self.emit("AveragePool", [self.names[operator.Inputs(0)]], f"pool_{output}", kernel_shape=kernel,
                              strides=[pool.StrideH(), pool.StrideW()],
                              pads=self.padding(pool, operator.Inputs(0), output, kernel, [1, 1]))
            self.activated(pool.FusedActivationFunction(), value, output)
        elif kind == "RESHAPE":  # only in front of the classifier, where height and width are one
            before, after = (self.graph.Tensors(i).ShapeAsNumpy() for i in (operator.Inputs(0), output))
            if int(np.prod(before[1:-1])) != 1 or before[-1] != after[-1]:
                raise ValueError(f"a reshape from {before} to {after} mixes positions and channels")
            self.names[output] = self.emit("Flatten", [self.names[operator.Inputs(0)]], f"flat_{output}")
        elif kind == "FULLY_CONNECTED":
            source = self.names[operator.Inputs(0)]
            if len(self.graph.Tensors(operator.Inputs(0)).ShapeAsNumpy()) != 2:
                source = self.emit("Flatten", [source], f"rows_{output}")
            inputs = [source, self.initializer(f"weight_{output}", self.constant(operator.Inputs(1))),
                      self.initializer(f"bias_{output}", self.constant(operator.Inputs(2)))]
            value = self.emit("Gemm", inputs, f"gemm_{output}", transB=1)
            self.activated(options(tflite.FullyConnectedOptions).FusedActivationFunction(), value, output)
        elif kind == "SOFTMAX":
            self.names[output] = self.emit("Softmax", [self.names[operator.Inputs(0)]], f"softmax_{output}", axis=-1)
        elif kind in ("QUANTIZE", "DEQUANTIZE"):
            self.names[output] = self.names[operator.Inputs(0)]
        else:
            raise ValueError(f"operator {kind} is not known here")

    def convert(self):
        source, result = self.graph.Inputs(0), self.graph.Outputs(0)
        _, *positions, channels = (int(size) for size in self.graph.Tensors(source).ShapeAsNumpy())
        self.names[source] = "input"
        for index in range(self.graph.OperatorsLength()):
            self.step(self.graph.Operators(index))
        self.nodes.append(helper.make_node("Identity", [self.names[result]], ["output"], name="output"))
        classes = int(self.graph.Tensors(result).ShapeAsNumpy()[-1])
        graph = helper.make_graph(
            self.nodes, "rebuilt",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, *positions])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", classes])], self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def convert(source, destination):
    onnx.save(Converter(source).convert(), str(destination))


if __name__ == "__main__":
    convert(sys.argv[1], sys.argv[2])
