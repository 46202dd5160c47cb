#!/bin/sh
# run_peer.sh <script>: with the Python of NARROW_PEERS, or skipped (77) when there is none.
if [ -z "$NARROW_PEERS" ]; then
  echo "skipped: NARROW_PEERS does not name a Python that has onnx, onnxruntime, openvino, numpy and pillow"
  exit 77
fi
exec "$NARROW_PEERS" "$@"
