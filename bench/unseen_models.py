# SPDX-License-Identifier: Apache-2.0
"""Networks of the kinds found in the wild, built in Keras with random weights and converted by
TensorFlow to int8 .tflite: what a user's own file may look like.

Recurrent layers are unrolled: TensorFlow 2.21's calibration ends the process on a fused LSTM, and
what it makes of a GRU is a loop. Needs the extra `keras`. Weights are seeded, so a TensorFlow
version always makes the same file.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_SAMPLES = 8
_SEED = 7


@dataclass(frozen=True)
class Unseen:
    """One network.

    Args:
        build: makes the Keras model, given the module tensorflow.keras.
        batch: samples of one run; None leaves it open, as Keras does.
        wide: int16 activations (TensorFlow's 16x8 scheme).
        per_tensor: weights quantised per tensor.
        float_io: float inputs and outputs with QUANTIZE and DEQUANTIZE.
        words: the size of the vocabulary where the inputs are int32 ids.
    """

    build: Callable[[Any], Any]
    batch: int | None = None
    wide: bool = False
    per_tensor: bool = False
    float_io: bool = False
    words: int = 0


def convert(unseen: Unseen) -> bytes:
    """The .tflite file of a network, quantised with random samples of deviation 1."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(_SEED)
    model = unseen.build(tf.keras)
    _spread_batch_norms(model)
    with (
        tempfile.TemporaryDirectory(prefix="tinyml-unseen-") as folder,
        redirect_stdout(io.StringIO()),
    ):
        if unseen.batch is None:
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
        else:
            signature = [
                tf.TensorSpec((unseen.batch, *i.shape[1:]), i.dtype, i.name) for i in model.inputs
            ]
            model.export(folder, input_signature=[signature], verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        _set_options(tf, converter, unseen)
        rng = np.random.default_rng(_SEED)
        inputs = {i.name: tuple(i.shape[1:]) for i in model.inputs}

        def samples() -> Iterator[Any]:
            for _ in range(_SAMPLES):
                drawn = {n: _sample(rng, unseen, s) for n, s in inputs.items()}
                yield list(drawn.values()) if len(drawn) == 1 else drawn

        converter.representative_dataset = samples
        return bytes(converter.convert())


def _set_options(tf: Any, converter: Any, unseen: Unseen) -> None:
    ops = tf.lite.OpsSet
    wide = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [wide if unseen.wide else ops.TFLITE_BUILTINS_INT8]
    kind = tf.int16 if unseen.wide else tf.int8
    if not unseen.float_io:
        converter.inference_output_type = kind
        if not unseen.words:
            converter.inference_input_type = kind
    converter._experimental_disable_per_channel = unseen.per_tensor


def _sample(rng: np.random.Generator, unseen: Unseen, shape: tuple[int, ...]) -> Any:
    if unseen.words:
        return rng.integers(0, unseen.words, (unseen.batch or 1, *shape)).astype(np.int32)
    return rng.normal(0, 1, (unseen.batch or 1, *shape)).astype(np.float32)


def _spread_batch_norms(model: Any) -> None:
    """Statistics as training leaves them: fresh ones would all fold to the same factor."""
    rng = np.random.default_rng(_SEED)
    for layer in model._flatten_layers() if hasattr(model, "_flatten_layers") else model.layers:
        if type(layer).__name__ == "BatchNormalization":
            values = [np.asarray(w) for w in layer.get_weights()]
            size = values[-1].shape
            values[-2:] = [rng.normal(0, 0.2, size), rng.uniform(0.5, 1.5, size)]
            layer.set_weights(values)


# Vision.


def mobilenet_v1(k: Any) -> Any:
    return k.applications.MobileNet((96, 96, 3), 0.25, weights=None, classes=10, dropout=0)


def mobilenet_v2(k: Any) -> Any:
    return k.applications.MobileNetV2((96, 96, 3), 0.35, weights=None, classes=10)


def mobilenet_v3(k: Any) -> Any:
    return k.applications.MobileNetV3Small(
        (96, 96, 3), 0.35, weights=None, classes=10, include_preprocessing=False
    )


def efficientnet(k: Any) -> Any:
    """Inverted bottlenecks with SiLU and squeeze-and-excite."""
    x = inputs = k.Input((64, 64, 3))
    x = _conv_bn(k, x, 16, 3, 2, "swish")
    for width, stride, expand in ((16, 1, 2), (24, 2, 4), (24, 1, 4), (40, 2, 4)):
        y = _conv_bn(k, x, x.shape[-1] * expand, 1, 1, "swish")
        y = k.layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(y)
        y = k.layers.Activation("swish")(k.layers.BatchNormalization()(y))
        squeezed = k.layers.GlobalAveragePooling2D(keepdims=True)(y)
        squeezed = k.layers.Conv2D(8, 1, activation="swish")(squeezed)
        y = y * k.layers.Conv2D(y.shape[-1], 1, activation="sigmoid")(squeezed)
        y = k.layers.BatchNormalization()(k.layers.Conv2D(width, 1, use_bias=False)(y))
        x = x + y if stride == 1 and x.shape[-1] == width else y
    x = k.layers.GlobalAveragePooling2D()(_conv_bn(k, x, 96, 1, 1, "swish"))
    return k.Model(inputs, k.layers.Dense(10, activation="softmax")(x))


def resnet(k: Any) -> Any:
    """ResNet-14 for 32 x 32, version 2: activations before convolutions."""
    x = inputs = k.Input((32, 32, 3))
    x = k.layers.Conv2D(16, 3, padding="same")(x)
    for width in (16, 32, 64):
        for block in range(2):
            stride = 2 if width > 16 and block == 0 else 1
            y = k.layers.ReLU()(k.layers.BatchNormalization()(x))
            short = x if block else k.layers.Conv2D(width, 1, stride)(y)
            y = k.layers.Conv2D(width, 3, stride, "same")(y)
            y = k.layers.ReLU()(k.layers.BatchNormalization()(y))
            x = short + k.layers.Conv2D(width, 3, 1, "same")(y)
    x = k.layers.ReLU()(k.layers.BatchNormalization()(x))
    x = k.layers.Flatten()(k.layers.AveragePooling2D(8)(x))
    return k.Model(inputs, k.layers.Dense(10)(x))


def u_net(k: Any) -> Any:
    """Segmentation that grows by transposed convolutions."""
    x = inputs = k.Input((48, 48, 1))
    kept = []
    for width in (8, 16):
        x = k.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        kept.append(x)
        x = k.layers.MaxPooling2D()(x)
    x = k.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    for width in (16, 8):
        x = k.layers.Conv2DTranspose(width, 3 if width == 16 else 2, 2, "same")(x)
        x = k.layers.Concatenate()([x, kept.pop()])
        x = k.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    return k.Model(inputs, k.layers.Conv2D(1, 1, activation="sigmoid")(x))


def u_net_resized(k: Any) -> Any:
    """Segmentation that grows by bilinear and nearest resizing."""
    x = inputs = k.Input((32, 32, 3))
    a = k.layers.Conv2D(8, 3, 2, "same", activation="relu6")(x)
    b = k.layers.Conv2D(16, 3, 2, "same", activation="relu6")(a)
    x = k.layers.UpSampling2D(2, interpolation="bilinear")(b)
    x = k.layers.Conv2D(8, 3, padding="same", activation="relu")(k.layers.Concatenate()([x, a]))
    x = k.layers.UpSampling2D(2, interpolation="nearest")(x)
    return k.Model(inputs, k.layers.Softmax()(k.layers.Conv2D(4, 3, padding="same")(x)))


def deeplab(k: Any) -> Any:
    """Dilated convolutions side by side, pooled context, a bilinear answer."""
    x = inputs = k.Input((33, 33, 3))
    x = k.layers.Conv2D(16, 3, 2, "same", activation="relu")(x)
    ways = [
        k.layers.Conv2D(8, 3, padding="same", dilation_rate=d, activation="relu")(x)
        for d in (1, 2, 4)
    ]
    depth = k.layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(x)
    x = k.layers.Concatenate()([*ways, k.layers.Conv2D(8, 1, activation="relu")(depth)])
    pooled = k.layers.GlobalAveragePooling2D(keepdims=True)(x)
    pooled = k.layers.Conv2D(8, 1, activation="relu")(pooled)
    pooled = k.layers.UpSampling2D(17, interpolation="bilinear")(pooled)
    x = k.layers.Conv2D(4, 1)(k.layers.Concatenate()([x, pooled]))
    return k.Model(inputs, k.ops.image.resize(x, (33, 33), interpolation="bilinear"))


def detector(k: Any) -> Any:
    """A single-shot detector: two scales, boxes and classes in separate outputs."""
    x = inputs = k.Input((64, 64, 3))
    for width in (8, 16, 24):
        x = k.layers.SeparableConv2D(width, 3, 2, "same", activation="relu6")(x)
    y = k.layers.SeparableConv2D(32, 3, 2, "same", activation="relu6")(x)
    boxes, classes = [], []
    for feature in (x, y):
        boxes.append(k.layers.Reshape((-1, 4))(k.layers.Conv2D(12, 3, padding="same")(feature)))
        found = k.layers.Conv2D(9, 3, padding="same")(feature)
        classes.append(k.layers.Reshape((-1, 3))(found))
    box = k.layers.Concatenate(axis=1)(boxes)
    score = k.layers.Activation("sigmoid")(k.layers.Concatenate(axis=1)(classes))
    return k.Model(inputs, [box, score])


def yolo(k: Any) -> Any:
    """A YOLO head: leaky ReLU, upsampled features, sigmoid of centres, exponent of sizes."""
    x = inputs = k.Input((64, 64, 3))
    for width in (8, 16, 16, 32):
        x = k.layers.LeakyReLU(negative_slope=0.1)(_conv_bn(k, x, width, 3, 2, None))
        kept = x if width == 16 else kept if width == 32 else None  # noqa: F821
    x = k.layers.UpSampling2D(2)(k.layers.Conv2D(16, 1)(x))
    x = k.layers.Conv2D(3 * 7, 1)(k.layers.Concatenate()([x, kept]))
    x = k.layers.Reshape((8 * 8 * 3, 7))(x)
    centre, size, score = x[..., :2], x[..., 2:4], x[..., 4:]
    parts = [k.ops.sigmoid(centre) * 2.0 - 0.5, k.ops.square(k.ops.sigmoid(size) * 2.0)]
    return k.Model(inputs, k.layers.Concatenate()([*parts, k.ops.sigmoid(score)]))


def shufflenet(k: Any) -> Any:
    """Split channels, depthwise, shuffle."""
    x = inputs = k.Input((32, 32, 3))
    x = _conv_bn(k, x, 16, 3, 2, "relu")
    for _ in range(2):
        a, b = k.ops.split(x, 2, axis=-1)
        b = _conv_bn(k, b, 8, 1, 1, "relu")
        b = k.layers.BatchNormalization()(k.layers.DepthwiseConv2D(3, padding="same")(b))
        x = k.layers.Concatenate()([a, _conv_bn(k, b, 8, 1, 1, "relu")])
        x = k.layers.Reshape((16, 16, 2, 8))(x)
        x = k.layers.Reshape((16, 16, 16))(k.ops.transpose(x, (0, 1, 2, 4, 3)))
    x = k.layers.Conv2D(32, 1, groups=4, activation="relu")(x)
    x = k.layers.GlobalMaxPooling2D()(x)
    return k.Model(inputs, k.layers.Dense(10, activation="softmax")(x))


def inception(k: Any) -> Any:
    """Parallel branches, average pooling with SAME padding, parametric ReLU."""
    x = inputs = k.Input((32, 32, 3))
    x = k.layers.PReLU(shared_axes=[1, 2])(k.layers.Conv2D(12, 3, 2, "same")(x))
    branches = [
        k.layers.Conv2D(8, 1, activation="relu")(x),
        k.layers.Conv2D(8, (1, 5), padding="same", activation="relu")(x),
        k.layers.Conv2D(8, (5, 1), padding="same", activation="relu")(x),
        k.layers.Conv2D(8, 1)(k.layers.AveragePooling2D(3, 1, "same")(x)),
        k.layers.MaxPooling2D(3, 1, "same")(x),
    ]
    x = k.layers.PReLU(shared_axes=[1, 2])(k.layers.Concatenate()(branches))
    x = k.layers.Dense(16)(k.layers.Flatten()(k.layers.MaxPooling2D(4)(x)))
    return k.Model(inputs, k.layers.Dense(5)(k.layers.PReLU()(x)))


def face_embedding(k: Any) -> Any:
    """An embedding of unit length."""
    x = inputs = k.Input((40, 40, 1))
    for width in (8, 16, 32):
        x = k.layers.Conv2D(width, 3, 2, activation="elu")(x)
    x = k.layers.Dense(32)(k.layers.Flatten()(x))
    return k.Model(inputs, k.layers.UnitNormalization()(x))


def super_resolution(k: Any) -> Any:
    """Sub-pixel convolution: channels become pixels."""
    import tensorflow as tf

    x = inputs = k.Input((24, 24, 1))
    x = k.layers.Conv2D(16, 5, padding="same", activation="tanh")(x)
    x = k.layers.Conv2D(9, 3, padding="same")(x)
    return k.Model(inputs, k.layers.Lambda(lambda t: tf.nn.depth_to_space(t, 3))(x))


def conv_next(k: Any) -> Any:
    """Patches, wide depthwise filters, layer norm, GELU, a learned scale."""
    x = inputs = k.Input((32, 32, 3))
    x = k.layers.LayerNormalization()(k.layers.Conv2D(16, 4, 4)(x))
    for _ in range(2):
        y = k.layers.LayerNormalization()(k.layers.DepthwiseConv2D(5, padding="same")(x))
        x = x + k.layers.Dense(16)(k.layers.Dense(48, activation="gelu")(y)) * 0.3
    return k.Model(inputs, k.layers.Dense(10)(k.layers.GlobalAveragePooling2D()(x)))


# Sound and sensors.


def ds_cnn(k: Any) -> Any:
    x = inputs = k.Input((49, 10, 1))
    x = k.layers.ReLU()(k.layers.BatchNormalization()(k.layers.Conv2D(64, (10, 4), 2, "same")(x)))
    for _ in range(4):
        x = k.layers.DepthwiseConv2D(3, padding="same")(x)
        x = k.layers.ReLU()(k.layers.BatchNormalization()(x))
        x = _conv_bn(k, x, 64, 1, 1, "relu")
    x = k.layers.Flatten()(k.layers.AveragePooling2D((25, 5))(x))
    return k.Model(inputs, k.layers.Dense(12, activation="softmax")(x))


def keyword_1d(k: Any) -> Any:
    """One-dimensional convolutions over features of sound."""
    x = inputs = k.Input((98, 40))
    for width in (16, 24, 32):
        x = k.layers.Conv1D(width, 5, padding="same", activation="relu")(x)
        x = k.layers.MaxPooling1D(2)(x)
    x = k.layers.SeparableConv1D(32, 3, activation="relu")(x)
    x = k.layers.GlobalAveragePooling1D()(x)
    return k.Model(inputs, k.layers.Dense(12, activation="softmax")(x))


def temporal(k: Any) -> Any:
    """Causal dilated convolutions with gates, as WaveNet and TCN have them."""
    x = inputs = k.Input((64, 6))
    x = k.layers.Conv1D(16, 1)(x)
    skips = []
    for dilation in (1, 2, 4, 8):
        a = k.layers.Conv1D(16, 2, padding="causal", dilation_rate=dilation, activation="tanh")(x)
        b = k.layers.Conv1D(16, 2, padding="causal", dilation_rate=dilation)(x)
        y = a * k.ops.sigmoid(b)
        skips.append(k.layers.Conv1D(16, 1)(y))
        x = x + skips[-1]
    x = k.layers.ReLU()(k.layers.Add()(skips))
    return k.Model(inputs, k.layers.Dense(3)(x[:, -1, :]))


def autoencoder(k: Any) -> Any:
    x = inputs = k.Input((640,))
    for width in (128, 128, 8, 128, 128):
        x = k.layers.ReLU()(k.layers.BatchNormalization()(k.layers.Dense(width)(x)))
    return k.Model(inputs, k.layers.Dense(640)(x))


def unrolled_lstm(k: Any) -> Any:
    x = inputs = k.Input((6, 8))
    return k.Model(inputs, k.layers.Dense(2)(k.layers.LSTM(10, unroll=True)(x)))


def unrolled_gru(k: Any) -> Any:
    x = inputs = k.Input((6, 8))
    return k.Model(inputs, k.layers.Dense(2)(k.layers.GRU(10, unroll=True)(x)))


# Text, tables and several inputs.


def transformer(k: Any) -> Any:
    """One encoder block over features: Keras's own attention, layer norm and GELU."""
    x = inputs = k.Input((24, 16))
    x = k.layers.Dense(32)(x)
    y = k.layers.MultiHeadAttention(2, 16)(x, x)
    x = k.layers.LayerNormalization()(x + y)
    y = k.layers.Dense(32)(k.layers.Dense(64, activation="gelu")(x))
    x = k.layers.LayerNormalization()(x + y)
    x = k.layers.GlobalAveragePooling1D()(x)
    return k.Model(inputs, k.layers.Dense(4)(x))


def text(k: Any) -> Any:
    inputs = k.Input((32,), dtype="int32")
    x = k.layers.Embedding(200, 16)(inputs)
    x = k.layers.Conv1D(16, 3, activation="relu")(x)
    x = k.layers.GlobalMaxPooling1D()(x)
    return k.Model(inputs, k.layers.Dense(1, activation="sigmoid")(x))


def two_inputs(k: Any) -> Any:
    """An image and numbers in, a class and a number out."""
    image, numbers = k.Input((24, 24, 1), name="image"), k.Input((6,), name="numbers")
    x = k.layers.Conv2D(8, 3, 2, activation="relu")(image)
    x = k.layers.Flatten()(k.layers.MaxPooling2D(2)(x))
    y = k.layers.Dense(16, activation="relu")(numbers)
    z = k.layers.Dense(24, activation="relu")(k.layers.Concatenate()([x, y]))
    return k.Model(
        [image, numbers],
        [k.layers.Dense(4, activation="softmax")(z), k.layers.Dense(1, activation="tanh")(z)],
    )


def dense(k: Any) -> Any:
    x = inputs = k.Input((12,))
    for width in (32, 32):
        x = k.layers.Dense(width, activation="relu")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax")(x))


def mixer(k: Any) -> Any:
    """Mixes along one axis, then the other, by transposing."""
    x = inputs = k.Input((32, 32, 3))
    x = k.layers.Reshape((64, 24))(k.layers.Conv2D(24, 4, 4)(x))
    for _ in range(2):
        y = k.ops.transpose(k.layers.LayerNormalization()(x), (0, 2, 1))
        y = k.layers.Dense(64)(k.layers.Dense(32, activation="relu")(y))
        x = x + k.ops.transpose(y, (0, 2, 1))
        y = k.layers.Dense(24)(k.layers.Dense(48, activation="relu")(x))
        x = x + y
    return k.Model(inputs, k.layers.Dense(10)(k.layers.GlobalAveragePooling1D()(x)))


def activations(k: Any) -> Any:
    """Every activation that Keras names, side by side."""
    x = inputs = k.Input((16, 16, 4))
    x = k.layers.Conv2D(8, 3)(x)
    names = ("relu6", "elu", "selu", "softplus", "softsign", "hard_sigmoid", "hard_swish", "mish")
    made = [k.layers.Activation(n)(x) for n in (*names, "gelu", "silu", "leaky_relu", "tanh")]
    x = k.layers.GlobalAveragePooling2D()(k.layers.Concatenate()(made))
    return k.Model(inputs, k.layers.Dense(4, activation="log_softmax")(x))


def pooled_attention(k: Any) -> Any:
    """A weighted mean over time: softmax along another axis, division, extremes, masks."""
    x = inputs = k.Input((20, 12))
    x = k.layers.Dense(12, activation="relu")(x)
    weights = k.layers.Softmax(axis=1)(k.layers.Dense(1)(x))
    mean = k.ops.sum(x * weights, axis=1)
    far = k.ops.where(x > 0.5, x, x * 0.1)
    spread = k.ops.sqrt(k.ops.var(x, axis=1) + 1e-3)
    x = k.layers.Concatenate()([mean, spread, k.ops.max(far, axis=1), k.ops.min(x, axis=1)])
    return k.Model(inputs, k.layers.Dense(3)(x))


def _conv_bn(k: Any, x: Any, width: int, size: int, stride: int, activation: str | None) -> Any:
    x = k.layers.Conv2D(width, size, stride, "same", use_bias=False)(x)
    x = k.layers.BatchNormalization()(x)
    return k.layers.Activation(activation)(x) if activation else x


UNSEEN: dict[str, Unseen] = {
    "mobilenet_v1": Unseen(mobilenet_v1),
    "mobilenet_v2": Unseen(mobilenet_v2),
    "mobilenet_v3": Unseen(mobilenet_v3),
    "efficientnet": Unseen(efficientnet),
    "resnet": Unseen(resnet),
    "resnet_per_tensor": Unseen(resnet, per_tensor=True),
    "u_net": Unseen(u_net),
    "u_net_resized": Unseen(u_net_resized),
    "deeplab": Unseen(deeplab),
    "deeplab_closed": Unseen(deeplab, batch=1),
    "detector": Unseen(detector),
    "yolo": Unseen(yolo),
    "shufflenet": Unseen(shufflenet),
    "inception": Unseen(inception),
    "face_embedding": Unseen(face_embedding),
    "super_resolution": Unseen(super_resolution),
    "conv_next": Unseen(conv_next),
    "ds_cnn": Unseen(ds_cnn),
    "ds_cnn_16x8": Unseen(ds_cnn, wide=True),
    "keyword_1d": Unseen(keyword_1d, float_io=True),
    "temporal": Unseen(temporal),
    "temporal_closed": Unseen(temporal, batch=1),
    "autoencoder": Unseen(autoencoder),
    "autoencoder_16x8": Unseen(autoencoder, wide=True),
    "unrolled_lstm": Unseen(unrolled_lstm),
    "unrolled_gru": Unseen(unrolled_gru),
    "transformer": Unseen(transformer),
    "text": Unseen(text, words=200),
    "two_inputs": Unseen(two_inputs, batch=1),
    "dense": Unseen(dense),
    "dense_batch": Unseen(dense, batch=4),
    "resnet_batch": Unseen(resnet, batch=2),
    "mixer": Unseen(mixer),
    "mixer_closed": Unseen(mixer, batch=1),
    "transformer_closed": Unseen(transformer, batch=1),
    "yolo_closed": Unseen(yolo, batch=1),
    "mobilenet_v2_16x8": Unseen(mobilenet_v2, wide=True),
    "u_net_16x8": Unseen(u_net, wide=True),
    "activations": Unseen(activations),
    "pooled_attention": Unseen(pooled_attention),
}
