"""Makes the pictures of this folder and prints the checksums that src/datasets/image_test.cc expects (Pillow 13, libjpeg-turbo)."""
import os
import zlib

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 23, 17
y, x, c = np.meshgrid(np.arange(H), np.arange(W), np.arange(3), indexing="ij")
picture = Image.fromarray(((x * 11 + y * 7 + c * 50 + (x * y) % 13 * 3) % 256).astype(np.uint8))


def save(name, image, mode="RGB", **options):
    path = os.path.join(HERE, name)
    image.save(path, **options)
    pixels = np.asarray(Image.open(path).convert(mode))
    print(f'{{"{name}", {1 if mode == "L" else 3}, {zlib.crc32(pixels.tobytes())}u}},')


save("rgb.jpg", picture, quality=60)
save("progressive.jpg", picture, quality=60, progressive=True)
save("gray.jpg", picture.convert("L"), "L", quality=50)
save("cmyk.jpg", picture.convert("CMYK"), quality=50)
save("rgb.png", picture)
save("rgba.png", Image.merge("RGBA", (*picture.split(), picture.convert("L"))))
save("palette.png", picture.quantize(16))
save("gray.png", picture.convert("L"), "L")
save("bits.png", picture.convert("1"), "L")
save("rgb.ppm", picture)
save("gray.pgm", picture.convert("L"), "L")
wide = np.asarray(picture.convert("L")).astype(np.uint16) * 257
Image.fromarray(wide).save(os.path.join(HERE, "gray16.png"))
print(f'{{"gray16.png", 1, {zlib.crc32((wide >> 8).astype(np.uint8).tobytes())}u}},')
for size in ((11, 9), (46, 40), (7, 30), (23, 9)):
    print("resize", size, zlib.crc32(np.asarray(picture.resize(size, Image.BILINEAR)).tobytes()))
print("gray", zlib.crc32(np.asarray(picture.convert("L")).tobytes()))
